"""Composition of pairs of heads."""

import matplotlib
import numpy as np
import pandas as pd

from skiptrace.composition.tables import COMPOSITION
from skiptrace.report.inputs import Study
from skiptrace.report.rendering.document import (
    Section,
    Table,
    explained,
    numbers,
    prose,
    words,
)
from skiptrace.report.rendering.failures import figure
from skiptrace.report.rendering.figures import (
    COLOURS,
    DIVERGING,
    INK,
    canvas,
    head_order,
    heads_grid,
    matrix,
    symmetric,
)

SHOWN = 12  # rows of the longer tables
THROUGH = {"K": "keys", "Q": "queries", "V": "values"}

KIND_COLOURS = {"Q": COLOURS[0], "K": COLOURS[1], "V": COLOURS[2]}


def composition(study: Study) -> Section | None:
    """Which pairs of heads compose, and how strongly."""
    name, model, settings = study.name, study.model, study.settings
    if model.params.n_layers < 2:
        return None
    table, params = model.composed.composition, settings.scoring
    found = table[table["significant"]].assign(above=lambda t: t["score"] - t["null_mean"])
    largest = table.groupby("kind")["impossible_max"].first()
    impossible = ", ".join(f"{kind} {largest[kind]:.3f}" for kind in "QKV")
    below = _through(table[table["below"]])
    tried = f"{params.null_sd:g} standard deviations above random matrices of the same shapes"
    text = prose(f"""
        A later head composes with an earlier one when its queries (Q), keys (K) or values (V) read the directions
        that the earlier one writes. {len(found)} of {len(table)} pairs compose, counting each of two heads through
        keys, queries and values: {_through(found)}. They score {tried} and above these weights rotated at random, which
        keeps the singular values of each matrix, and above every pair that cannot compose, because the reader is
        not later than the writer (largest: {impossible}). Below chance by as much: {below}.
    """)
    if len(found):
        best = found.loc[found["above"].idxmax()]
        text += (
            f" The strongest is {best['kind']}-composition of {best['to']} with {best['from']}: {best['score']:.3f} "
            f"where chance gives {best['null_mean']:.3f}."
        )
    rows = [
        (
            r["kind"],
            f"{r['from']} → {r['to']}",
            f"{r['score']:.3f}",
            f"{r['null_mean']:.3f} ± {r['null_sd']:.3f}",
            f"{r['z']:+.1f}",
            f"{r['rotated_mean']:.3f} ± {r['rotated_sd']:.3f}",
            _z(r["rotated_z"]),
            f"{r['overlap']:.2f}",
            f"{r['overlap_null_mean']:.2f} ± {r['overlap_null_sd']:.2f}",
            f"{r['closest']:.2f}",
        )
        for r in found.nlargest(SHOWN, "above").to_dict("records")
    ]
    pairs = Table(
        prose(f"""
            The significant pairs, strongest first. Score: ‖W_QKᵀ W_OV‖ (Q), ‖W_QK W_OV‖ (K) or ‖W_OV W_OV‖ (V), the
            later head's matrix first, over the product of the norms; random and rotated: {params.null_draws} draws, ±
            standard deviation. Overlap: mean squared cosine of the principal angles between what is written and what is
            read, which does not depend on scale; closest: the largest cosine.
        """),
        explained(
            (
                *words("Kind", "Heads"),
                *numbers("Score", "Random", "z", "Rotated", "z", "Overlap", "By chance", "Closest"),
            ),
            COMPOSITION,
            "kind - score null_mean z rotated_mean rotated_z overlap overlap_null_mean closest",
        ),
        rows,
    )

    return Section(
        f"{name}-composition",
        f"{name}: composition of heads",
        [text],
        [
            figure(
                f"composition_{name}",
                "Composition scores",
                "Score minus the mean of random matrices; framed cells are significant. Look for a row that stands "
                "out under K: that earlier head feeds the keys of later ones.",
                draw_composition,
                table,
            ),
            figure(
                f"composition_graph_{name}",
                "Significant compositions",
                "An edge for every framed cell, as wide as it is strong.",
                draw_graph,
                table,
            ),
            pairs,
        ],
    )


def _through(pairs: pd.DataFrame) -> str:
    """How many of the pairs compose through what: `4 through keys, 1 through queries`."""
    counts = {what: (pairs["kind"] == kind).sum() for kind, what in THROUGH.items()}
    return ", ".join(f"{count} through {what}" for what, count in counts.items() if count) or "none"


def _z(value: float | None) -> str:
    return "n/a" if value is None or pd.isna(value) else f"{value:+.1f}"


def draw_composition(table: pd.DataFrame) -> str:
    """Q-, K- and V-composition of every pair of heads, less the mean of random matrices; significant ones framed."""
    above = table.assign(above=table["score"] - table["null_mean"])
    limits = symmetric(above["above"])
    shape = heads_grid(above[above["kind"] == "K"], "above").shape
    with canvas(1.6 + 3 * (0.42 * shape[1] + 0.6), 1.4 + 0.36 * shape[0]) as drawn:
        for axes, kind in zip(drawn.subplots(1, 3, sharey=True), "QKV", strict=True):
            mine = above[above["kind"] == kind]
            values, marked = heads_grid(mine, "above"), heads_grid(mine, "significant")
            image = matrix(axes, values, limits, DIVERGING, 2 if shape[1] <= 8 else None)
            for i, j in np.argwhere(marked.to_numpy(dtype=float) == 1):
                axes.add_patch(matplotlib.patches.Rectangle((j - 0.46, i - 0.46), 0.92, 0.92, fill=False, lw=1.6))
            axes.set(title=f"{kind}-composition", xlabel="later head")
            if kind == "Q":
                axes.set_ylabel("earlier head")
        drawn.colorbar(image, ax=drawn.axes, label="score above chance", shrink=0.9)
    return drawn.svg


def draw_graph(table: pd.DataFrame) -> str:
    """Heads layer by layer, with an edge for every significant composition, as wide as it is strong."""
    names = sorted({*table["from"], *table["to"]}, key=head_order)
    layers = sorted({head_order(n)[0] for n in names})
    place: dict[str, tuple[float, float]] = {}
    for layer in layers:
        row = [n for n in names if head_order(n)[0] == layer]
        place |= {n: (float(layer), -(i - (len(row) - 1) / 2)) for i, n in enumerate(row)}
    edges = table[table["significant"]].assign(above=lambda t: t["score"] - t["null_mean"])
    widest = max(1e-9, edges["above"].max()) if len(edges) else 1.0
    tallest = max(sum(head_order(n)[0] == layer for n in names) for layer in layers)
    with canvas(2.2 + 2.6 * (len(layers) - 1), 0.9 + 0.62 * tallest) as drawn:
        axes = drawn.subplots()
        for kind, bend in (("Q", 0.18), ("K", 0.0), ("V", -0.18)):
            for edge in edges[edges["kind"] == kind].to_dict("records"):
                arrow = matplotlib.patches.FancyArrowPatch(
                    place[edge["from"]], place[edge["to"]], connectionstyle=f"arc3,rad={bend}", arrowstyle="-|>",
                    mutation_scale=10, shrinkA=17, shrinkB=17, lw=0.6 + 4.4 * edge["above"] / widest,
                    color=KIND_COLOURS[kind], alpha=0.85,
                )  # fmt: skip
                axes.add_patch(arrow)
        for name, (x, y) in place.items():
            axes.plot(x, y, "o", ms=30, mfc="white", mec=INK, mew=1.2)
            axes.text(x, y, name, ha="center", va="center", fontsize=8.5)
        handles = [matplotlib.lines.Line2D([], [], color=c, lw=2.5, label=f"{k}-composition")
                   for k, c in KIND_COLOURS.items()]  # fmt: skip
        drawn.legend(handles=handles, loc="outside upper center", ncols=3, fontsize=8)
        axes.set(xlim=(layers[0] - 0.4, layers[-1] + 0.4), ylim=(-(tallest / 2) - 0.1, tallest / 2 + 0.1))
        axes.set_xticks(layers, [f"layer {i}" for i in layers])
        axes.set_yticks([])
        axes.tick_params(length=0)
        for side in ("left", "bottom"):
            axes.spines[side].set_visible(False)
    return drawn.svg
