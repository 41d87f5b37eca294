"""Heads that attend by distance, whatever the tokens."""

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
    places = [
        f"{h.name} attends {_distance(h.best_offset)} ({h.best_offset_attention:.2f} by position alone, "
        f"{h.best_offset_uniform:.2f} for uniform attention)"
        for h in found.itertuples()
    ]
    rows = []
    for head, group in by_source(model.positional, params.sources_per_head):
        offset = int(found.loc[found["name"] == head, "best_offset"].iloc[0])
        source, _, outs, worked = published_rows(group, " ".join("▢" * offset) if offset < 4 else "…")
        rows.append((head, source, PRIMARILY_POSITIONAL, outs, worked))
    table = Table(
        "What such a head raises after each source, whatever the destination; ▢ stands for any token.",
        words("Head", "Source Token", "Destination Token", "Output Token", "Example Skip Tri-grams"),
        rows,
    )
    return Section(
        f"{name}-positional", f"{name}: primarily positional heads", [criterion + "; ".join(places) + "."], [table]
    )


def _distance(offset: int) -> str:
    return {0: "to the current token", 1: "to the token before"}.get(offset, f"{offset} tokens back")
