"""Answers on a terminal, and as JSON or CSV for programs."""

import csv
import io
import json
import sys
from collections.abc import Sequence
from enum import Enum
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from skiptrace.report.rendering.tokens import FORMULA, visible

AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]
AsCsv = Annotated[bool, typer.Option("--csv", help="print CSV")]


class Form(Enum):
    """How an answer is printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def form(as_json: bool, as_csv: bool) -> Form:
    """The form that the flags ask for; both at once is wrong usage."""
    if as_json and as_csv:
        raise typer.BadParameter("--json and --csv exclude each other")
    return Form.JSON if as_json else Form.CSV if as_csv else Form.TABLE


def print_json(content: Any) -> None:
    """Indented JSON without NaN, which JSON lacks."""
    typer.echo(json.dumps(content, indent=2, allow_nan=False))


def print_csv(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> None:
    """Comma-separated rows under their heads; text that a spreadsheet would run gets a leading apostrophe."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="raise", lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: inert(value) for key, value in row.items()} for row in rows)
    typer.echo(text.getvalue(), nl=False)


def inert(value: Any) -> Any:
    """The value; text that would be a formula in a spreadsheet begins with an apostrophe instead."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def console() -> Console:
    """Standard output; where it is no terminal, wide enough for our tables."""
    return Console(width=None if sys.stdout.isatty() else 140, highlight=False)


def table(title: str, *columns: str, right: Sequence[str] = ()) -> Table:
    """An empty table whose columns in `right` are set flush right."""
    made = Table(title=Text(f"\n{title}"), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, min_width=60)
    for name in columns:
        made.add_column(name, justify="right" if name in right else "left")
    return made


def token(text: str) -> Text:
    """A token as it stands in a table: blanks and controls visible, nothing of it markup."""
    return Text(visible(text))
