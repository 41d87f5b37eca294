"""`skiptrace lookup`: a token as source, destination and out of every head.

Reads   params.yaml  models.<m>, mining.min_count
        data/models/<m>/, data/tokens/<corpus of m>/tokenizer.json, vocab.parquet
        data/circuits/<m>/   where circuits were stored
"""

from enum import StrEnum
from itertools import groupby
from typing import Annotated

import typer
from rich.text import Text

from skiptrace.command.models import chosen_heads, open_model, token_id
from skiptrace.command.output import AsCsv, AsJson, Form, console, form, print_csv, print_json, table, token
from skiptrace.config.base import find
from skiptrace.layout import CIRCUITS, PARAMS, TOKENS
from skiptrace.mining import vocabulary
from skiptrace.mining.vocabulary import Vocabulary
from skiptrace.neighbours import VIEWS, Neighbours, View, neighbours
from skiptrace.report.rendering.tokens import visible

COLUMNS = ("model", "role", "head", "circuit", "across", "rank", "token_id", "token", "count", "centred", "value")


class Role(StrEnum):
    """What a token may be in a skip-trigram."""

    source = "source"
    destination = "destination"
    out = "out"


def lookup(
    wanted: Annotated[str, typer.Argument(metavar="TOKEN", help='its text, as " return", or its id, as id:123')],
    model: Annotated[str, typer.Option(help="a key of models in params.yaml")],
    head: Annotated[
        list[str] | None, typer.Option(help="as L0H1, or direct; repeat it for more; all by default")
    ] = None,
    role: Annotated[
        list[Role] | None, typer.Option("--as", help="its role; repeat it for more; all by default")
    ] = None,
    most: Annotated[int, typer.Option(min=1, help="tokens across, per head")] = 8,
    min_count: Annotated[
        int | None,
        typer.Option(min=0, help="leave out tokens that the corpus has less often; mining.min_count by default"),
    ] = None,
    computed: Annotated[
        bool, typer.Option("--computed", help="from the weights, not from Parquet, of which a column takes every part")
    ] = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Show what each head ties a token to: sources it attends to, outs it raises, and the other way round."""
    printed = form(as_json, as_csv)
    studied = open_model(model)
    number, heads = token_id(studied, wanted), chosen_heads(studied, head or [])
    words = vocabulary.load(TOKENS / studied.corpus / "vocab.parquet", studied.model.d_vocab)
    least = int(find("mining.min_count", PARAMS)) if min_count is None else min_count
    asked = tuple(view for view in VIEWS if not role or view.role in role)
    found = list(
        neighbours(
            studied.model,
            None if computed else CIRCUITS / model,
            number,
            asked,
            heads,
            words.probability,
            words.eligible(least),
            most,
        )
    )
    text, count = words.token.iloc[number], int(words.count.iloc[number])
    rows = [row for one in found for row in _rows(model, one, words)]
    if printed is Form.JSON:
        print_json({"model": model, "token_id": number, "token": text, "count": count, "entries": rows})
    elif printed is Form.CSV:
        print_csv(rows, COLUMNS)
    else:
        typer.echo(
            f"{visible(text)} is token {number} of corpus {studied.corpus}, {count:,} times in its training text."
        )
        _print(found, words)
        typer.echo(
            "Values are centred: attention scores of qk less the destination's mean, logits of ov and direct less the "
            f"row's.\nTokens that occur fewer than {least} times are left out (--min-count)."
        )


def _rows(model: str, found: Neighbours, words: Vocabulary) -> list[dict[str, object]]:
    """One record per token across; `rank` counts from 1 in its own row or column."""
    view = found.view
    place = {"model": model, "role": view.role, "head": found.head, "circuit": view.circuit, "across": view.across}
    return [
        place
        | {"rank": rank, "token_id": i, "token": words.token.iloc[i], "count": int(words.count.iloc[i])}
        | {"centred": centred, "value": value}
        for rank, (i, value, centred) in enumerate(found.entries, 1)
    ]


def _print(found: list[Neighbours], words: Vocabulary) -> None:
    """A table per view: one line per head, or one line per token where a single head was asked for."""
    shown, out = sorted(found, key=lambda one: VIEWS.index(one.view)), console()
    for view, group in groupby(shown, lambda one: one.view):
        lines = list(group)
        if len(lines) > 1:
            made = table(_title(view), "head", f"{view.across}, with their values")
            for line in lines:
                made.add_row(line.head, _in_line(line, words))
        else:
            heading = f"{_title(view)}, {lines[0].head}"
            made = table(heading, view.across, "value", "in the corpus", right=("value", "in the corpus"))
            for i, _, centred in lines[0].entries:
                made.add_row(token(words.token.iloc[i]), f"{centred:+.2f}", f"{words.count.iloc[i]:,}")
        out.print(made)


def _title(view: View) -> str:
    return f"as {view.role}: {view.across} by {view.circuit}"


def _in_line(found: Neighbours, words: Vocabulary) -> Text:
    shown = Text()
    for i, _, centred in found.entries:
        shown.append(visible(words.token.iloc[i]), style="bold")
        shown.append(f" {centred:+.1f}   ", style="dim")
    return shown
