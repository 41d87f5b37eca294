"""Superposition removed by width."""

import pandas as pd

from skiptrace.report.inputs import Study
from skiptrace.report.rendering.document import (
    Section,
    Table,
    numbers,
    prose,
)
from skiptrace.report.rendering.failures import figure
from skiptrace.report.rendering.figures import (
    canvas,
    grid,
)
from skiptrace.report.sections.superposition.toys import sparsity_label


def widths(study: Study) -> Section:
    """What loss, interference and multiplications a wider layer has."""
    tables = study.results.superposition
    table = tables["widths"]

    mean = table.groupby(["sparsity", "width"]).mean(numeric_only=True).reset_index()
    rows = [
        (
            f"{r.sparsity:g}",
            f"{r.width:.0f}",
            f"{r.unexplained:.4f}",
            f"{r.kept:.1f}",
            f"{r.interference:.2f}",
            f"{r.parameters:,.0f}",
            f"{r.multiplications:,.0f}",
        )
        for r in mean.itertuples()
    ]
    wide, narrow = mean[mean["width"] == mean["width"].max()], mean[mean["kept"] >= 0.95 * mean["kept"].max()]
    least = narrow.groupby("sparsity")["width"].min()
    text = prose(f"""
        The first remedy: a layer as wide as there are features needs no superposition. Expected: with one dimension
        per feature, no interference and no loss. Measured: interference {wide["interference"].max():.3f} and
        {wide["unexplained"].max():.2%} of the loss left at width {wide["width"].max():.0f}. Its cost: superposition
        represents as many features from width {", ".join(f"{w:.0f} (S = {s:g})" for s, w in least.items())} on, so
        a model without it takes {wide["width"].max() / least.min():.1f} times the multiplications at the sparsest
        of these.
    """)
    table_shown = Table(
        "Means over seeds. Loss: share of that of always answering the mean. Multiplications per input.",
        numbers("Sparsity", "Width", "Loss left", "Features kept", "Interference", "Parameters", "Multiplications"),
        rows,
    )
    drawn = figure("widths", "Loss and interference by width", "Mean and range over seeds.", draw_widths, table)
    return Section("superposition-widths", "Superposition: removed by width", [text], [drawn, table_shown])


def draw_widths(table: pd.DataFrame) -> str:
    """Loss and interference against width."""
    with canvas(8.0, 3.4) as drawn:
        panels = grid(drawn, 2, 2)
        for axes, column, label in zip(
            panels,
            ("unexplained", "interference"),
            ("loss / loss of the mean", "mean interference Σ(Ŵ_i·W_j)²"),
            strict=True,
        ):
            axes.set_xticks(sorted(table["width"].unique()))
            for sparsity, mine in table.groupby("sparsity"):
                mean = mine.groupby("width")[column].agg(["mean", "min", "max"])
                error = [mean["mean"] - mean["min"], mean["max"] - mean["mean"]]
                axes.errorbar(
                    mean.index, mean["mean"], error, marker="o", ms=4, capsize=3, label=sparsity_label(sparsity)
                )
            axes.set(xlabel="hidden dimensions", ylabel=label, ylim=(0, None))
        panels[0].legend(fontsize=8)
    return drawn.svg
