"""Models in superposition as noisy larger models."""

import pandas as pd

from skiptrace.report.inputs import Study
from skiptrace.report.rendering.document import (
    Section,
    prose,
)
from skiptrace.report.rendering.failures import figure
from skiptrace.report.rendering.figures import (
    COLOURS,
    GREY,
    canvas,
    grid,
)


def larger(study: Study) -> Section:
    """Interference measured and predicted, and how much of the larger model remains."""
    tables = study.results.superposition
    table = tables["larger"]

    off = (table["interference"] / table["predicted"] - 1).abs()
    few, many = table["active"].min(), table["active"].max()
    explained = table.groupby("active")["explained"].mean()
    text = prose(f"""
        The simulation is noisy: of the larger model's outputs {explained[few]:.1%} of the variance is explained
        with {few} feature{"s" if few > 1 else ""} active and {explained[many]:.0%} with {many}. A model in
        superposition acts as a larger model with one dimension per feature, plus noise. Expected: the squared
        interference follows from W and the number of active features a, E = (a/n) E x² Σ_j G_ij² + (a(a − 1)/n(n −
        1)) (E x)² [(Σ_j G_ij)² − Σ_j G_ij²] with G = WᵀW. Measured: the interference is within {off.max():.1%} of
        it everywhere (mean {off.mean():.1%}).
    """)
    drawn = figure(
        "larger",
        "A noisy simulation",
        "Left: interference measured (points, range over seeds) and predicted (dashed). Right: what remains of the "
        "larger model's outputs.",
        draw_larger,
        table,
    )
    return Section("superposition-larger", "Superposition: simulating a larger model", [text], [drawn])


def draw_larger(table: pd.DataFrame) -> str:
    """Interference and what it leaves of the larger model, against the number of active features."""
    with canvas(8.2, 3.5) as drawn:
        panels = grid(drawn, 2, 2)
        for (sparsity, mine), colour in zip(table.groupby("sparsity"), COLOURS, strict=False):
            by = mine.groupby("active")[["interference", "predicted", "explained"]].agg(["mean", "min", "max"])
            for axes, column in zip(panels, ("interference", "explained"), strict=True):
                mean = by[column]["mean"]
                error = [mean - by[column]["min"], by[column]["max"] - mean]
                axes.errorbar(by.index, mean, error, fmt="o", ms=4, capsize=3, color=colour, label=f"S = {sparsity:g}")
            panels[0].plot(by.index, by["predicted"]["mean"], color=colour, lw=1, ls="--")
        panels[0].plot([], [], color=GREY, lw=1, ls="--", label="predicted")
        panels[0].set(ylabel="mean squared interference", ylim=(0, None))
        panels[1].set(ylabel="variance explained of the larger model", ylim=(0, 1.02))
        for axes in panels:
            axes.set(xlabel="features active at once", xticks=sorted(table["active"].unique()))
        panels[0].legend(fontsize=8)
    return drawn.svg
