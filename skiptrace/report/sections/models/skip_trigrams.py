"""The papers' table of skip-trigrams."""

from collections.abc import Iterator

import pandas as pd

from skiptrace.mining.skip_trigrams import PRIMARILY_POSITIONAL
from skiptrace.report.inputs import Study
from skiptrace.report.rendering.document import (
    Example,
    Examples,
    Section,
    Table,
    Tokens,
    words,
)
from skiptrace.report.sections.run.imports import left_out

RULES = {
    "published": "Sources by max(QK)·max(OV)·p^{power}, destinations by QK·p^{power}, output tokens by OV.",
    "expected": "Ranked by what the output token is expected to gain: the attention that this destination gives the "
    "source beyond the average destination × OV × p(destination)^{power}.",
}

SHOWN = 3  # destinations and outs per row of the published table


def skip_trigrams(study: Study) -> Section | None:
    """The papers' table: source, destinations, output tokens and worked examples."""
    if study.model.params.n_layers == 0:
        return None
    name, model, mining, params = study.name, study.model, study.settings.mining, study.settings.report
    rows = [(head, *published_rows(group)) for head, group in by_source(model.skip_trigrams, params.sources_per_head)]
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
    return Section(f"{name}-skip-trigrams", f"{name}: skip-trigrams", [text + later, *left_out(model)], [table])


def published_rows(group: pd.DataFrame, between: str = "…") -> tuple[Tokens, Tokens, Tokens, Examples]:
    """One row of the papers' table from the mined rows of one head and source.

    `between` is what stands between the source and what follows it in the worked examples.
    """
    source = group["source"].iloc[0]
    outs = group.drop_duplicates("out_id").sort_values("ov", ascending=False)["out"].head(SHOWN)
    if "destination_id" in group:
        ordered = group.drop_duplicates("destination_id").sort_values("rank")
        destinations = tuple(ordered["destination"].head(SHOWN))
        worked = [Example(source, between, pair) for pair in zip(destinations, outs, strict=False)]
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
