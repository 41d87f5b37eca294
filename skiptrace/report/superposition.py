"""The sections on toy models of superposition: each figure beside what was expected and what came out."""

from pathlib import Path

import numpy as np
import pandas as pd

from skiptrace.report import mathematics, toy_figures
from skiptrace.report.document import Cell, Figure, Section, Table, numbers, words
from skiptrace.report.failures import attempt
from skiptrace.superposition import phase, theory

# What "Toy Models of Superposition" shows for five features in two dimensions.
PUBLISHED = {0.0: "two orthogonal", 0.8: "two antipodal pairs", 0.9: "pentagon"}

Tables = dict[str, pd.DataFrame]


def sections(tables: Tables, folder: Path) -> list[Section]:
    """All sections of the branch."""
    builders = (_five, _norms, _phase, _geometry, _pairs, _neurons, _absolute)
    found = [section for build in builders for section in attempt("Superposition", build, tables, folder)]
    return found + mathematics.sections(tables, folder)


def _five(tables: Tables, folder: Path) -> Section:
    table = tables["five"]
    models = table[(table["feature"] == 0) & (table["activation"] == "relu")]
    linear = table[(table["feature"] == 0) & (table["activation"] == "linear")]
    seeds = models["seed"].nunique()
    rows: list[tuple[Cell, ...]] = []
    agreed = compared = 0
    for sparsity, mine in models.groupby("sparsity"):
        came = mine.loc[mine["best"], "arrangement"].iloc[0]
        published = PUBLISHED.get(float(sparsity), "–")
        compared, agreed = compared + (published != "–"), agreed + (published == came)
        same = int((mine["arrangement"] == came).sum())
        flat = linear[linear["sparsity"] == sparsity]
        orthogonal = int((flat["arrangement"] == "two orthogonal").sum())
        rows.append((f"{sparsity:g}", came, published, f"{same} of {seeds}", f"{orthogonal} of {seeds}"))
    toy_figures.arrows(folder / "five_arrows.svg", table)
    toy_figures.matrices(folder / "five_matrices.svg", table)
    text = (
        "Five features, two dimensions, importance falling with the feature's number. Expected: without sparsity the "
        "two most important features stand at right angles and the others are left out; as features become sparse, "
        "four form two antipodal pairs, then all five a pentagon; without the ReLU never more than two. Came "
        "out: the "
        f"best of {seeds} models agrees with the published arrangement at {agreed} of {compared} sparsities that "
        "the paper names."
    )
    shown = Table(
        "The arrangement of the model with the least loss, as told by the angles between its features (right to "
        "11.25°), and how many seeds end in the same; of the linear models, how many hold two orthogonal features.",
        (*words("Sparsity", "Best model", "Published"), *numbers("Seeds alike", "Linear: two orthogonal")),
        rows,
    )
    drawn = [
        Figure(
            folder / "five_arrows.svg", "Features as arrows", f"The best of {seeds} models; strong arrows matter most."
        ),
        Figure(
            folder / "five_matrices.svg",
            "WᵀW and b",
            "The ReLU models above: interference is off the diagonal, and negative biases clear it away.",
        ),
    ]
    return Section("superposition-five", "Superposition: five features, two dimensions", [text], [*drawn, shown])


def _norms(tables: Tables, folder: Path) -> Section:
    table = tables["norms"]
    table = table.assign(size=table["size"].map(_sizes(table)), key=table["size"])
    counts = (
        table.assign(kept=table["norm"] >= 0.5).groupby(["size", "key", "sparsity", "seed"])["kept"].sum().reset_index()
    )
    counts["per_dimension"] = counts["kept"] / counts["key"].map(_dimensions(tables))
    toy_figures.norms(folder / "norms.svg", tables["norms"])
    toy_figures.kept(folder / "kept.svg", counts)
    mean = counts.groupby(["size", "sparsity"])["kept"].mean()
    told = "; ".join(
        f"{size}: {mean[size].iloc[0]:.0f} at S = {mean[size].index[0]:g}, {mean[size].iloc[-1]:.0f} at "
        f"{mean[size].index[-1]:g}"
        for size in counts["size"].unique()
    )
    text = (
        "Expected: dense features are kept up to the number of dimensions, each alone; the sparser they are, "
        "the more "
        f"are kept, and the more they interfere. Came out, features kept on average over seeds: {told}."
    )
    return Section(
        "superposition-norms",
        "Superposition: more features",
        [text],
        [
            Figure(
                folder / "norms.svg",
                "Norms and interference",
                "Each bar is a feature of the best model, the most "
                "important on top; faint bars have a direction of their own, strong ones share.",
            ),
            Figure(folder / "kept.svg", "Features kept", "Mean and range over seeds."),
        ],
    )


def _sizes(table: pd.DataFrame) -> dict[str, str]:
    count = table.groupby("size")["feature"].max() + 1
    return {str(size): f"{n} features" for size, n in count.items()}


def _dimensions(tables: Tables) -> dict[str, int]:
    """Hidden dimensions of each size: a dense model keeps one feature for each."""
    return tables["norms"].groupby("size")["n_hidden"].first().to_dict()


def _phase(tables: Tables, folder: Path) -> Section:
    cells = tables["phase"]
    share = cells.groupby("n")["agrees"].mean()
    blocks: list[Table | Figure] = []
    for n in theory.CONFIGURATIONS:
        path = folder / f"phase_{n}.svg"
        common = cells.loc[cells["n"] == n, "expected"].value_counts(normalize=True).max()
        toy_figures.phases(path, cells, n)
        blocks.append(
            Figure(
                path,
                f"{n} features, {n - 1} dimension{'s' if n > 2 else ''}",
                f"Trained and theory agree on {share[n]:.1%} of {(cells['n'] == n).sum()} cells (always "
                f"answering the most common would on {common:.1%}). Lines: the theory's borders.",
            )
        )
    found = phase.apex(cells[cells["n"] == 2])
    gain = (cells["loss"] / cells["expected_loss"]).median()
    border = cells[~cells["agrees"]].groupby("n")["density"].median()
    reached = (
        f"the antipodal region of the trained models ends at r = {found.importance:.2f}, p = {found.density:.2f} "
        "(between grid lines)"
        if np.isfinite(found.density)
        else "no trained model of two features is antipodal"
    )
    told = ", ".join(f"{d:.2f} ({n} features)" for n, d in border.items()) or "none"
    text = (
        "Whether the extra feature is left out, pushes another out, or shares a dimension with it depends on its "
        "importance and on density. Expected: the exact losses L = r(p/3 − p²/4), p/3 − p²/4 and (1 + r)p²/6 meet at "
        f"the triple point r = {theory.TRIPLE.importance:g}, p = 4/7 = {theory.TRIPLE.density:.3f}. "
        f"Came out: {reached}. The theory's weights are ideal but fixed; trained ones also move norms and "
        "biases: the "
        f"loss of the median cell is {gain:.3f} of the theory's, and superposition reaches somewhat denser "
        "features. Median density of "
        f"the cells that disagree: {told}."
    )
    return Section("superposition-phase", "Superposition: phase diagrams", [text], blocks)


def _geometry(tables: Tables, folder: Path) -> Section:
    levels, features = tables["levels"], tables["geometry"]
    toy_figures.dstar(folder / "dstar.svg", tables["dstar"], float(levels["within"].iloc[0]))
    toy_figures.dimensionalities(folder / "dimensionalities.svg", features)
    found = levels[levels["passes"]]
    missed = levels[~levels["passes"] & (levels["measure"] == "D_i")]["name"]
    count, wide = int(features["feature"].max()) + 1, tables["dstar"]["dstar"]
    text = (
        f"{count} equally important features at {len(wide)} densities. Expected: D* = m/‖W‖² pauses at 1 and ½, "
        "and the "
        "dimensionalities D_i gather on lines at 1, 3/4 (tetrahedron), 2/3 (triangle), 1/2 (antipodal pair), 2/5 "
        "(pentagon) and 3/8 (square antiprism); in the authors' own saved run only ½ and one more are sharp. "
        "Came out by "
        "the tests below: "
        f"{', '.join(f'{r.measure} at {r.level:g} ({r.found:.0f})' for r in found.itertuples()) or 'nothing'}"
        f"{'; not found as lines: ' + ', '.join(missed) if len(missed) else ''}."
    )
    table = Table(
        "D*: models within the tolerance of the level (null: D* falling evenly from first to last). D_i: the most "
        "features of one model within the tolerance (null: 95th percentile over random levels).",
        (*words("Measure", "Level"), *numbers("Value", "Within", "Found", "Null", "Needed"), *words("Passes")),
        [
            (
                r.measure,
                r.name,
                f"{r.level:.3f}",
                f"± {r.within:g}",
                str(r.found),
                f"{r.null:.1f}",
                str(r.needed),
                "yes" if r.passes else "no",
            )
            for r in levels.itertuples(index=False)
        ],
    )
    return Section(
        "superposition-geometry",
        "Superposition: sticky dimensions",
        [text],
        [
            Figure(folder / "dstar.svg", "Dimensions per feature", "Grey bands: the tolerance of the test."),
            Figure(
                folder / "dimensionalities.svg",
                "Dimensionality of every feature",
                "Each point is a represented feature; lines are the values of regular arrangements.",
            ),
            table,
        ],
    )


def _pairs(tables: Tables, folder: Path) -> Section:
    together = tables["together"]
    toy_figures.pair_arrows(folder / "pair_arrows.svg", tables["pairs"])
    toy_figures.pairs(folder / "pairs.svg", together)
    dense, sparse = together["sparsity"].min(), together["sparsity"].max()

    def share(grouping: str, sparsity: float, became: str) -> str:
        mine = together[(together["grouping"] == grouping) & (together["sparsity"] == sparsity)]
        chosen = mine[mine["best"]]["became"]
        return f"{(mine['became'] == became).mean():.0%} (best model: {int((chosen == became).sum())} of {len(chosen)})"

    text = (
        "Expected: features that appear together take orthogonal directions, and when there is no room for both "
        "collapse "
        "into one, their first principal component; features that never appear together become antipodal. Came "
        "out, share "
        f"of pairs over {together['seed'].nunique()} seeds: correlated at S = {sparse:g} orthogonal "
        f"{share('correlated', sparse, 'orthogonal')}, at S = {dense:g} collapsed "
        f"{share('correlated', dense, 'collapsed')}; "
        f"anticorrelated at S = {dense:g} antipodal {share('anticorrelated', dense, 'antipodal')}. The "
        "control, pairs "
        f"of independent features: orthogonal at S = {sparse:g} {share('independent', sparse, 'orthogonal')}, "
        f"antipodal at S = {dense:g} {share('independent', dense, 'antipodal')}."
    )
    return Section(
        "superposition-pairs",
        "Superposition: correlated features",
        [text],
        [
            Figure(
                folder / "pair_arrows.svg",
                "Pairs of features",
                "Best model of every setting; a pair has one colour. In the control, colours mean nothing.",
            ),
            Figure(folder / "pairs.svg", "What became of the pairs", "All seeds."),
        ],
    )


def _neurons(tables: Tables, folder: Path) -> Section:
    table = tables["neurons"]
    shown = table.rename(columns={"hidden": "hidden layer"})
    toy_figures.neurons(folder / "neurons.svg", shown, "hidden layer")
    best = table[table["best"]].assign(own=lambda t: t["semantics"] == "monosemantic")
    by = best.groupby(["hidden", "sparsity"]).agg(own=("own", "mean"), kept=("kept", "first"))
    relu, linear = by.loc["relu"], by.loc["linear"]
    dense = relu[relu.index <= 0.5]["own"]
    first, last = relu.index[0], relu.index[-1]
    text = (
        "A ReLU gives the hidden layer a basis, so neurons can mean something. Expected: at densities of ½ and "
        "more every "
        "neuron has one feature; in sparser data there are more features than neurons, and neurons become "
        "polysemantic; "
        "without the ReLU the basis is arbitrary. Came out for the best models: monosemantic neurons with the ReLU "
        f"{dense.min():.0%} to {dense.max():.0%} at S ≤ 0.5 and {relu['own'].loc[last]:.0%} at S = {last:g}, where "
        f"{relu['kept'].loc[last]:.0f} features stand on the neurons that held {relu['kept'].loc[first]:.0f} at "
        f"S = {first:g}; "
        f"without it {linear['own'].mean():.0%} on average."
    )
    figure = Figure(
        folder / "neurons.svg",
        "Neurons by kind",
        "Best model of every sparsity. Monosemantic: nine tenths of the "
        "squared weights, or what `own_share` says, on one feature.",
    )
    return Section("superposition-neurons", "Superposition: a privileged basis", [text], [figure])


def _absolute(tables: Tables, folder: Path) -> Section:
    table, computed = tables["absolute"], tables["computed"]
    names = {"small": "neurons to spare", "large": "too few neurons"}
    toy_figures.neurons(folder / "absolute.svg", table.assign(model=table["size"].map(names)), "model")
    small = computed[computed["best"] & (computed["size"] == "small")]
    own = table[table["best"] & (table["size"] == "small")]["semantics"]
    large = computed[computed["best"] & (computed["size"] == "large")]
    both = large.assign(both=(large["positive"] >= 0.5) & (large["negative"] >= 0.5)).groupby("sparsity")["both"].sum()
    width = int(table[table["size"] == "large"]["neuron"].max()) + 1
    text = (
        "The model computes |x| rather than storing x. Expected: with two neurons per feature, one computes "
        "ReLU(x) and one "
        "ReLU(−x); with fewer neurons and sparse features it computes more absolute values than it has pairs of "
        "neurons, in "
        f"superposition. Came out: {int((own == 'monosemantic').sum())} of {len(own)} neurons of the small "
        "model have one "
        f"feature, and its outputs rise by {small['positive'].mean():.2f} and {small['negative'].mean():.2f} when a "
        f"feature goes to +1 and to −1 (1 and 1 expected). Of the large model's {width} neurons, enough for "
        f"{width // 2} "
        "features, the best model answers both signs by at least half for "
        f"{', '.join(f'{n} (S = {s:g})' for s, n in both.items())} "
        "features."
    )
    figure = Figure(folder / "absolute.svg", "Neurons of the absolute-value model", "Best model of every sparsity.")
    return Section("superposition-absolute", "Superposition: computing the absolute value", [text], [figure])
