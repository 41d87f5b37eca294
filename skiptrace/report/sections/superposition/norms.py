"""More features than dimensions: norms and interference."""

import matplotlib as mpl
import pandas as pd
from matplotlib.colors import Normalize

from skiptrace.report.inputs import Study
from skiptrace.report.rendering.document import (
    Section,
)
from skiptrace.report.rendering.failures import figure
from skiptrace.report.rendering.figures import (
    GREY,
    PLAIN,
    canvas,
    grid,
)
from skiptrace.report.sections.superposition.toys import sparsity_label


def norms(study: Study) -> Section:
    """How many features are kept as they become sparse."""
    tables = study.results.superposition
    table = tables["norms"]
    table = table.assign(size=table["size"].map(_sizes(table)), key=table["size"])
    counts = (
        table.assign(kept=table["norm"] >= 0.5).groupby(["size", "key", "sparsity", "seed"])["kept"].sum().reset_index()
    )
    counts["per_dimension"] = counts["kept"] / counts["key"].map(_dimensions(tables["norms"]))

    mean = counts.groupby(["size", "sparsity"])["kept"].mean()
    kept = "; ".join(
        f"{size}: {mean[size].iloc[0]:.0f} at S = {mean[size].index[0]:g}, {mean[size].iloc[-1]:.0f} at "
        f"{mean[size].index[-1]:g}"
        for size in counts["size"].unique()
    )
    text = (
        "Expected: dense features are kept up to the number of dimensions, each in a direction of its own; the "
        "sparser they are, the more are kept, and the more they interfere. Measured, features kept on average over "
        f"seeds: {kept}."
    )
    return Section(
        "superposition-norms",
        "Superposition: more features",
        [text],
        [
            figure(
                "norms",
                "Norms and interference",
                "Each bar is a feature of the best model, the most important on top; faint bars have a direction of "
                "their own, strong ones share.",
                draw_norms,
                tables["norms"],
            ),
            figure("kept", "Features kept", "Mean and range over seeds.", draw_kept, counts),
        ],
    )


def _sizes(table: pd.DataFrame) -> dict[str, str]:
    count = table.groupby("size")["feature"].max() + 1
    return {str(size): f"{n} features" for size, n in count.items()}


def _dimensions(table: pd.DataFrame) -> dict[str, int]:
    """Hidden dimensions of each size: a dense model keeps one feature for each."""
    return table.groupby("size")["n_hidden"].first().to_dict()


def draw_norms(table: pd.DataFrame) -> str:
    """‖W_i‖ by feature, coloured by how much others interfere, one panel per size and sparsity."""
    best = table[table["best"]]
    sparsities = sorted(best["sparsity"].unique())
    scale = Normalize(0, 1)
    with canvas(1.35 * len(sparsities) + 1.0, 4.4) as drawn:
        panels = grid(drawn, 2 * len(sparsities), len(sparsities))
        for row, size in enumerate(("small", "large")):
            for column, sparsity in enumerate(sparsities):
                axes = panels[row * len(sparsities) + column]
                mine = best[(best["size"] == size) & (best["sparsity"] == sparsity)]
                colours = mpl.colormaps["cividis_r"](scale(mine["interference"].clip(0, 1)))
                bars = axes.barh(mine["feature"], mine["norm"], color=colours, height=0.9)
                for bar in bars:
                    bar.set_rasterized(True)  # hundreds of them
                axes.invert_yaxis()
                axes.set(xlim=(0, 1.3), xticks=[0, 1])
                if row == 0:
                    axes.set_title(sparsity_label(sparsity), loc="center")
                if column == 0:
                    axes.set_ylabel(f"feature ({mine['feature'].max() + 1} in all)")
                else:
                    axes.set_yticks([])
        drawn.supxlabel("‖W_i‖", fontsize=10)
        mappable = mpl.cm.ScalarMappable(scale, "cividis_r")
        drawn.colorbar(mappable, ax=panels, label="interference Σ(Ŵ_i·W_j)², 1 and above alike", shrink=0.8)
    return drawn.svg


def draw_kept(counts: pd.DataFrame) -> str:
    """Features kept per hidden dimension against 1/(1 − S), with the range over seeds."""
    with canvas(6.0, 3.4) as drawn:
        axes = drawn.subplots()
        for size, mine in counts.groupby("size", sort=False):
            mean = mine.groupby("sparsity")["per_dimension"].agg(["mean", "min", "max"]).reset_index()
            x = 1 / (1 - mean["sparsity"])
            error = [mean["mean"] - mean["min"], mean["max"] - mean["mean"]]
            axes.errorbar(x, mean["mean"], error, marker="o", ms=4, capsize=3, label=str(size))
        axes.axhline(1, color=GREY, ls="--", lw=1, label="one feature per dimension: no superposition")
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(PLAIN)
        axes.set(xlabel="1/(1 − S)", ylabel="features with ‖W_i‖ ≥ ½, per dimension")
        axes.legend(fontsize=8)
    return drawn.svg
