"""A model that computes the absolute value."""

from skiptrace.report.inputs import Study
from skiptrace.report.rendering.document import (
    Section,
    prose,
)
from skiptrace.report.rendering.failures import figure
from skiptrace.report.sections.superposition.toys import draw_neurons


def absolute(study: Study) -> Section:
    """How neurons compute absolute values of more features than they have room for."""
    tables = study.results.superposition
    table, computed = tables["absolute"], tables["computed"]
    names = {"small": "neurons to spare", "large": "too few neurons"}

    small = computed[computed["best"] & (computed["size"] == "small")]
    own = table[table["best"] & (table["size"] == "small")]["semantics"]
    large = computed[computed["best"] & (computed["size"] == "large")]
    both = large.assign(both=(large["positive"] >= 0.5) & (large["negative"] >= 0.5)).groupby("sparsity")["both"].sum()
    width = int(table[table["size"] == "large"]["neuron"].max()) + 1
    text = prose(f"""
        The model computes |x| rather than storing x. Expected: with two neurons per feature, one computes ReLU(x)
        and one ReLU(−x); with fewer neurons and sparse features it computes more absolute values than it has pairs
        of neurons, in superposition. Measured: {int((own == "monosemantic").sum())} of {len(own)} neurons of the
        small model have one feature, and its outputs rise by {small["positive"].mean():.2f} and
        {small["negative"].mean():.2f} when a feature goes to +1 and to −1 (1 and 1 expected). Of the large model's
        {width} neurons, enough for {width // 2} features, the best model answers both signs by at least half for
        {", ".join(f"{n} (S = {s:g})" for s, n in both.items())} features.
    """)
    drawn = figure(
        "absolute",
        "Neurons of the absolute-value model",
        "Best model of every sparsity.",
        draw_neurons,
        table.assign(model=table["size"].map(names)),
        "model",
    )
    return Section("superposition-absolute", "Superposition: computing the absolute value", [text], [drawn])
