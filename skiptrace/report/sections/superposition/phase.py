"""Phase diagrams of an extra feature."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.colors import BoundaryNorm, ListedColormap

from skiptrace.report.inputs import Study
from skiptrace.report.rendering.document import (
    Block,
    Section,
    prose,
)
from skiptrace.report.rendering.failures import figure
from skiptrace.report.rendering.figures import (
    COLOURS,
    PLAIN,
    canvas,
    grid,
)
from skiptrace.superposition import phase as diagram
from skiptrace.superposition import theory
from skiptrace.superposition.phase import boundary_line
from skiptrace.superposition.theory import CONFIGURATIONS, OTHER


def phase(study: Study) -> Section:
    """Trained models and the exact optimum, cell by cell."""
    tables = study.results.superposition
    cells = tables["phase"]
    share = cells.groupby("n")["agrees"].mean()
    blocks: list[Block] = []
    for n in theory.CONFIGURATIONS:
        common = cells.loc[cells["n"] == n, "expected"].value_counts(normalize=True).max()

        blocks.append(
            figure(
                f"phase_{n}",
                f"{n} features, {n - 1} dimension{'s' if n > 2 else ''}",
                f"Trained and optimal agree on {share[n]:.1%} of {(cells['n'] == n).sum()} cells (always answering the "
                f"most common would on {common:.1%}). Lines: the boundaries of the ideal weights.",
                draw_phases,
                cells,
                n,
            )
        )
    found = diagram.apex(cells[cells["n"] == 2])
    excess = (cells["loss"] / cells["expected_loss"] - 1).groupby(cells["n"])
    ideal = (cells["ideal"] == cells["trained"]).groupby(cells["n"]).mean()
    reached = (
        f"the antipodal region of the trained models ends at r = {found.importance:.2f}, p = {found.density:.2f} "
        "(between grid lines)"
        if np.isfinite(found.density)
        else "no trained model of two features is antipodal"
    )
    agreement = "; ".join(
        f"{n} features: {share[n]:.1%} of cells agree with the optimum ({ideal[n]:.1%} with the ideal weights), and "
        f"training costs at most {excess.max()[n]:.2%} more than it (median {excess.median()[n]:.3%})"
        for n in share.index
    )
    text = prose(f"""
        Whether the extra feature is left out, pushes another out, or shares a dimension with it depends on its
        importance and on density. Expected: with ideal weights, unit columns that stay fixed, the losses L = r(p/3
        − p²/4), p/3 − p²/4 and (1 + r)p²/6 meet at the triple point r = {theory.TRIPLE.importance:g}, p = 4/7 =
        {theory.TRIPLE.density:.3f}. The optimum moves norms and biases too: it is found by descent on the exact
        expected loss from every configuration and from the trained weights. Measured: {agreement}; {reached}. Losses
        are expected exactly, over which features are active, so that rare features that meet count as often as they do.
    """)
    return Section("superposition-phase", "Superposition: phase diagrams", [text], blocks)


def draw_phases(cells: pd.DataFrame, n: int) -> str:
    """The trained configuration of every cell beside that of least loss in theory."""
    mine = cells[cells["n"] == n]
    names = [*CONFIGURATIONS[n], OTHER]
    colours = ListedColormap([*[COLOURS[5], COLOURS[4], COLOURS[0], COLOURS[3]][: len(names) - 1], "#ffffff"])
    side = BoundaryNorm(np.arange(len(names) + 1) - 0.5, len(names))
    with canvas(8.6, 4.0) as drawn:
        panels = grid(drawn, 2, 2)
        importances = np.sort(mine["importance"].unique())
        densities = np.sort(mine["density"].unique())
        image: Any = None
        for axes, column, title in zip(panels, ("trained", "expected"), ("trained", "optimal"), strict=True):
            table = mine.assign(index=mine[column].map(names.index)).pivot(
                index="density", columns="importance", values="index"
            )
            image = axes.pcolormesh(importances, densities, table.to_numpy(), cmap=colours, norm=side, rasterized=True)
            for x, y in boundary_line(n):
                axes.plot(x, y, color="black", lw=1)
            axes.set(xscale="log", yscale="log", title=title, xlabel="importance of the extra feature")
            axes.set(xlim=(importances[0], importances[-1]), ylim=(densities[-1], densities[0]))
            axes.set_xticks([importances[0], 1, importances[-1]])
            axes.minorticks_off()
            axes.xaxis.set_major_formatter(PLAIN)
            axes.yaxis.set_major_formatter(PLAIN)
        panels[0].set_ylabel("density 1 − S")
        bar = drawn.colorbar(image, ax=panels, ticks=range(len(names)), shrink=0.9)
        bar.ax.set_yticklabels(names, fontsize=8)
        bar.ax.tick_params(length=0)
    return drawn.svg
