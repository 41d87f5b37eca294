"""The sections on what surrounds toy models: almost-orthogonal vectors, sensing, larger models, and width."""

from pathlib import Path

import numpy as np
import pandas as pd

from skiptrace.report import toy_figures, vector_figures
from skiptrace.report.document import Figure, Section, Table, numbers
from skiptrace.report.failures import attempt

Tables = dict[str, pd.DataFrame]


def sections(tables: Tables, folder: Path) -> list[Section]:
    """All sections of this part."""
    builders = (_vectors, _sensing, _larger, _widths)
    return [section for build in builders for section in attempt("Superposition", build, tables, folder)]


def _vectors(tables: Tables, folder: Path) -> Section:
    table, distortion = tables["vectors"], tables["distortion"]
    vector_figures.vectors(folder / "vectors.svg", table)
    vector_figures.distortion(folder / "distortion.svg", distortion)
    finite = table[np.isfinite(table["welch"]) & (table["optimised"] < table["largest"])]
    most = table.loc[(table["optimised"] / table["d"]).idxmax()]
    capped = int((table["optimised"] >= table["largest"]).sum())
    text = (
        "Expected: the number of vectors whose cosines all stay within ε grows exponentially with the "
        "dimension; at least "
        "e^{dε²/4} fit, and Welch's bound says how many at most, while dε² < 1. Came out: optimisation reaches "
        f"{(finite['optimised'] / finite['welch']).mean():.0%} of Welch's bound on average over the "
        f"{len(finite)} cells "
        "where it is finite and never exceeds "
        f"it{'' if (finite['optimised'] <= finite['welch']).all() else ', except by rounding'}; "
        f"it finds {most['optimised']:.0f} vectors in {most['d']:.0f} dimensions at ε = {most['epsilon']:g}"
        f"{f' ({capped} cells stopped at the limit of {most.largest:.0f})' if capped else ''}, random draws "
        f"{most['drawn']:.0f}, the exponential bound promises {most['exponential']:.0f} and the "
        "Johnson–Lindenstrauss size "
        f"{most['johnson_lindenstrauss']:.0f}. Random projections keep squared distances to "
        f"{(distortion['rms'] / distortion['expected'] - 1).abs().max():.0%} of the expected √(2/m), and no "
        "pair exceeds "
        f"the lemma's ε in {int((distortion['worst'] <= distortion['epsilon']).sum())} of "
        f"{distortion['epsilon'].notna().sum()} cases."
    )
    return Section(
        "superposition-vectors",
        "Superposition: almost-orthogonal vectors",
        [text],
        [
            Figure(folder / "vectors.svg", "Vectors that fit", "Found counts are lower bounds on what fits."),
            Figure(folder / "distortion.svg", "Distances under random projection", "Over all pairs of points."),
        ],
    )


def _sensing(tables: Tables, folder: Path) -> Section:
    table, own = tables["sensing"], tables["own_weights"]
    vector_figures.sensing(folder / "sensing.svg", table)
    vector_figures.own_weights(folder / "own_weights.svg", own)
    clear = table[(table["m"] / table["n"] - table["expected"]).abs() > 0.1]
    right = ((clear["recovered"] >= 0.5) == (clear["m"] / clear["n"] > clear["expected"])).mean()
    half = own[own["toy"] >= 0.5].groupby("sparsity")["k"].max()
    chance = own[own["gaussian"] >= 0.5].groupby("sparsity")["k"].max()
    m, n = int(own["m"].max()), int(own["n"].max())
    text = (
        "A k-sparse vector can be found again from m random measurements when m grows like k log(n/k); what a "
        "layer holds in "
        "superposition is such a measurement. Expected: recovery by least ‖x‖₁ sets in at the phase transition "
        "of Amelunxen "
        f"et al. (2014). Came out: of {len(clear)} cells more than 0.1 n away from it, {right:.0%} lie on the "
        "right side. The same "
        f"from the hidden layer of toy models with about {n} features in {m} dimensions, features not negative: "
        "half of the "
        "vectors are found exactly up to "
        f"{', '.join(f'{k} active features (S = {s:g})' for s, k in half.items())}; with Gaussian "
        f"matrices of the same shape up to {int(chance.max()) if len(chance) else 0}."
    )
    return Section(
        "superposition-sensing",
        "Superposition: compressed sensing",
        [text],
        [
            Figure(folder / "sensing.svg", "Recovery by basis pursuit", "Share of random signed vectors recovered."),
            Figure(
                folder / "own_weights.svg",
                "Recovery from a toy model's hidden layer",
                "Share of random inputs recovered exactly from h = Wx, by linear programming.",
            ),
        ],
    )


def _larger(tables: Tables, folder: Path) -> Section:
    table = tables["larger"]
    vector_figures.larger(folder / "larger.svg", table)
    off = (table["interference"] / table["predicted"] - 1).abs()
    few, many = table["active"].min(), table["active"].max()
    explained = table.groupby("active")["explained"].mean()
    text = (
        "Taken apart, a model in superposition is a larger model with one dimension per feature, plus noise: "
        "x′_i = ReLU(‖W_i‖² x_i + b_i + interference). Expected: the squared interference follows from W and "
        "the number of "
        "active features a, E = (a/n) E x² Σ_j G_ij² + (a(a − 1)/n(n − 1)) (E x)² [(Σ_j G_ij)² − Σ_j G_ij²] "
        "with G = WᵀW. "
        f"Came out: measured within {off.max():.1%} of it everywhere (mean {off.mean():.1%}). The outputs of "
        "the larger model "
        f"are reproduced to {explained[few]:.1%} of their variance with {few} active, {explained[many]:.0%} "
        f"with {many}."
    )
    figure = Figure(
        folder / "larger.svg",
        "A noisy simulation",
        "Left: interference measured (points, range over seeds) and predicted (dashed). Right: what remains of "
        "the larger "
        "model's outputs.",
    )
    return Section("superposition-larger", "Superposition: simulating a larger model", [text], [figure])


def _widths(tables: Tables, folder: Path) -> Section:
    table = tables["widths"]
    toy_figures.widths(folder / "widths.svg", table)
    mean = table.groupby(["sparsity", "width"]).mean(numeric_only=True).reset_index()
    rows = [
        (
            f"{r.sparsity:g}",
            f"{r.width:.0f}",
            f"{r.unexplained:.4f}",
            f"{r.kept:.1f}",
            f"{r.interference:.2f}",
            f"{r.parameters:,.0f}",
            f"{r.multiplications:,.0f}",
        )
        for r in mean.itertuples()
    ]
    wide, narrow = mean[mean["width"] == mean["width"].max()], mean[mean["kept"] >= 0.95 * mean["kept"].max()]
    least = narrow.groupby("sparsity")["width"].min()
    text = (
        "The first way out: make the layer as wide as there are features, and superposition has no reason. "
        "Expected: with "
        "one dimension per feature, no interference and no loss. Came out: interference "
        f"{wide['interference'].max():.3f} and {wide['unexplained'].max():.2%} of the loss left at width "
        f"{wide['width'].max():.0f}. What it costs: superposition represents as many features from width "
        f"{', '.join(f'{w:.0f} (S = {s:g})' for s, w in least.items())} on, so a model without it takes "
        f"{wide['width'].max() / least.min():.1f} times the multiplications at the sparsest of these."
    )
    table_shown = Table(
        "Means over seeds. Loss: share of that of always answering the mean. Multiplications per input.",
        numbers("Sparsity", "Width", "Loss left", "Features kept", "Interference", "Parameters", "Multiplications"),
        rows,
    )
    figure = Figure(folder / "widths.svg", "Loss and interference by width", "Mean and range over seeds.")
    return Section("superposition-widths", "Superposition: the way out by width", [text], [figure, table_shown])
