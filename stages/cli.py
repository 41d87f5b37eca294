"""The `skiptrace` command: questions asked of what the pipeline has made.

Run it in the folder of a pipeline; it reads params.yaml and data/ there.
"""

import typer

from skiptrace.errors import run
from stages.ask.compare import compare
from stages.ask.doctor import doctor
from stages.ask.explain import explain
from stages.ask.lookup import lookup
from stages.export import export

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
for command in (explain, lookup, compare, doctor, export):
    app.command()(command)


def main() -> None:
    """The entry point: errors are one line, exit code 1; wrong usage is exit code 2."""
    run(app)


if __name__ == "__main__":
    main()
