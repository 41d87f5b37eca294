"""A privileged basis."""

from skiptrace.report.inputs import Study
from skiptrace.report.rendering.document import (
    Section,
    prose,
)
from skiptrace.report.rendering.failures import figure
from skiptrace.report.sections.superposition.toys import draw_neurons


def neurons(study: Study) -> Section:
    """Whether neurons with a ReLU stand for single features."""
    tables = study.results.superposition
    table = tables["neurons"]
    shown = table.rename(columns={"hidden": "hidden layer"})

    every = table.assign(own=lambda t: t["semantics"] == "monosemantic")
    best = every[every["best"]]
    counted = every[every["hidden"] == "relu"].groupby("sparsity")["own"].agg(["sum", "count"])
    over_seeds = ", ".join(f"{int(r['sum'])} of {r['count']} (S = {s:g})" for s, r in counted.iterrows())
    by = best.groupby(["hidden", "sparsity"]).agg(own=("own", "mean"), kept=("kept", "first"))
    relu, linear = by.loc["relu"], by.loc["linear"]
    dense = relu[relu.index <= 0.5]["own"]
    first, last = relu.index[0], relu.index[-1]
    text = prose(f"""
        A ReLU gives the hidden layer a basis, so neurons can mean something. Expected: at densities of ½ and more
        every neuron has one feature; in sparser data there are more features than neurons, and neurons become
        polysemantic; without the ReLU the basis is arbitrary. Measured: with the ReLU, over the neurons of all
        {every["seed"].nunique()} seeds, monosemantic are {over_seeds}. Of the best models alone, the more
        favourable count: with the ReLU {dense.min():.0%} to {dense.max():.0%} at S ≤ 0.5 and
        {relu["own"].loc[last]:.0%} at S = {last:g}, where {relu["kept"].loc[last]:.0f} features share the neurons
        that held {relu["kept"].loc[first]:.0f} at S = {first:g}; without it {linear["own"].mean():.0%} on average.
    """)
    drawn = figure(
        "neurons",
        "Neurons by kind",
        "Best model of every sparsity. Monosemantic: nine tenths of the squared weights, or what `own_share` says, on "
        "one feature.",
        draw_neurons,
        shown,
        "hidden layer",
    )
    return Section("superposition-neurons", "Superposition: a privileged basis", [text], [drawn])
