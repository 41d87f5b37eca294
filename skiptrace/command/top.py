"""`skiptrace top`: the best skip-trigrams of a model and their evidence.

Reads   params.yaml  models.<m>
        data/models/<m>/config.json, data/evidence/<m>/skip_trigrams.parquet
        data/account/<m>/rows.parquet
        data/account/<m>/skip_trigrams.parquet   with --saves
        data/tokens/<corpus of m>/vocab.parquet, valid.npy   with --text
"""

import math
from typing import Any

import pandas as pd
import typer

from skiptrace.account.tables import ROWS, SKIP_TRIGRAMS
from skiptrace.command.models import check_heads, in_pipeline, made
from skiptrace.command.output import Form, console, print_csv, print_json, table, token
from skiptrace.config.models import load_model
from skiptrace.errors import InputError
from skiptrace.evidence.support import Positions
from skiptrace.evidence.tables import CHECKED
from skiptrace.files import read_json, read_tokens
from skiptrace.layout import ACCOUNT, EVIDENCE, MODELS, PARAMS
from skiptrace.layout import TOKENS as STREAMS
from skiptrace.report import excerpts
from skiptrace.report.rendering.tokens import is_word
from skiptrace.tokens.tables import VOCAB

COLUMNS = (
    "rank", "head", "source", "destination", "out", "nats", "nats_se", "effect_nats", "effect_se", "p_out",
    "consistent", "corpus_count", "corpus_lift", "lift_low", "support", "use", "used_nats", "used_se", "survives",
    "offset",
)  # fmt: skip
SAVES = (
    "rank", "head", "source", "destination", "out", "n", "nats", "nats_se", "nats_destination", "nats_destination_se",
)  # fmt: skip
TOKENS = ["source", "destination", "out"]
IDS = ["layer", "head", *(f"{name}_id" for name in TOKENS)]


def answer(
    model: str,
    asked: list[str],
    supported: bool,
    words: bool,
    by_evidence: bool,
    text: bool,
    most: int,
    printed: Form,
) -> None:
    """Print the mined rows that were checked: supported by text and worth most first, or by `rank_evidence`.

    With `text`, each has a sentence of the held-out text in which it stands.

    Raises:
        InputError: there is no such model or head, or its rows have not been checked yet.
    """
    _check(model, asked)
    found = CHECKED.read(made(EVIDENCE / model))
    worth = ROWS.read(made(ACCOUNT / model), [*IDS, "rank", "nats", "nats_se"])
    found = found.drop(columns="rank").merge(worth, on=IDS, how="left")
    found["head"] = "L" + found["layer"].astype(str) + "H" + found["head"].astype(str)
    found["rank"] = found["rank_evidence"] if by_evidence else found["rank"].rank().astype(int)
    kept = found[chosen(found, asked, supported, words)].sort_values("rank")
    rows, columns = _rows(kept.head(most), COLUMNS, sentences(model, kept.head(most)) if text else None)
    if printed is Form.JSON:
        print_json({"model": model, "found": len(kept), "rows": rows})
    elif printed is Form.CSV:
        print_csv(rows, columns)
    else:
        _print(model, rows)
        if any(row["offset"] is not None for row in rows):
            typer.echo("back: the distance, of those looked at, at which the destination attends to the source most.")
        typer.echo(
            f"{len(rows)} of {len(kept):,} rows; {len(found):,} were checked. effect: by how much the output token's "
            "log-probability falls\nwhen the edge from the source is ablated. saves: loss, in nats per 1,000 tokens of "
            "held-out text. lift: how much\nmore often the corpus has the output token after source … destination than "
            "after the destination alone.\nconsistent: the effect exceeds that of random rows. on text: used, or "
            "harmful, where the edge is ablated in held-out\ntext as it is. survives: consistent, beyond rows mined "
            "from rotated heads, p(output) high enough, supported by the\ncorpus, and in a twin if there is one."
        )


def by_saving(model: str, asked: list[str], words: bool, text: bool, most: int, printed: Form) -> None:
    """Print the rows whose destination saves most loss, in the order chosen on training text, and what they save.

    Raises:
        InputError: there is no such model or head, it has not been accounted for, or it is more than its circuits.
    """
    _check(model, asked)
    found = SKIP_TRIGRAMS.read(made(ACCOUNT / model))
    if found.empty:
        raise InputError(
            f"{model}: rows by what they save are made for models of one layer without layer norm and MLP; leave "
            "--saves out"
        )
    found["head"] = "L0H" + found["head"].astype(str)
    kept = found[chosen(found, asked, False, words)].sort_values("rank")
    rows, columns = _rows(kept.head(most), SAVES, sentences(model, kept.head(most)) if text else None)
    if printed is Form.JSON:
        print_json({"model": model, "found": len(kept), "rows": rows})
    elif printed is Form.CSV:
        print_csv(rows, columns)
    else:
        numbers = ("rank", "places", "saves", "by destination")
        title = f"{model}: skip-trigrams by the loss they save, nats per 1,000 tokens of held-out text"
        shown = table(title, "rank", "head", *TOKENS, *numbers[1:], right=numbers)
        for row in rows:
            saved = (f"{row[n]:.2f} ± {row[f'{n}_se']:.2f}" for n in ("nats", "nats_destination"))
            shown.add_row(
                str(row["rank"]), row["head"], *(token(row[name]) for name in TOKENS), f"{row['n']:,}", *saved
            )
        console().print(shown)
        _print_text(rows)
        typer.echo(
            f"{len(rows)} of {len(kept):,} rows, chosen on training text in this order. saves: by how much the loss "
            "rises\nwithout the row. by destination: beyond what the head would attend to the source anywhere."
        )


def _check(model: str, asked: list[str]) -> None:
    """Check that there is a pipeline, the model in it, and the heads in the model."""
    in_pipeline()
    load_model(model, PARAMS)
    shape = read_json(made(MODELS / model) / "config.json")
    check_heads(
        model, [f"L{layer}H{head}" for layer in range(shape["n_layers"]) for head in range(shape["n_heads"])], asked
    )


def chosen(rows: pd.DataFrame, heads: list[str], supported: bool, words: bool) -> pd.Series:
    """Which rows are of one of these heads (none: of any), supported by the corpus, and made of words."""
    kept = rows["head"].isin(heads) if heads else pd.Series(True, rows.index)
    if supported:
        kept &= rows["support"] == "supported"
    for name in TOKENS if words else []:
        kept &= rows[name].map(is_word).astype(bool)
    return kept


def sentences(model: str, rows: pd.DataFrame) -> list[str]:
    """Held-out text in which each row stands, its source, destination and output between ‹ ›; empty without any."""
    corpus = load_model(model, PARAMS).corpus
    texts = VOCAB.read(made(STREAMS / corpus), ["token"])["token"].tolist()
    stream = read_tokens(STREAMS / corpus / "valid.npy", len(texts))
    window = int(read_json(MODELS / model / "config.json")["n_ctx"]) - 1
    positions = Positions(stream, len(texts), window)
    found = []
    for ids in rows[[f"{name}_id" for name in TOKENS]].astype(int).itertuples(index=False):
        excerpt = excerpts.skip_trigram(positions, texts, *ids)
        parts = () if excerpt is None else excerpt.parts
        found.append("".join(f"‹{part.text}›" if part.role else part.text for part in parts))
    return found


def _rows(
    kept: pd.DataFrame, columns: tuple[str, ...], text: list[str] | None
) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """Rows as they are printed, and their columns, with the text as the last one if there is any."""
    rows = [_plain(row) for row in kept[list(columns)].to_dict("records")]
    if text is None:
        return rows, columns
    return [row | {"text": said} for row, said in zip(rows, text, strict=True)], (*columns, "text")


def _print_text(rows: list[dict[str, Any]]) -> None:
    """The text of each row, where it was asked for."""
    for row in rows:
        if "text" in row:
            typer.echo(f"{row['rank']:>6}  {row['text'] or 'stands nowhere in the held-out text'}")


def _plain(row: dict[Any, Any]) -> dict[str, Any]:
    """A record without NaN, which JSON lacks."""
    kept = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
    offset = kept.get("offset")
    return kept if offset is None else kept | {"offset": int(offset)}


def _print(model: str, rows: list[dict[str, Any]]) -> None:
    placed = any(row["offset"] is not None for row in rows)  # of rotary positions alone
    numbers = ("rank", "saves", "effect, nats", "p(output)", "count", "lift", "back")
    heading = (
        "rank",
        "head",
        "source",
        "destination",
        "out",
        "saves",
        "effect, nats",
        "p(output)",
        "count",
        "lift",
        "consistent",
        "on text",
        "corpus",
        "survives",
        *(["back"] if placed else []),
    )
    shown = table(f"{model}: skip-trigrams, source … destination → out", *heading, right=numbers)
    for row in rows:
        shown.add_row(
            str(row["rank"]),
            row["head"],
            *(token(row[name]) for name in TOKENS),
            "–" if row["nats"] is None else f"{row['nats']:.2f} ± {row['nats_se']:.2f}",
            f"{row['effect_nats']:.2f} ± {row['effect_se']:.2f}",
            f"{row['p_out']:.2f}",
            f"{row['corpus_count']:,}",
            "–" if row["corpus_lift"] is None else f"{row['corpus_lift']:.1f}",
            "yes" if row["consistent"] else "no",
            row["use"].removesuffix(" seen").removesuffix(" to say"),
            row["support"].removesuffix(" to say"),
            "yes" if row["survives"] else "no",
            *([str(row["offset"])] if placed else []),
        )
    console().print(shown)
    _print_text(rows)
