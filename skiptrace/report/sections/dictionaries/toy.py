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
    grid,
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
    keys = ["sparsity", "entries", "penalty"]
    for (sparsity, entries, penalty), mine in sweep.groupby(keys):
        r, low, high = mine.mean(numeric_only=True), mine["mmcs"].min(), mine["mmcs"].max()
        rows.append(
            (
                f"{sparsity:g}",
                str(entries),
                f"{penalty:g}",
                f"{r['mmcs']:.3f}",
                f"{low:.3f} … {high:.3f}",
                f"{r['random_mmcs']:.3f}",
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
        f"{shown['features'].sum():.0f} features have exactly one entry with a cosine of 0.9 or more. "
        f"{_by_size(sweep, result.params)}"
    )
    table = Table(
        "Means over the models of a sparsity. Matched: mean cosine under the best one-to-one assignment.",
        explained(
            numbers(
                "Sparsity",
                "Entries",
                "λ",
                "MMCS",
                "Range",
                "Random",
                "Matched",
                "One entry",
                "L0",
                "Variance explained",
                "Dead",
            ),
            TOY_SWEEP,
            "sparsity entries penalty mmcs - random_mmcs matched one_entry l0 variance_explained dead_fraction",
        ),
        rows,
    )
    drawn = figure(
        f"dictionary_{name}",
        "Features recovered",
        "Mean and range over models: left by penalty, right by the number of entries.",
        draw_toy_sweep,
        sweep,
        result.params.entries,
        result.params.shown,
    )
    return Section(f"dictionary-{name}", f"Dictionary {name}: true features recovered", [text], [drawn, table])


def _by_size(sweep: pd.DataFrame, params: ToyDictionaryParams) -> str:
    """What dictionaries of other sizes than the truth's recover; nothing where there are none."""
    at = sweep[(sweep["penalty"] == params.shown) & (sweep["entries"] != params.entries)]
    by = at.groupby("entries")[["mmcs", "matched", "one_entry", "features", "random_mmcs"]].sum()
    count = at.groupby("entries").size()
    told = "; ".join(
        f"{entries} entries: {r['mmcs'] / count[entries]:.3f} (random {r['random_mmcs'] / count[entries]:.3f}), one "
        f"entry for {r['one_entry']:.0f} of {r['features']:.0f} features"
        for entries, r in by.iterrows()
    )
    return (
        f"A dictionary of {params.entries} has as many as there are features, which nobody knows beforehand. {told}."
        if told
        else ""
    )


def draw_toy_sweep(sweep: pd.DataFrame, entries: int, penalty: float) -> str:
    """MMCS by penalty at one number of entries, and by the number of entries at one penalty, with random ones."""
    with canvas(8.2, 3.5) as drawn:
        panels = grid(drawn, 2, 2)
        parts = ("penalty", sweep[sweep["entries"] == entries]), ("entries", sweep[sweep["penalty"] == penalty])
        for axes, (column, part) in zip(panels, parts, strict=True):
            axes.axhline(AIM, color=GREY, lw=1, ls="--", label=f"aim {AIM:g}")
            null = part.groupby(column)["random_mmcs"].mean()
            axes.plot(null.index, null, color=GREY, lw=1, ls=":", marker=".", label="random dictionary")
            for (sparsity, mine), colour in zip(part.groupby("sparsity"), COLOURS, strict=False):
                by = mine.groupby(column)["mmcs"].agg(["mean", "min", "max"])
                error = [by["mean"] - by["min"], by["max"] - by["mean"]]
                label = f"S = {sparsity:g}"
                axes.errorbar(by.index, by["mean"], error, marker="o", ms=4, capsize=3, color=colour, label=label)
            axes.set(xscale="log", ylim=(None, 1.01))
            axes.set_xticks(sorted(part[column].unique()))
            axes.minorticks_off()
            axes.xaxis.set_major_formatter(PLAIN)
        panels[0].set(xlabel=f"penalty λ, {entries} entries", ylabel="mean max cosine similarity")
        panels[1].set(xlabel=f"dictionary entries, λ = {penalty:g}")
        panels[0].legend(fontsize=8)
    return drawn.svg
