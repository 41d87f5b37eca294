"""Correlated and anticorrelated features."""

from typing import Any

import pandas as pd

from skiptrace.report.inputs import Study
from skiptrace.report.rendering.document import (
    Section,
    prose,
)
from skiptrace.report.rendering.failures import figure
from skiptrace.report.rendering.figures import (
    COLOURS,
    canvas,
    grid,
)
from skiptrace.report.sections.superposition.toys import all_handles, feature_arrows, sparsity_label, stacked

BECAME = ("antipodal", "orthogonal", "in between", "collapsed", "one or both left out")


def pairs(study: Study) -> Section:
    """What becomes of pairs of features that appear together or never together."""
    tables = study.results.superposition
    together = tables["together"]

    dense, sparse = together["sparsity"].min(), together["sparsity"].max()

    def share(grouping: str, sparsity: float, became: str) -> str:
        mine = together[(together["grouping"] == grouping) & (together["sparsity"] == sparsity)]
        chosen = mine[mine["best"]]["became"]
        return f"{(mine['became'] == became).mean():.0%} (best model: {int((chosen == became).sum())} of {len(chosen)})"

    text = prose(f"""
        Expected: features that appear together take orthogonal directions, and when both do not fit collapse into
        one, their first principal component; features that never appear together become antipodal. Measured, share
        of pairs over {together["seed"].nunique()} seeds: correlated at S = {sparse:g} orthogonal
        {share("correlated", sparse, "orthogonal")}, at S = {dense:g} collapsed
        {share("correlated", dense, "collapsed")}; anticorrelated at S = {dense:g} antipodal
        {share("anticorrelated", dense, "antipodal")}. The control, pairs of independent features: orthogonal at S =
        {sparse:g} {share("independent", sparse, "orthogonal")}, antipodal at S = {dense:g}
        {share("independent", dense, "antipodal")}.
    """)
    return Section(
        "superposition-pairs",
        "Superposition: correlated features",
        [text],
        [
            figure(
                "pair_arrows",
                "Pairs of features",
                "Best model of every setting; a pair has one colour. In the control, colours mean nothing.",
                draw_pair_arrows,
                tables["pairs"],
            ),
            figure("pairs", "What became of the pairs", "All seeds.", draw_pairs, together),
        ],
    )


def draw_pair_arrows(table: pd.DataFrame) -> str:
    """The best model of every grouping and sparsity; features of a pair share a colour."""
    best = table[table["best"]]
    groupings, sparsities = list(best["grouping"].unique()), sorted(best["sparsity"].unique())
    with canvas(1.5 * len(sparsities) + 0.4, 1.5 * len(groupings) + 0.3) as drawn:
        panels = iter(grid(drawn, len(groupings) * len(sparsities), len(sparsities)))
        for row, grouping in enumerate(groupings):
            for column, sparsity in enumerate(sparsities):
                axes = next(panels)
                mine = best[(best["grouping"] == grouping) & (best["sparsity"] == sparsity)]
                colours: list[Any] = [COLOURS[int(f) // 2 % len(COLOURS)] for f in mine["feature"]]
                feature_arrows(axes, mine["x"].to_numpy(), mine["y"].to_numpy(), colours)
                if row == 0:
                    axes.set_title(sparsity_label(sparsity), loc="center")
                if column == 0:
                    axes.set_ylabel(grouping)
    return drawn.svg


def draw_pairs(together: pd.DataFrame) -> str:
    """What became of the pairs of every model, by how their features appear."""
    groups = list(together.groupby("grouping", sort=False))
    with canvas(8.2, 3.4) as drawn:
        panels = grid(drawn, len(groups), len(groups), shared=True)
        for axes, (name, mine) in zip(panels, groups, strict=True):
            shares = mine.groupby("sparsity")["became"].value_counts(normalize=True).unstack(fill_value=0)
            stacked(axes, shares, BECAME, [COLOURS[1], COLOURS[0], "#c9ccd2", COLOURS[2], "#eeeeee"])
            axes.set_title(str(name))
        panels[0].set_ylabel("share of pairs, all seeds")
        handles, labels = all_handles(panels)
        drawn.legend(handles, labels, loc="outside upper center", ncols=len(labels), fontsize=8)
    return drawn.svg
