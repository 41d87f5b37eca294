"""Almost-orthogonal vectors."""

import numpy as np
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
    PLAIN,
    canvas,
    grid,
)


def vectors(study: Study) -> Section:
    """How many almost-orthogonal vectors fit, beside the bounds, and how projections distort distances."""
    tables = study.results.superposition
    table, distortion = tables["vectors"], tables["distortion"]

    finite = table[np.isfinite(table["welch"]) & (table["optimised"] < table["largest"])]
    most = table.loc[(table["optimised"] / table["d"]).idxmax()]
    capped = int((table["optimised"] >= table["largest"]).sum())
    text = prose(f"""
        Expected: the number of vectors whose cosines all stay within ε grows exponentially with the dimension; at
        least exp(dε²/4) fit, and Welch's bound says how many at most, while dε² < 1. Measured: optimisation
        reaches {(finite["optimised"] / finite["welch"]).mean():.0%} of Welch's bound on average over the
        {len(finite)} cells where it is finite and never exceeds
        it{"" if (finite["optimised"] <= finite["welch"]).all() else ", except by rounding"}; it finds
        {most["optimised"]:.0f} vectors in {most["d"]:.0f} dimensions at ε =
        {most["epsilon"]:g}{f" ({capped} cells stopped at the limit of {most.largest:.0f})" if capped else ""},
        random draws {most["drawn"]:.0f}, the exponential bound guarantees {most["exponential"]:.0f} and the
        Johnson–Lindenstrauss size {most["johnson_lindenstrauss"]:.0f}. Random projections keep squared distances to
        {(distortion["rms"] / distortion["expected"] - 1).abs().max():.0%} of the expected √(2/m), and no pair
        exceeds the lemma's ε in {int((distortion["worst"] <= distortion["epsilon"]).sum())} of
        {distortion["epsilon"].notna().sum()} cases.
    """)
    return Section(
        "superposition-vectors",
        "Superposition: almost-orthogonal vectors",
        [text],
        [
            figure("vectors", "Vectors that fit", "Found counts are lower bounds on what fits.", draw_vectors, table),
            figure(
                "distortion",
                "Distances under random projection",
                "Over all pairs of points.",
                draw_distortion,
                distortion,
            ),
        ],
    )


def draw_vectors(table: pd.DataFrame) -> str:
    """How many vectors fit against the dimension, one panel per ε, with the bounds."""
    epsilons = sorted(table["epsilon"].unique())
    top = 2 * table["largest"].max()
    with canvas(2.1 * len(epsilons) + 0.6, 3.3) as drawn:
        panels = grid(drawn, len(epsilons), len(epsilons), shared=True)
        for axes, epsilon in zip(panels, epsilons, strict=True):
            mine = table[table["epsilon"] == epsilon].sort_values("d")
            axes.plot(
                mine["d"],
                mine["welch"].where(np.isfinite(mine["welch"])),
                color="black",
                lw=1,
                ls=":",
                label="Welch bound: at most",
            )
            axes.plot(mine["d"], mine["optimised"], marker="o", ms=4, color=COLOURS[0], label="found by optimisation")
            axes.plot(
                mine["d"], mine["drawn"], marker="s", ms=4, color=COLOURS[1], label="random draws, kept if they fit"
            )
            axes.plot(mine["d"], mine["exponential"], color=COLOURS[2], lw=1.2, ls="--", label="exp(dε²/4): at least")
            axes.plot(
                mine["d"],
                mine["johnson_lindenstrauss"],
                color=GREY,
                lw=1.2,
                ls="-.",
                label="Johnson–Lindenstrauss size",
            )
            axes.plot(mine["d"], mine["d"], color=GREY, lw=0.6, label="orthogonal: d")
            axes.set(xscale="log", yscale="log", ylim=(0.8, top), xticks=mine["d"].tolist())
            axes.set_title(f"|cos| ≤ {epsilon:g}", loc="center")
            axes.minorticks_off()
            axes.xaxis.set_major_formatter(PLAIN)
            axes.yaxis.set_major_formatter(PLAIN)
        drawn.supxlabel("dimensions d", fontsize=10)
        drawn.supylabel("vectors", fontsize=10)
        drawn.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, fontsize=8)
    return drawn.svg


def draw_distortion(table: pd.DataFrame) -> str:
    """Relative error of squared distances under random projection."""
    with canvas(6.0, 3.4) as drawn:
        axes = drawn.subplots()
        axes.plot(table["m"], table["worst"], marker="s", ms=4, color=COLOURS[1], label="worst pair")
        axes.plot(table["m"], table["rms"], marker="o", ms=4, color=COLOURS[0], label="root mean square")
        axes.plot(table["m"], table["expected"], color=COLOURS[0], lw=1, ls="--", label="√(2/m), expected")
        axes.plot(
            table["m"], table["epsilon"], color="black", lw=1, ls=":", label="ε of Johnson–Lindenstrauss: at most"
        )
        axes.set(
            xscale="log", yscale="log", xlabel="dimensions m after projection", ylabel="relative error of ‖x − y‖²"
        )
        axes.set_xticks(table["m"].tolist())
        axes.minorticks_off()
        axes.xaxis.set_major_formatter(PLAIN)
        axes.yaxis.set_major_formatter(PLAIN)
        axes.legend(fontsize=8)
    return drawn.svg
