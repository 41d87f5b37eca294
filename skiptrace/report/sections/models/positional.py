"""Heads that attend by distance, whatever the tokens."""

from typing import NamedTuple

import pandas as pd

from skiptrace.mining.skip_trigrams import PRIMARILY_POSITIONAL
from skiptrace.report.inputs import Study
from skiptrace.report.rendering.document import (
    Section,
    Table,
    words,
)
from skiptrace.report.sections.models.skip_trigrams import by_source, published_rows


def positional(study: Study) -> Section | None:
    """The heads that attend by distance, and what they raise after each source."""
    if study.model.params.n_layers == 0:
        return None
    name, model, scoring, params = study.name, study.model, study.settings.scoring, study.settings.report
    criterion = (
        "A head counts as primarily positional when the position term explains at least "
        f"{scoring.positional_share:.0%} of the variance of its attention scores on text, and by itself puts at least "
        f"{scoring.positional_attention:.0%} of the attention on one distance. "
    )
    found = model.heads[model.heads["positional"]]
    if found.empty:
        closest = model.heads.loc[model.heads["best_offset_attention"].idxmax()]
        text = (
            f"No head meets both criteria: {closest['name']}, the most focused, has {closest['position_share']:.0%} "
            f"and puts {closest['best_offset_attention']:.0%} on one distance."
        )
        return Section(f"{name}-positional", f"{name}: primarily positional heads", [criterion + text], [])
    on_text = {h.name: most_attended(model.offsets, h.layer, h.head) for h in found.itertuples()}
    places = [
        f"{head} attends most {_distance(at.offset)} on text ({at.text:.2f}; {at.position_only:.2f} by position alone, "
        f"{at.uniform:.2f} for uniform attention)"
        for head, at in on_text.items()
    ]
    rows = []
    for head, group in by_source(model.positional, params.sources_per_head):
        offset = on_text[head].offset
        source, _, outs, worked = published_rows(group, " ".join("▢" * offset) if offset < 4 else "…")
        rows.append((head, source, PRIMARILY_POSITIONAL, outs, worked))
    table = Table(
        "What such a head raises after each source, whatever the destination. The examples have the source where the "
        "head attends most on text; ▢ stands for any token, the last of them for the destination.",
        words("Head", "Source Token", "Destination Token", "Output Token", "Example Skip Tri-grams"),
        rows,
    )
    return Section(
        f"{name}-positional", f"{name}: primarily positional heads", [criterion + "; ".join(places) + "."], [table]
    )


class Attended(NamedTuple):
    """A distance in tokens, and the mean attention to it on text, by position alone, and spread evenly."""

    offset: int
    text: float
    position_only: float
    uniform: float


def most_attended(offsets: pd.DataFrame, layer: int, head: int) -> Attended:
    """The distance that a head attends to most on text, from data/tables/<m>/offsets.

    Of the first half of the context: attention to longer distances is an average over a handful of destinations.
    """
    mine = offsets[(offsets["layer"] == layer) & (offsets["head"] == head)]
    best = mine.head(max(2, len(mine) // 2)).sort_values("text", ascending=False, kind="stable").iloc[0]
    return Attended(int(best["offset"]), *(float(best[name]) for name in Attended._fields[1:]))


def _distance(offset: int) -> str:
    return {0: "to the current token", 1: "to the token before"}.get(offset, f"{offset} tokens back")
