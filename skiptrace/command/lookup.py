"""`skiptrace lookup`: a token as source, destination and out of every head.

Reads   params.yaml  models.<m>, mining.min_count
        data/models/<m>/, data/tokens/<corpus of m>/tokenizer.json, vocab.parquet
"""

from itertools import groupby

import typer
from rich.text import Text

from skiptrace import api
from skiptrace.command.models import chosen_heads, open_model, token_id
from skiptrace.command.output import Form, console, print_csv, print_json, table, token
from skiptrace.config.base import find
from skiptrace.exploration.neighbours import VIEWS, Neighbours, View, neighbours
from skiptrace.layout import PARAMS, TOKENS
from skiptrace.mining import vocabulary
from skiptrace.mining.vocabulary import Vocabulary
from skiptrace.report.rendering.tokens import visible

COLUMNS = ("model", *api.NEIGHBOURS)
ROLES = ("source", "destination", "out")  # in the order of the tables


def answer(
    asked: str,
    model: str,
    head: list[str],
    roles: list[str],
    most: int,
    min_count: int | None,
    printed: Form,
) -> None:
    """Print a token's neighbours in every head and role asked for.

    Raises:
        InputError: there is no such model, head or token.
    """
    studied = open_model(model)
    number, heads = token_id(studied, asked), chosen_heads(studied, head)
    words = vocabulary.load(TOKENS / studied.corpus / "vocab.parquet", studied.model.d_vocab)
    least = int(find("mining.min_count", PARAMS)) if min_count is None else min_count
    views = tuple(view for view in VIEWS if view.role in roles)
    kept = words.eligible(least)
    found = list(neighbours(studied.model, number, views, heads, words.probability, kept, most))
    text, count = words.token.iloc[number], int(words.count.iloc[number])
    rows = [{"model": model} | row for one in found for row in api.neighbour_rows(one, words)]
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


def _print(found: list[Neighbours], words: Vocabulary) -> None:
    """A table per view: one line per head, or one line per token where a single head was asked for."""
    order = sorted(VIEWS, key=lambda view: ROLES.index(view.role))
    shown, out = sorted(found, key=lambda one: order.index(one.view)), console()
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
