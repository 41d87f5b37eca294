"""A corner of two circuits."""

import numpy as np
import pandas as pd

from skiptrace.report.inputs import Study
from skiptrace.report.rendering.document import (
    Section,
)
from skiptrace.report.rendering.failures import figure
from skiptrace.report.rendering.figures import (
    LABEL,
    canvas,
)
from skiptrace.report.rendering.tokens import visible
from skiptrace.report.sections.run.imports import left_out


def circuits(study: Study) -> Section | None:
    """A corner of both circuits of the head that copies most."""
    if study.model.params.n_layers == 0:
        return None
    name, model = study.name, study.model
    token, every = study.corpus.vocabulary["token"], model.explored.corners
    first = model.heads.loc[model.heads["copying"].idxmax()]
    corners = every[(every["layer"] == first["layer"]) & (every["head"] == first["head"])]
    label = str(first["name"])

    def corner(circuit: str) -> pd.DataFrame:
        entries = corners[corners["circuit"] == circuit]
        rows, columns = entries["row_id"].unique(), entries["column_id"].unique()
        values = entries["value"].to_numpy().reshape(len(rows), len(columns))
        return pd.DataFrame(values, token.iloc[rows], token.iloc[columns])

    ov_corner, qk_corner = corner("ov"), corner("qk")
    side = len(ov_corner)

    return Section(
        f"{name}-circuits",
        f"{name}: a corner of two circuits",
        [
            f"{label} copies most strongly. Its {side} leading sources, against themselves as output tokens, and "
            "against the destinations that attend to them.",
            *left_out(model),
        ],
        [
            figure(
                f"ov_{name}",
                f"OV circuit of {label}",
                "An orange diagonal is copying: attending to a token raises that same token.",
                draw_corner,
                ov_corner,
                f"OV of {label}",
                ("source", "output token"),
                "logits",
            ),
            figure(
                f"qk_{name}",
                f"QK circuit of {label}",
                "Orange cells are pairs in which the destination attends to the source, if the source comes before it.",
                draw_corner,
                qk_corner,
                f"QK of {label}",
                ("destination", "source"),
                "attention score",
            ),
        ],
    )


def draw_corner(values: pd.DataFrame, title: str, axis_names: tuple[str, str], unit: str) -> str:
    """A heat map of some rows and columns of a circuit, zero in the middle of the scale."""
    bound = max(1e-6, float(np.abs(values.to_numpy()).max()))
    side = 0.27 * len(values) + 1.6
    with canvas(side + 0.9, side) as drawn:
        axes = drawn.subplots()
        image = axes.imshow(
            values.to_numpy(), cmap="PuOr_r", vmin=-bound, vmax=bound, aspect="equal", interpolation="nearest"
        )
        axes.set_xticks(
            range(len(values.columns)),
            [visible(t, LABEL) for t in values.columns],
            rotation=90,
            fontsize=8,
            family="monospace",
        )
        axes.set_yticks(range(len(values)), [visible(t, LABEL) for t in values.index], fontsize=8, family="monospace")
        axes.tick_params(length=0)
        axes.set(title=title, ylabel=axis_names[0], xlabel=axis_names[1])
        for side_name in ("left", "bottom"):
            axes.spines[side_name].set_visible(False)
        drawn.colorbar(image, ax=axes, label=unit, shrink=0.7)
    return drawn.svg
