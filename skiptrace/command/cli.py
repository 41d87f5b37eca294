"""The `skiptrace` command: questions asked of what the pipeline has made.

Run it in the folder of a pipeline; it reads params.yaml and data/ there.
"""

import os
import re
import shlex
import sys
from importlib import metadata
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from skiptrace.command.questions import QUESTIONS
from skiptrace.errors import InputError, printable, run

UsageError: type[Exception] = typer.BadParameter.__mro__[1]
# Modules that the extra `pipeline` installs, and that some answers import.
PIPELINE = {"dvc", "dvc_data", "jinja2", "matplotlib", "networkx", "sympy"}
OPTION = re.compile(r"--?[A-Za-z]")  # what is taken for an option: `->` and `--` are text


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


app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
for question in QUESTIONS:
    app.command(cls=Asked)(question)


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
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            if package not in PIPELINE:
                raise
            asked = " ".join(sys.argv[1:2])
            raise InputError(
                f"skiptrace {asked} needs {package}, which is not installed; pip install 'skiptrace[pipeline]'"
            ) from None

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
