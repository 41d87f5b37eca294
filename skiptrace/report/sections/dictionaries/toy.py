"""The features of toy models, recovered by a dictionary."""

import numpy as np
import pandas as pd

from skiptrace.config.dictionaries import ToyDictionaryParams
from skiptrace.dictionary.tables import HYBRID, TOY_SWEEP
from skiptrace.evidence.intervals import Estimate, clustered
from skiptrace.report.inputs import Study
from skiptrace.report.intervals import bracketed
from skiptrace.report.rendering.document import (
    Cell,
    Section,
    Table,
    explained,
    numbers,
    prose,
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
    text = prose(f"""
        Sparse autoencoders on the hidden layer of the toy models of the last sections, whose true features are the
        columns of W. Expected: mean max cosine similarity of {AIM} or more, one entry per feature. Measured at λ =
        {result.params.shown:g}: {shown["mmcs"].mean():.3f} (worst model {shown["mmcs"].min():.3f}; random
        dictionary {shown["random_mmcs"].mean():.3f}), and {shown["one_entry"].sum():.0f} of
        {shown["features"].sum():.0f} features have exactly one entry with a cosine of 0.9 or more.
        {_by_size(sweep, result.params)}
    """)
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
    blocks = [drawn, table] if result.hybrid.empty else [drawn, table, _ways_out(result.hybrid)]
    paragraphs = [text] if result.hybrid.empty else [text, _hybrid(result.hybrid)]
    return Section(f"dictionary-{name}", f"Dictionary {name}: true features recovered", paragraphs, blocks)


def _hybrid(table: pd.DataFrame) -> str:
    """Whether models trained for their dictionary are taken apart more easily, and at what cost."""
    plain, *others = (part for _, part in table.groupby("activation_penalty"))
    steps = int(table["dictionary_steps"].min())
    ease = {p["activation_penalty"].iloc[0]: _gain(p, plain, steps) for p in others}
    gains = []
    for penalty, gain in ease.items():
        mine = table[table["activation_penalty"] == penalty]
        cost = mine["loss"].mean() / plain["loss"].mean() - 1
        gains.append(f"at {penalty:g} by {bracketed(gain.mean, gain.low, gain.high)}, its loss {cost:+.1%}")
    shown = any(gain.low > 0 for gain in ease.values())
    at_few = plain[plain["dictionary_steps"] == steps]["mmcs"].mean()
    return (
        "Three ways out of superposition are a model without it (dense inputs: the phase diagrams), a "
        "dictionary found afterwards (above), and the hybrid: a model trained so that a dictionary finds its features "
        "more easily. Here ‖h‖₁ is added to what the toy models minimise, and the same dictionary is trained for "
        f"{steps} steps, too few for the model as it is (MMCS {at_few:.2f}, random dictionary "
        f"{plain['random_mmcs'].mean():.2f}). Gain in MMCS above a random dictionary's, over models: "
        f"{'; '.join(gains)}. "
        + ("The hybrid way is shown to work here." if shown else "The hybrid way is not shown to work here.")
    )


def _gain(mine: pd.DataFrame, plain: pd.DataFrame, steps: int) -> Estimate:
    """How much more MMCS, less that of a random dictionary, the models have than those without a penalty."""
    keys = ["sparsity", "seed"]
    both = [p[p["dictionary_steps"] == steps].set_index(keys).eval("mmcs - random_mmcs") for p in (mine, plain)]
    gain = (both[0] - both[1]).to_numpy()
    return clustered(gain, np.arange(len(gain)))


def _ways_out(table: pd.DataFrame) -> Table:
    """A row for each penalty and number of steps."""
    rows = [
        (
            f"{penalty:g}",
            str(steps),
            f"{r['loss'] / len(mine):.4f}",
            f"{r['features']:.0f} of {r['all']:.0f}",
            f"{r['mmcs'] / len(mine):.3f}",
            f"{r['random_mmcs'] / len(mine):.3f}",
            f"{r['one_entry']:.0f}",
            f"{r['l0'] / len(mine):.1f}",
        )
        for (penalty, steps), mine in table.groupby(["activation_penalty", "dictionary_steps"])
        for r in [mine.drop(columns=["activation_penalty", "dictionary_steps"]).sum(numeric_only=True)]
    ]
    return Table(
        "The hybrid way: toy models trained with a penalty on their activations. Loss: of the models, the penalty left "
        "out. Represented: features of all models together.",
        explained(
            numbers("Penalty", "Steps", "Loss", "Represented", "MMCS", "Random", "One entry", "L0"),
            HYBRID,
            "activation_penalty dictionary_steps loss features mmcs random_mmcs one_entry l0",
        ),
        rows,
    )


def _by_size(sweep: pd.DataFrame, params: ToyDictionaryParams) -> str:
    """What dictionaries of other sizes than the truth's recover; nothing where there are none."""
    at = sweep[(sweep["penalty"] == params.shown) & (sweep["entries"] != params.entries)]
    by = at.groupby("entries")[["mmcs", "matched", "one_entry", "features", "random_mmcs"]].sum()
    count = at.groupby("entries").size()
    recovered = "; ".join(
        f"{entries} entries: {r['mmcs'] / count[entries]:.3f} (random {r['random_mmcs'] / count[entries]:.3f}), one "
        f"entry for {r['one_entry']:.0f} of {r['features']:.0f} features"
        for entries, r in by.iterrows()
    )
    return (
        f"A dictionary of {params.entries} has as many as there are features, which nobody knows beforehand. "
        f"{recovered}."
        if recovered
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
