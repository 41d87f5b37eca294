"""Compressed sensing."""

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
    canvas,
)
from skiptrace.superposition.sensing import transition


def sensing(study: Study) -> Section:
    """From how few measurements sparse vectors are recovered."""
    tables = study.results.superposition
    table, own = tables["sensing"], tables["own_weights"]

    clear = table[(table["m"] / table["n"] - table["expected"]).abs() > 0.1]
    right = ((clear["recovered"] >= 0.5) == (clear["m"] / clear["n"] > clear["expected"])).mean()
    half = own[own["toy"] >= 0.5].groupby("sparsity")["k"].max()
    chance = own[own["gaussian"] >= 0.5].groupby("sparsity")["k"].max()
    m, n = int(own["m"].max()), int(own["n"].max())
    text = prose(f"""
        A k-sparse vector can be recovered from m random measurements when m grows like k log(n/k); what a layer
        holds in superposition is such a measurement. Expected: recovery by least ‖x‖₁ sets in at the phase
        transition of Amelunxen et al. (2014). Measured: of {len(clear)} cells more than 0.1 n away from it,
        {right:.0%} lie on the right side. The same from the hidden layer of toy models with about {n} features in
        {m} dimensions, features not negative: half of the vectors are found exactly up to
        {", ".join(f"{k} active features (S = {s:g})" for s, k in half.items())}; with Gaussian matrices of the same
        shape up to {int(chance.max()) if len(chance) else 0}.
    """)
    return Section(
        "superposition-sensing",
        "Superposition: compressed sensing",
        [text],
        [
            figure(
                "sensing", "Recovery by basis pursuit", "Share of random signed vectors recovered.", draw_sensing, table
            ),
            figure(
                "own_weights",
                "Recovery from a toy model's hidden layer",
                "Share of random inputs recovered exactly from h = Wx, by linear programming.",
                draw_own_weights,
                own,
            ),
        ],
    )


def draw_sensing(table: pd.DataFrame) -> str:
    """The share recovered by measurements and nonzeros, with the theoretical transition."""
    n = int(table["n"].iloc[0])
    cells = table.pivot(index="m", columns="k", values="recovered")
    with canvas(6.2, 4.0) as drawn:
        axes = drawn.subplots()
        image = axes.imshow(
            cells.to_numpy(), cmap="cividis", vmin=0, vmax=1, origin="lower", aspect="auto", interpolation="nearest"
        )
        nonzeros, measured = cells.columns.to_numpy(), cells.index.to_numpy()
        ks = np.linspace(nonzeros[0], nonzeros[-1], 60)
        curve = np.array([n * transition(k / n, True) for k in ks])
        bound = ks * np.log(n / ks)
        for line, style, label in ((curve, "-", "theory, large n"), (bound, ":", "k ln(n/k)")):
            axes.plot(
                np.interp(ks, nonzeros, range(len(nonzeros))),
                np.interp(line, measured, range(len(measured))),
                color=COLOURS[1],
                ls=style,
                lw=2,
                label=label,
            )
        axes.set_xticks(range(len(nonzeros)), nonzeros.tolist())
        axes.set_yticks(range(len(measured)), measured.tolist())
        axes.set(xlabel=f"nonzeros k of n = {n}", ylabel="measurements m")
        axes.legend(loc="lower right", fontsize=8, frameon=True)
        drawn.colorbar(image, ax=axes, label="share recovered")
    return drawn.svg


def draw_own_weights(table: pd.DataFrame) -> str:
    """Recovery from a toy model's own hidden layer against the number of active features."""
    with canvas(6.0, 3.4) as drawn:
        axes = drawn.subplots()
        for (sparsity, mine), colour in zip(table.groupby("sparsity"), COLOURS, strict=False):
            axes.plot(
                mine["k"], mine["toy"], marker="o", ms=4, color=colour, label=f"W of the model at S = {sparsity:g}"
            )
        mean = table.groupby("k")["gaussian"].mean()
        axes.plot(mean.index, mean, color=GREY, ls="--", marker="s", ms=3, label="Gaussian matrices of its shape")
        axes.set(xlabel="features active at once", ylabel="share recovered exactly", ylim=(-0.02, 1.05))
        axes.legend(fontsize=8)
    return drawn.svg
