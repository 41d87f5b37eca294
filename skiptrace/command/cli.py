"""The `skiptrace` command: questions asked of what the pipeline has made.

Run it in the folder of a pipeline; it reads params.yaml and data/ there.
"""

import os
import re
import shlex
import sys
from importlib import import_module, metadata
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from skiptrace.errors import InputError, printable, run

UsageError: type[Exception] = typer.BadParameter.__mro__[1]
OPTION = re.compile(r"--?[A-Za-z]")  # what is taken for an option: `->` and `--` are text


class Question(NamedTuple):
    """The module of a question, and its line in the list of questions, for which nothing is imported."""

    module: str
    help: str


QUESTIONS = {
    "explain": Question(
        "skiptrace.command.explain", "Rank every path through a model by what it adds to the logit of the next token."
    ),
    "lookup": Question(
        "skiptrace.command.lookup",
        "Show what each head ties a token to: sources it attends to, outs it raises, and the other way round.",
    ),
    "compare": Question(
        "skiptrace.command.compare",
        "Compare two versions: parameters, metrics, skip-trigrams, and what became of each head.",
    ),
    "doctor": Question(
        "skiptrace.command.doctor",
        "Check the environment, and list what `dvc repro` would run and how long that took last time.",
    ),
    "export": Question(
        "skiptrace.command.export", "Write a model for another library; importing it again gives the same logits."
    ),
}


class Asked(TyperCommand):
    """A question whose text arguments may begin with a hyphen."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take `->` for text; of what looks like an option but is none, say how to pass it as text."""
        known = {name for option in self.params for name in option.opts}
        given = args[: args.index("--")] if "--" in args else args
        unknown = [arg for arg in given if OPTION.match(arg) and arg.partition("=")[0] not in known]
        ctx.ignore_unknown_options = not unknown
        whole = list(args)
        try:
            return super().parse_args(ctx, args)
        except UsageError as error:
            option = getattr(error, "option_name", None)
            text = next((arg for arg in unknown if option and arg.startswith(option)), None)
            mistyped = getattr(error, "possibilities", None)
            if text is not None and not mistyped and any(p.param_type_name == "argument" for p in self.params):
                whole.remove(text)
                command = shlex.join([*ctx.command_path.split(), *whole, "--", text])
                raise UsageError(f"no such option: {text}; if it is text, write {command}", ctx) from None
            raise


class Questions(TyperGroup):
    """Imports a question when it is asked: each needs seconds of libraries that the others do without."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names of all questions."""
        return list(QUESTIONS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The question of this name, with no more than its name and help."""
        if cmd_name not in QUESTIONS:
            return None
        return TyperCommand(cmd_name, help=QUESTIONS[cmd_name].help)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The question that was asked, which is imported now."""
        name, command, rest = super().resolve_command(ctx, args)
        if name is not None and command is not None:
            one = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
            one.command(name, cls=Asked)(getattr(import_module(QUESTIONS[name].module), name))
            command = typer.main.get_command(one)
        return name, command, rest


app = typer.Typer(
    cls=Questions, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"skiptrace {metadata.version('skiptrace')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Typer takes the options of the command itself from here."""


def main() -> None:
    """The entry point: errors are one line, exit code 1; wrong usage is exit code 2."""

    def ask() -> None:
        sys.argv[1:] = [_text(arg) for arg in sys.argv[1:]]
        try:
            sys.exit(app(standalone_mode=False))
        except UsageError as error:
            wrong: Any = error
            # Nothing is left to say where nothing was asked: the help has been printed.
            if said := printable(" ".join(wrong.format_message().split())).rstrip("."):
                asked = wrong.ctx.command_path if wrong.ctx else "skiptrace"
                print(f"error: {said}; see {asked} --help", file=sys.stderr)
            sys.exit(2)

    run(ask)


def _text(argument: str) -> str:
    """An argument as the text that its bytes are, whatever the locale takes them for.

    Raises:
        InputError: they are not UTF-8.
    """
    try:
        return os.fsencode(argument).decode("utf-8")
    except UnicodeError:
        raise InputError(f"argument {argument!a}: not UTF-8; give text in UTF-8, or a token as id:123") from None


if __name__ == "__main__":
    main()
