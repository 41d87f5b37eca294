"""Figures: SVG, the same bytes for the same data, colours that colour-blind readers can tell apart."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from skiptrace.files import atomic
from skiptrace.report.failures import spare
from skiptrace.report.inputs import ModelResult, Results
from skiptrace.report.tokens import visible

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


@contextmanager
def figure(path: Path, width: float, height: float) -> Iterator[Figure]:
    """A figure of `width` × `height` inches that is saved to `path` without a date.

    While a part of a report is attempted, a figure that fails is noted there instead of raising.
    """
    try:
        with matplotlib.rc_context(STYLE):
            drawn = Figure(figsize=(width, height))
            yield drawn
            _settle(drawn)
            with atomic(path) as temporary:
                drawn.savefig(temporary, format="svg", metadata={"Date": None, "Creator": None})
    except Exception as error:
        if not spare(path, error):
            raise


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


def loss_curves(path: Path, results: Results) -> None:
    """Validation loss against training tokens, one line per model trained here, with the n-gram baselines."""
    trained = {name: model for name, model in results.models.items() if len(model.curve)}
    corpora = list(dict.fromkeys(m.params.corpus for m in trained.values()))
    with figure(path, 7.0, 3.6 * len(corpora)) as drawn:
        for axes, corpus in zip(grid(drawn, len(corpora), 1), corpora, strict=True):
            models = {n: m for n, m in trained.items() if m.params.corpus == corpus}
            for name, model in models.items():
                curve = model.curve
                (line,) = axes.plot(curve["tokens"] / 1e6, curve["valid_loss"], lw=1.8)
                end = (curve["tokens"].iloc[-1] / 1e6, curve["valid_loss"].iloc[-1])
                axes.annotate(name, end, (5, 0), "data", "offset points", color=line.get_color(), va="center")
            baseline = results.corpora[corpus]
            for value, label in ((baseline.unigram_loss, "unigram"), (baseline.bigram_loss, "smoothed bigram")):
                axes.axhline(value, color=GREY, lw=1, ls="--")
                place = axes.get_yaxis_transform()
                axes.annotate(label, (1, value), (0, 3), place, "offset points", color=INK, ha="right", fontsize=8)
            axes.set(xlabel="training tokens (millions)", ylabel="validation loss (nats per token)")
            axes.set_title(f"corpus {corpus}")


def bigram_scatter(path: Path, pairs: pd.DataFrame) -> None:
    """Log-probabilities of the direct path against the corpus's, with the line of agreement.

    Both axes begin where all pairs but one in a thousand are to be seen, whichever is the lower.
    """
    with figure(path, 5.4, 4.6) as drawn:
        axes = drawn.subplots()
        low = float(np.floor(min(pairs["corpus"].min(), pairs["model"].quantile(0.001), -1.0)))
        cells = axes.hexbin(
            pairs["corpus"], pairs["model"], gridsize=45, bins="log", cmap="cividis_r", mincnt=1,
            extent=(low, 0, low, 0), linewidths=0,
        )  # fmt: skip
        axes.plot([low, 0], [low, 0], color=COLOURS[1], lw=1)
        axes.set(xlabel="log p(next) in the corpus (nats)", ylabel="log p(next) by W_E W_U (nats)")
        drawn.colorbar(cells, ax=axes, label="pairs of tokens", format=PLAIN)


def effects(path: Path, checked: pd.DataFrame) -> None:
    """Causal effect of every checked row against its corpus lift."""
    seen = checked[checked["corpus_count"] > 0]
    groups = (
        ("supported by the corpus", seen["support"] == "supported", COLOURS[0]),
        ("too rare to say", seen["support"] == "too rare to say", COLOURS[4]),
        ("contradicted by the corpus", seen["support"] == "contradicted", COLOURS[1]),
    )
    with figure(path, 7.0, 4.2) as drawn:
        axes = drawn.subplots()
        for label, chosen, colour in groups:
            part = seen[chosen]
            axes.scatter(
                part["effect_nats"],
                part["corpus_lift"],
                s=9,
                alpha=0.6,
                color=colour,
                lw=0,
                label=f"{label} ({len(part)})",
            )
        axes.axhline(1, color=GREY, lw=1, ls="--")
        axes.axvline(0, color=GREY, lw=1, ls="--")
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(PLAIN)
        axes.set(xlabel="effect of the attention edge on log p(out) (nats)", ylabel="lift of A … B C over B C alone")
        axes.legend(loc="lower right", fontsize=8, markerscale=2)


def copying(path: Path, model: ModelResult, null_sd: float) -> None:
    """Copying score of every head with the band that random heads fall into."""
    heads = model.heads
    with figure(path, 7.0, 0.9 + 0.3 * len(heads)) as drawn:
        axes = drawn.subplots()
        mean, sd = heads["copying_null_mean"].iloc[0], heads["copying_null_sd"].iloc[0]
        axes.axvspan(
            mean - null_sd * sd,
            mean + null_sd * sd,
            color=GREY,
            alpha=0.25,
            lw=0,
            label=f"random heads, ±{null_sd:g} sd",
        )
        axes.axvline(0, color="black", lw=0.6)
        colours = np.where(heads["copies"], COLOURS[0], COLOURS[1])
        axes.hlines(heads["name"], 0, heads["copying"], colors=colours.tolist(), lw=2)
        axes.scatter(heads["copying"], heads["name"], c=colours.tolist(), s=28, zorder=3)
        axes.set(xlim=(-1.05, 1.05), xlabel="copying score Σλ/Σ|λ| of W_E W_V W_O W_U", ylim=(len(heads) - 0.5, -0.5))
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), borderpad=0, fontsize=8)


def offsets(path: Path, model: ModelResult, shown: int) -> None:
    """Mean attention by distance: on text, by the position term alone, and spread evenly."""
    table = model.offsets[model.offsets["offset"] < shown]
    top = 1.1 * table[["text", "position_only"]].to_numpy().max()
    columns = min(4, model.params.n_heads)
    rows = -(-len(model.heads) // columns)
    with figure(path, 2.4 * columns + 0.6, 2.1 * rows + 0.5) as drawn:
        panels = grid(drawn, len(model.heads), columns, shared=True)
        for axes, head in zip(panels, model.heads.itertuples(), strict=True):
            mine = table[(table["layer"] == head.layer) & (table["head"] == head.head)]
            axes.fill_between(mine["offset"], mine["uniform"], color=GREY, alpha=0.3, lw=0, label="spread evenly")
            axes.plot(
                mine["offset"], mine["position_only"], color=COLOURS[1], lw=1.4, ls="--", label="position term alone"
            )
            axes.plot(mine["offset"], mine["text"], color=COLOURS[0], lw=1.6, label="on text")
            axes.set_title(f"{head.name}{'  positional' if head.positional else ''}")
            axes.set_ylim(0, top)
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        drawn.supxlabel("tokens back from the destination", fontsize=10)
        drawn.supylabel("mean attention", fontsize=10)
        handles, labels = panels[0].get_legend_handles_labels()
        drawn.legend(handles, labels, loc="outside upper center", ncols=3, fontsize=9)


def corner(path: Path, values: pd.DataFrame, title: str, axis_names: tuple[str, str], unit: str) -> None:
    """A heat map of some rows and columns of a circuit, zero in the middle of the scale."""
    bound = max(1e-6, float(np.abs(values.to_numpy()).max()))
    side = 0.27 * len(values) + 1.6
    with figure(path, side + 0.9, side) as drawn:
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
