"""Five features in two dimensions."""

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd

from skiptrace.report import published
from skiptrace.report.inputs import Study
from skiptrace.report.rendering.document import (
    Cell,
    Section,
    Table,
    numbers,
    prose,
    words,
)
from skiptrace.report.rendering.failures import figure
from skiptrace.report.rendering.figures import (
    canvas,
    grid,
)
from skiptrace.report.sections.superposition.toys import feature_arrows, sparsity_label

IMPORTANCE = mpl.colormaps["cividis"]


def five(study: Study) -> Section:
    """The arrangements of five features, beside the published ones."""
    tables = study.results.superposition
    table = tables["five"]
    models = table[(table["feature"] == 0) & (table["activation"] == "relu")]
    linear = table[(table["feature"] == 0) & (table["activation"] == "linear")]
    seeds = models["seed"].nunique()
    rows: list[tuple[Cell, ...]] = []
    agreed = compared = 0
    for sparsity, mine in models.groupby("sparsity"):
        came = mine.loc[mine["best"], "arrangement"].iloc[0]
        paper = published.FIVE_FEATURES.get(float(sparsity), "–")
        compared, agreed = compared + (paper != "–"), agreed + (paper == came)
        same = int((mine["arrangement"] == came).sum())
        flat = linear[linear["sparsity"] == sparsity]
        orthogonal = int((flat["arrangement"] == "two orthogonal").sum())
        rows.append((f"{sparsity:g}", came, paper, f"{same} of {seeds}", f"{orthogonal} of {seeds}"))

    text = prose(f"""
        Five features, two dimensions, importance falling with the feature's number. Expected: without sparsity the
        two most important features stand at right angles and the others are left out; as features become sparse,
        four form two antipodal pairs, then all five a pentagon; without the ReLU never more than two. Measured: the
        best of {seeds} models agrees with the published arrangement at {agreed} of {compared} sparsities that the
        paper names.
    """)
    shown = Table(
        "The arrangement of the model with the least loss, by the angles between its features (right to 11.25°), and "
        "how many seeds reach the same one; of the linear models, how many hold two orthogonal features.",
        (*words("Sparsity", "Best model", "Published"), *numbers("Seeds alike", "Linear: two orthogonal")),
        rows,
    )
    drawn = [
        figure(
            "five_arrows",
            "Features as arrows",
            f"The best of {seeds} models; strong arrows matter most.",
            draw_arrows,
            table,
        ),
        figure(
            "five_matrices",
            "WᵀW and b",
            "The ReLU models above: interference is off the diagonal, and negative biases remove it.",
            draw_matrices,
            table,
        ),
    ]
    return Section("superposition-five", "Superposition: five features, two dimensions", [text], [*drawn, shown])


def draw_arrows(five: pd.DataFrame) -> str:
    """The features of the best model of every sparsity, with and without the output ReLU."""
    best = five[five["best"]]
    sparsities = sorted(best["sparsity"].unique())
    features = int(best["feature"].max()) + 1
    colours: list[Any] = [IMPORTANCE(0.9 * i / max(1, features - 1)) for i in range(features)]
    with canvas(1.25 * len(sparsities) + 0.4, 3.3) as drawn:
        panels = grid(drawn, 2 * len(sparsities), len(sparsities))
        for row, activation in enumerate(("relu", "linear")):
            for column, sparsity in enumerate(sparsities):
                axes = panels[row * len(sparsities) + column]
                mine = best[(best["activation"] == activation) & (best["sparsity"] == sparsity)]
                feature_arrows(axes, mine["x"].to_numpy(), mine["y"].to_numpy(), colours)
                if row == 0:
                    axes.set_title(sparsity_label(sparsity), loc="center")
                if column == 0:
                    axes.set_ylabel("ReLU" if row == 0 else "linear")
    return drawn.svg


def draw_matrices(five: pd.DataFrame) -> str:
    """WᵀW and, beside it, b of the same ReLU models."""
    best = five[five["best"] & (five["activation"] == "relu")]
    sparsities = sorted(best["sparsity"].unique())
    with canvas(1.25 * len(sparsities) + 0.9, 1.9) as drawn:
        panels = grid(drawn, len(sparsities), len(sparsities))
        image: Any = None
        for axes, sparsity in zip(panels, sparsities, strict=True):
            mine = best[best["sparsity"] == sparsity]
            W = mine[["x", "y"]].to_numpy()
            shown = np.concatenate([W @ W.T, np.full((len(W), 1), np.nan), mine[["bias"]].to_numpy()], 1)
            image = axes.imshow(shown, cmap="PuOr_r", vmin=-1.2, vmax=1.2, interpolation="nearest")
            axes.set_xticks([(len(W) - 1) / 2, len(W) + 1], ["WᵀW", "b"], fontsize=8)
            axes.set_yticks([])
            axes.tick_params(length=0)
            axes.set_title(sparsity_label(sparsity), loc="center")
            for side in axes.spines.values():
                side.set_visible(False)
        if image is not None:
            drawn.colorbar(image, ax=panels, label="weight", shrink=0.8)
    return drawn.svg
