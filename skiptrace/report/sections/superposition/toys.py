"""What figures of several sections on toy models share."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from skiptrace.report.rendering.figures import (
    COLOURS,
    GREY,
    canvas,
    grid,
)

SEMANTICS = ("monosemantic", "polysemantic", "dead")


def sparsity_label(sparsity: float) -> str:
    """A panel's title."""
    return f"S = {sparsity:g}"


def feature_arrows(axes: Axes, x: np.ndarray, y: np.ndarray, colours: list[Any]) -> None:
    """Feature vectors from the origin, in a square of equal scales."""
    for end, colour in zip(zip(x, y, strict=True), colours, strict=True):
        axes.annotate(
            "", end, (0, 0), arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 1.4, "shrinkA": 0, "shrinkB": 0}
        )
    axes.scatter(x, y, s=7, c=colours, lw=0, zorder=3)
    axes.set(xlim=(-1.35, 1.35), ylim=(-1.35, 1.35), aspect="equal", xticks=[], yticks=[])
    for side in axes.spines.values():
        side.set_visible(False)
    axes.axhline(0, color=GREY, lw=0.4, zorder=0)
    axes.axvline(0, color=GREY, lw=0.4, zorder=0)


def stacked(axes: Axes, shares: pd.DataFrame, names: tuple[str, ...], colours: list[str]) -> None:
    """Bars of shares that add up to one."""
    bottom = np.zeros(len(shares))
    for name, colour in zip(names, colours, strict=False):
        if name in shares:
            axes.bar(range(len(shares)), shares[name], bottom=bottom, color=colour, label=name, width=0.8)
            bottom += shares[name].to_numpy()
    axes.set_xticks(range(len(shares)), [f"{s:g}" for s in shares.index])
    axes.set(ylim=(0, 1), xlabel="sparsity S")


def all_handles(panels: list[Axes]) -> tuple[list[Any], list[str]]:
    """Handles and labels of the legend of all panels, each label once."""
    named: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            named.setdefault(label, handle)
    return list(named.values()), list(named)


def draw_neurons(table: pd.DataFrame, by: str) -> str:
    """The share of neurons of each kind by sparsity, one panel for each value of `by`; best models only."""
    groups = list(table[table["best"]].groupby(by, sort=False))
    with canvas(3.6 * len(groups) + 0.4, 3.2) as drawn:
        panels = grid(drawn, len(groups), len(groups))
        for axes, (name, mine) in zip(panels, groups, strict=True):
            shares = mine.groupby("sparsity")["semantics"].value_counts(normalize=True).unstack(fill_value=0)
            stacked(axes, shares, SEMANTICS, [COLOURS[0], COLOURS[1], "#dddddd"])
            axes.set_title(f"{by}: {name}")
        panels[0].set_ylabel("share of neurons")
        handles, labels = all_handles(panels)
        drawn.legend(handles, labels, loc="outside upper center", ncols=3, fontsize=8)
    return drawn.svg
