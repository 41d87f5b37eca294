"""The `skiptrace` command: questions asked of what the pipeline has made.

Run it in the folder of a pipeline; it reads params.yaml and data/ there.
"""

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from skiptrace.errors import run

QUESTIONS = {
    "explain": "stages.ask.explain",
    "lookup": "stages.ask.lookup",
    "compare": "stages.ask.compare",
    "doctor": "stages.ask.doctor",
    "export": "stages.export",
}


class Questions(TyperGroup):
    """Imports a question when it is asked: each needs seconds of libraries that the others do without."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names of all questions."""
        return list(QUESTIONS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The question of this name."""
        if cmd_name not in QUESTIONS:
            return None
        one = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        one.command()(getattr(import_module(QUESTIONS[cmd_name]), cmd_name))
        return typer.main.get_command(one)


app = typer.Typer(
    cls=Questions, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__
)


@app.callback()
def _nothing() -> None:
    """Typer wants a group to have something."""


def main() -> None:
    """The entry point: errors are one line, exit code 1; wrong usage is exit code 2."""
    run(app)


if __name__ == "__main__":
    main()
