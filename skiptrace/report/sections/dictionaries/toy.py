"""The features of toy models, recovered by a dictionary."""

import pandas as pd

from skiptrace.config.dictionaries import ToyDictionaryParams
from skiptrace.dictionary.tables import TOY_SWEEP
from skiptrace.report.inputs import Study
from skiptrace.report.rendering.document import (
    Cell,
    Section,
    Table,
    explained,
    numbers,
)
from skiptrace.report.rendering.failures import figure
from skiptrace.report.rendering.figures import (
    COLOURS,
    GREY,
    PLAIN,
    canvas,
)

AIM = 0.95  # mean max cosine similarity that a toy dictionary should reach


def toy(study: Study) -> Section | None:
    """How well a dictionary recovers the true features of toy models."""
    name, result = study.name, study.dictionary
    if study.site or not isinstance(result.params, ToyDictionaryParams):
        return None
    sweep = result.sweep

    shown = result.shown
    rows: list[tuple[Cell, ...]] = []
    for (sparsity, penalty), r in sweep.groupby(["sparsity", "penalty"]).mean(numeric_only=True).iterrows():
        low, high = _range(sweep, sparsity, penalty)
        rows.append(
            (
                f"{sparsity:g}",
                f"{penalty:g}",
                f"{r['mmcs']:.3f}",
                f"{low:.3f} … {high:.3f}",
                f"{r['matched']:.3f}",
                f"{r['one_entry']:.1f} of {r['features']:.0f}",
                f"{r['l0']:.1f}",
                f"{r['variance_explained']:.1%}",
                f"{r['dead_fraction']:.1%}",
            )
        )
    text = (
        "Sparse autoencoders on the hidden layer of the toy models of the last sections, whose true features are the "
        f"columns of W. Expected: mean max cosine similarity of {AIM} or more, one entry per feature. Measured at λ = "
        f"{result.params.shown:g}: {shown['mmcs'].mean():.3f} (worst model {shown['mmcs'].min():.3f}; random "
        f"dictionary {shown['random_mmcs'].mean():.3f}), and {shown['one_entry'].sum():.0f} of "
        f"{shown['features'].sum():.0f} features have exactly one entry with a cosine of 0.9 or more."
    )
    table = Table(
        "Means over the models of a sparsity. Matched: mean cosine under the best one-to-one assignment.",
        explained(
            numbers("Sparsity", "λ", "MMCS", "Range", "Matched", "One entry", "L0", "Variance explained", "Dead"),
            TOY_SWEEP,
            "sparsity penalty mmcs - matched one_entry l0 variance_explained dead_fraction",
        ),
        rows,
    )
    drawn = figure(
        f"dictionary_{name}", "Features recovered", "Mean and range over models.", draw_toy_sweep, sweep, AIM
    )
    return Section(f"dictionary-{name}", f"Dictionary {name}: true features recovered", [text], [drawn, table])


def _range(sweep: pd.DataFrame, sparsity: float, penalty: float) -> tuple[float, float]:
    mine = sweep[(sweep["sparsity"] == sparsity) & (sweep["penalty"] == penalty)]["mmcs"]
    return float(mine.min()), float(mine.max())


def draw_toy_sweep(sweep: pd.DataFrame, aim: float) -> str:
    """MMCS against the number of active entries, by sparsity of the toy model."""
    with canvas(6.0, 3.5) as drawn:
        axes = drawn.subplots()
        axes.axhline(aim, color=GREY, lw=1, ls="--", label=f"aim {aim:g}")
        axes.axhline(sweep["random_mmcs"].mean(), color=GREY, lw=1, ls=":", label="random dictionary")
        for (sparsity, mine), colour in zip(sweep.groupby("sparsity"), COLOURS, strict=False):
            by = mine.groupby("penalty")["mmcs"].agg(["mean", "min", "max"])
            error = [by["mean"] - by["min"], by["max"] - by["mean"]]
            axes.errorbar(
                by.index, by["mean"], error, marker="o", ms=4, capsize=3, color=colour, label=f"S = {sparsity:g}"
            )
        axes.set(xscale="log", xlabel="penalty λ", ylabel="mean max cosine similarity", ylim=(None, 1.01))
        axes.set_xticks(sorted(sweep["penalty"].unique()))
        axes.minorticks_off()
        axes.xaxis.set_major_formatter(PLAIN)
        axes.legend(fontsize=8)
    return drawn.svg
