"""The similarity of every head of one version with every head of the other."""

import numpy as np
from matplotlib.patches import Rectangle

from skiptrace.comparison.compare import Comparison, ModelChange
from skiptrace.report.rendering.figures import canvas

MOST = 24  # heads whose names and numbers fit


def similarities(found: Comparison, model: ModelChange) -> str:
    """A heat map as SVG: rows are heads of the first version, columns of the second, matches are framed."""
    assert model.similarity is not None
    both, names_a, names_b = model.similarity.both, model.similarity.names_a, model.similarity.names_b
    matched = [(h.match.a, h.match.b) for h in model.heads if h.match.a and h.match.b]
    with canvas(3.2 + 0.42 * min(both.shape[1], MOST), 1.6 + 0.42 * min(both.shape[0], MOST)) as drawn:
        axes = drawn.subplots()
        image = axes.imshow(both, cmap="PuOr_r", vmin=-1, vmax=1, aspect="auto")
        for a, b in matched:
            at = names_b.index(b) - 0.5, names_a.index(a) - 0.5
            axes.add_patch(Rectangle(at, 1, 1, fill=False, edgecolor="black", linewidth=2))
        if max(both.shape) <= MOST:
            axes.set_xticks(range(len(names_b)), names_b, rotation=90)
            axes.set_yticks(range(len(names_a)), names_a)
            for i, j in np.ndindex(*both.shape):
                dark = abs(both[i, j]) > 0.6
                axes.text(j, i, f"{both[i, j]:.2f}", ha="center", va="center", size=7, color="w" if dark else "k")
        axes.set(xlabel=f"heads of {found.b}", ylabel=f"heads of {found.a}")
        drawn.colorbar(image, ax=axes, label="cosine, mean of OV and QK")
    return drawn.svg
