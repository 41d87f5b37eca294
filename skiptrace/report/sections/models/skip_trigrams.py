"""The papers' table of skip-trigrams."""

from collections.abc import Hashable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from skiptrace.account.tables import EXAMPLES
from skiptrace.circuits.cutoffs import wilson
from skiptrace.evidence.used import Use
from skiptrace.mining.skip_trigrams import PRIMARILY_POSITIONAL
from skiptrace.report import excerpts
from skiptrace.report.inputs import ModelResult, Study
from skiptrace.report.intervals import share
from skiptrace.report.rendering.document import (
    Cell,
    Example,
    Examples,
    Section,
    Table,
    Tokens,
    explained,
    numbers,
    words,
)
from skiptrace.report.sections.run.imports import left_out

RULES = {
    "published": "Sources by max(QK)·max(OV)·p^{power}, destinations by QK·p^{power}, output tokens by OV.",
    "expected": "Ranked by what the output token is expected to gain: the attention that this destination gives the "
    "source beyond the average destination × OV × p(destination)^{power}.",
}

SHOWN = 3  # destinations and outs per row of the published table
FIRST = 16  # rows that a newcomer meets first
PAIR = ["layer", "head", "source_id", "destination_id", "out_id"]


def skip_trigrams(study: Study) -> Section | None:
    """The papers' table: source, destinations, output tokens and worked examples."""
    if study.model.params.n_layers == 0:
        return None
    name, model, mining, params = study.name, study.model, study.settings.mining, study.settings.report
    counts = (
        model.evidence[[*PAIR, "corpus_count"]]
        if len(model.evidence)
        else pd.DataFrame(columns=[*PAIR, "corpus_count"])
    )
    mined = model.skip_trigrams.merge(counts, on=PAIR, how="left")
    rows = [(head, *published_rows(group)) for head, group in by_source(mined, params.sources_per_head)]
    table = Table(
        "If the source stands anywhere before and the destination is the current token, the head raises the output "
        f"token. {RULES[mining.ranking].format(power=mining.frequency_power)} Spaces read ·, line breaks ↵.",
        words("Head", "Source Token", "Destination Token", "Output Token", "Example Skip Tri-grams"),
        rows,
    )
    text = (
        f"{len(model.skip_trigrams):,} skip-trigrams were mined from {len(model.heads)} heads; the table shows the "
        f"{params.sources_per_head} best sources of each. They are read from the weights: each is a hypothesis about "
        "what the model does, which the next section tests."
    )
    later = (
        " Heads after the first layer are read as if their input were the embedding."
        if model.params.n_layers > 1
        else ""
    )
    blocks = [*_first(model), table]
    return Section(f"{name}-skip-trigrams", f"{name}: skip-trigrams", [text + later, *left_out(model)], blocks)


def _first(model: ModelResult) -> list[Table]:
    """The first rows that a reader can read, in the papers' columns, each where it stands in text; if there are any."""
    found = model.accounted.examples.head(FIRST)
    if found.empty:
        return []
    measured = found["nats"].notna().any()
    rows: list[tuple[Cell, ...]] = [
        (
            f"L{r['layer']}H{r['head']}",
            *(Tokens((r[part],)) for part in ("source", "destination", "out")),
            Examples((Example(r["source"], "…", (r["destination"], r["out"])), excerpts.of_row(r))),
            f"{r['nats']:.2f} ± {r['nats_se']:.2f}" if measured else f"{r['corpus_lift']:.1f}",
            "yes" if r["consistent"] else "no",
            _used(r),
            r["support"],
        )
        for r in found.to_dict("records")
    ]
    by = "by what they save on training text" if measured else "by what the training text says that they are worth"
    return [
        Table(
            "Skip-trigrams to read first: rows that the corpus supports, in words, brackets and quotes. First come "
            "those used on training text: there, cutting the edge from destination to source raises the loss on the "
            f"true next token. Within these the order is {by}; one for each source and each output, at most a quarter "
            "each line breaks, copies, brackets. Below each reading, a place in held-out text where it stands. "
            + ("Saves: nats per 1,000 tokens of held-out text, ± standard error over contexts. " if measured else "")
            + "On text: whether cutting the edge raises the loss on held-out text too, which chose nothing, and by how "
            "many nats where the source stands before the destination, ± standard error. "
            + _confirmed(model.accounted.confirmed),
            explained(
                (
                    *words("Head", "Source Token", "Destination Token", "Output Token", "Example Skip Tri-grams"),
                    *numbers("Saves" if measured else "Lift"),
                    *words("Consistent", "On text", "Corpus"),
                ),
                EXAMPLES,
                f"- - - - - {'nats' if measured else 'corpus_lift'} consistent use support",
            ),
            rows,
        )
    ]


def _confirmed(counted: pd.DataFrame) -> str:
    """How many of the edges used on training text are used on held-out text, beside random edges."""
    rows, random = counted.to_dict("records")
    n, same = rows["measured"], rows["confirmed"]
    if not n:
        return f"None of the {rows['tested']} edges is used on training text and stands in held-out text often enough."
    sure = share(same / n, *wilson(same / n, n))
    return (
        f"Of {rows['tested']} such edges {rows['used']} are used on training text; of the {n} of these that held-out "
        f"text has often enough, {rows['raises']} raise its loss when they are cut (by chance half), {same} of them so "
        f"clearly that they count as used there too ({sure}; false discoveries controlled). Of {random['tested']} "
        f"random edges, of the same heads and destinations from sources about as frequent, {random['used']} and "
        f"{random['confirmed']}."
    )


def _used(row: dict[Hashable, Any]) -> str:
    """Whether a row is used on text, and by how much its edge lowers the loss there."""
    if not np.isfinite(row["used_nats"]):
        return str(row["use"])
    said = "not confirmed" if row["use"] == Use.NEITHER else row["use"]
    return f"{said}: {row['used_nats']:+.2f} ± {row['used_se']:.2f}"


def published_rows(group: pd.DataFrame, between: str = "…") -> tuple[Tokens, Tokens, Tokens, Examples]:
    """One row of the papers' table from the mined rows of one head and source.

    The worked examples are pairs of a destination and an output token that were mined together: of each destination the
    pair that the corpus has most often (`corpus_count`, where it was counted), else the one mined first.
    `between` is what stands between the source and what follows it in the worked examples.
    """
    source = group["source"].iloc[0]
    outs = group.drop_duplicates("out_id").sort_values("ov", ascending=False)["out"].head(SHOWN)
    if "destination_id" in group:
        ordered = group.drop_duplicates("destination_id").sort_values("rank")
        destinations = tuple(ordered["destination"].head(SHOWN))
        shown = group[group["destination"].isin(destinations) & group["out"].isin(outs)]
        order = ["corpus_count", "rank"] if "corpus_count" in group else ["rank"]
        pairs = shown.sort_values(order, ascending=[name == "rank" for name in order]).drop_duplicates("destination_id")
        worked = [Example(source, between, (r.destination, r.out)) for r in pairs.itertuples()]
    else:
        destinations = (PRIMARILY_POSITIONAL,)
        worked = [Example(source, between, (out,)) for out in outs]
    return Tokens((source,)), Tokens(destinations), Tokens(tuple(outs)), Examples(tuple(worked[:2]))


def by_source(table: pd.DataFrame, per_head: int) -> Iterator[tuple[str, pd.DataFrame]]:
    """(head, rows of one source), best source first, at most `per_head` sources a head."""
    for (layer, head), rows in table.groupby(["layer", "head"]):
        best = rows.sort_values("rank")["source_id"].drop_duplicates().head(per_head)
        for source in best:
            yield f"L{layer}H{head}", rows[rows["source_id"] == source]
