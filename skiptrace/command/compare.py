"""`skiptrace compare`: two versions of a run side by side.

Reads   through DVC, of either version: params.yaml, reports/metrics.json, reports/figures/
        data/models/<m>/, data/tokens/<corpus of m>/vocab.parquet
        data/tables/<m>/heads.parquet, skip_trigrams.parquet, data/evidence/<m>/skip_trigrams.parquet
Writes  the files named by --html and --markdown
"""

import math
from pathlib import Path
from typing import Any

import typer
from rich.text import Text

from skiptrace.command.models import in_pipeline
from skiptrace.command.output import Form, console, print_csv, print_json, table
from skiptrace.command.revision import WORKSPACE
from skiptrace.command.versions import changed_stages, read_version
from skiptrace.comparison.compare import Comparison, ModelChange, compare
from skiptrace.comparison.overlap import Place
from skiptrace.comparison.render import html, markdown
from skiptrace.comparison.sections import build, shown, summary
from skiptrace.errors import printable
from skiptrace.files import write_text
from skiptrace.report.rendering.document import Cell, SkipTrigram, Table
from skiptrace.report.rendering.tokens import visible

ROWS = 15  # of a table on a terminal
COLUMNS = ("kind", "key", "a", "b", "difference", "noise", "beyond")


def answer(a: str, b: str, page: Path | None, notes: Path | None, printed: Form) -> None:
    """Print the comparison, or write it to the files named.

    Raises:
        InputError: there is no pipeline here, or no such version, or a file of it cannot be read.
    """
    in_pipeline()
    found = compare(read_version(a), read_version(b))
    if WORKSPACE in (a, b) and (stale := changed_stages()):
        names = ", ".join(sorted(stale)[:5]) + (" …" if len(stale) > 5 else "")
        typer.echo(f"note: the workspace is not reproduced ({names} changed); its results are older", err=True)
    for line in found.notes if page or notes or printed is not Form.TABLE else []:
        typer.echo(f"note: {printable(line.replace('`', ''))}", err=True)
    for path, form_of in ((page, html), (notes, markdown)):
        if path is not None:
            write_text(path, form_of(found))
            typer.echo(f"{path}: {a} compared with {b}", err=printed is not Form.TABLE)
    if printed is Form.JSON:
        print_json(content(found))
    elif printed is Form.CSV:
        print_csv(records(found), COLUMNS)
    elif page is None and notes is None:
        _print(found)


def records(found: Comparison) -> list[dict[str, Any]]:
    """Parameters that differ and all metrics, one record each."""
    rows: list[dict[str, Any]] = [
        {"kind": "parameter", "key": p.key, "a": shown(p.a), "b": shown(p.b)} for p in found.parameters
    ]
    for m in found.measures:
        noise = None if m.noise is None else m.noise.difference
        place = {"kind": "metric", "key": m.key, "a": m.a, "b": m.b}
        rows.append(place | {"difference": m.difference, "noise": noise, "beyond": m.beyond})
    return rows


def content(found: Comparison) -> dict[str, Any]:
    """Everything but the figures."""
    every = records(found)
    return {
        "a": found.a,
        "b": found.b,
        "parameters": [p._asdict() for p in found.parameters],
        "metrics": [{k: v for k, v in row.items() if k != "kind"} for row in every if row["kind"] == "metric"],
        "models": {model.name: _model(model) for model in found.models},
        "models_only_a": found.only_a,
        "models_only_b": found.only_b,
        "notes": found.notes,
        "figures_differing": [pair.name for pair in found.figures if not pair.same],
    }


def _model(model: ModelChange) -> dict[str, Any]:
    changes: dict[str, Any] = {"shared_tokens": model.shared_tokens, "same_tokens": model.same_tokens}
    changes["two_seeds"] = None if model.floor is None else model.floor._asdict()
    if model.changes is not None:
        values = model.changes._asdict()
        lists = {name: [_place(place) for place in values.pop(name)] for name in ("gained", "lost", "moved")}
        changes["skip_trigrams"] = values | lists
    changes["heads"] = [
        head.match._asdict()
        | {"similarity": head.match.similarity, "kind_a": head.kind_a, "kind_b": head.kind_b}
        | {"scores_a": _finite(head.scores_a), "scores_b": _finite(head.scores_b)}
        for head in model.heads
    ]
    return changes


def _place(place: Place) -> dict[str, Any]:
    return dict(zip(("source", "destination", "out"), place.triple, strict=True)) | {
        "rank_a": place.a,
        "rank_b": place.b,
        "survives_a": place.survives_a,
        "survives_b": place.survives_b,
    }


def _finite(scores: dict[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in scores.items()}


def _print(found: Comparison) -> None:
    out = console()
    for line in summary(found):
        out.print(Text(f"• {printable(line.replace('`', ''))}"))
    for section in build(found, ROWS):
        for paragraph in section.paragraphs:
            out.print(Text(f"\n{section.title}: {printable(paragraph)}"))
        for block in section.blocks:
            assert isinstance(block, Table)
            right = [column.name for column in block.columns if column.numeric]
            made = table(section.title, *(column.name for column in block.columns), right=right)
            for row in block.rows:
                made.add_row(*map(_cell, row))
            out.print(made)
            out.print(Text(block.caption.replace("`", ""), style="dim"))


def _cell(cell: Cell) -> Text:
    if isinstance(cell, SkipTrigram):
        return Text("{} … {} → {}".format(*map(visible, cell)))
    return Text(printable(str(cell)))
