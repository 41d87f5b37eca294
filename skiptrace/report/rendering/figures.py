"""Figures: SVG, the same bytes for the same data, colours that colour-blind readers can tell apart."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import FuncFormatter

# Okabe & Ito's palette, without its yellow, which vanishes on white.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
GREY = "#8a8f98"  # baselines and nulls
INK = "#5b616b"  # their labels
PLAIN = FuncFormatter(lambda value, _: f"{value:,g}")  # ticks of logarithmic axes, without TeX
LABEL = 14  # characters of a token beside a heat map
STYLE: Any = {
    "svg.hashsalt": "skiptrace",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": ["DejaVu Sans", "sans-serif"],
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.prop_cycle": cycler(color=COLOURS),
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}
DIVERGING, SEQUENTIAL = "PuOr_r", "Blues"


class Canvas(Figure):
    """A figure that is drawn on, and its SVG once it is done."""

    svg = ""


@contextmanager
def canvas(width: float, height: float) -> Iterator[Canvas]:
    """A canvas of `width` × `height` inches, whose SVG holds no date."""
    with matplotlib.rc_context(STYLE):
        drawn = Canvas(figsize=(width, height))
        yield drawn
        _settle(drawn)
        saved = StringIO()
        # Without `savefig`, which draws twice so as to lay out what `_settle` has laid out.
        FigureCanvasSVG(drawn).print_svg(saved, metadata={"Date": None, "Creator": None})
    drawn.svg = saved.getvalue()


def _settle(drawn: Figure) -> None:
    """Lay the figure out and round where its axes are: the solver's last digits differ from run to run."""
    engine = drawn.get_layout_engine()
    if engine is not None:
        engine.execute(drawn)
    drawn.set_layout_engine("none")
    for axes in drawn.axes:
        axes.set_position(np.round(axes.get_position(original=True).bounds, 5).tolist())


def grid(drawn: Figure, panels: int, columns: int, shared: bool = False) -> list[Axes]:
    """`panels` axes in rows of `columns`; places left over stay blank."""
    rows = -(-panels // columns)
    axes = drawn.subplots(rows, min(columns, panels), squeeze=False, sharex=shared, sharey=shared).flatten().tolist()
    for unused in axes[panels:]:
        unused.set_axis_off()
    return axes[:panels]


def matrix(
    axes: Axes, values: pd.DataFrame, limits: tuple[float, float], cmap: str, digits: int | None, size: float = 7.5
) -> AxesImage:
    """A heat map with its numbers written in the cells; cells without a value stay blank."""
    numbers = values.to_numpy(dtype=float)
    image = axes.imshow(numbers, cmap=cmap, vmin=limits[0], vmax=limits[1], aspect="auto", interpolation="nearest")
    axes.set_xticks(range(values.shape[1]), values.columns, rotation=90, fontsize=8)
    axes.set_yticks(range(values.shape[0]), values.index, fontsize=8)
    axes.tick_params(length=0)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    if digits is not None:
        colours, norm = matplotlib.colormaps[cmap], Normalize(*limits)
        for (i, j), value in np.ndenumerate(numbers):
            if np.isfinite(value):
                r, g, b, _ = colours(norm(value))
                ink = "white" if 0.299 * r + 0.587 * g + 0.114 * b < 0.5 else "black"
                axes.text(j, i, f"{value:z.{digits}f}", ha="center", va="center", fontsize=size, color=ink)
    return image


def symmetric(values: pd.Series | pd.DataFrame) -> tuple[float, float]:
    """Limits of a scale with zero in its middle."""
    bound = max(1e-6, float(np.nanmax(np.abs(np.asarray(values, dtype=float)))))
    return -bound, bound


def heads_grid(table: pd.DataFrame, value: str) -> pd.DataFrame:
    """Rows `from`, columns `to`, both in the order of layers and heads."""
    wide = table.pivot(index="from", columns="to", values=value)
    return wide.loc[sorted(wide.index, key=head_order), sorted(wide.columns, key=head_order)]


def head_order(name: str) -> tuple[int, int]:
    """Layer and head of a name such as `L1H0`."""
    layer, _, head = name.removeprefix("L").partition("H")
    return int(layer), int(head)


def decades(axes: Axes, top: float) -> None:
    """Plain ticks 1, 2, 5, 10, … up to `top` on a logarithmic axis."""
    ticks = [digit * 10**power for power in range(6) for digit in (1, 2, 5)]
    axes.set_xticks([t for t in ticks if t <= top])
    axes.minorticks_off()
    axes.xaxis.set_major_formatter(PLAIN)
