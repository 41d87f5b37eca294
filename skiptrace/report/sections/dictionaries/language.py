"""Sparse autoencoders of a language model."""

import numpy as np
import pandas as pd

from skiptrace.config.dictionaries import ModelDictionaryParams
from skiptrace.dictionary.tables import SWEEP
from skiptrace.report.inputs import Study
from skiptrace.report.rendering.document import (
    Section,
    Table,
    explained,
    numbers,
    words,
)
from skiptrace.report.rendering.failures import figure
from skiptrace.report.rendering.figures import (
    COLOURS,
    PLAIN,
    canvas,
    decades,
    grid,
)


def language(study: Study) -> Section | None:
    """What a dictionary keeps of a language model's loss, by its sparsity."""
    name, result = study.name, study.dictionary
    if study.site or not isinstance(result.params, ModelDictionaryParams):
        return None
    sweep, shown = result.sweep, result.shown
    densities = result.densities[result.densities["penalty"] == result.params.shown]

    rows = [
        (
            r.site,
            f"{r.penalty:g}",
            f"{r.l0:.1f}",
            f"{r.variance_explained:.1%}",
            f"{r.pca_explained:.1%}",
            f"{r.loss:.3f}",
            f"{r.loss_recovered:.1%}",
            f"{r.pca_recovered:.1%}",
            f"{r.token_mean_recovered:.1%}",
            f"{r.dead_fraction:.1%}",
        )
        for r in sweep.itertuples()
    ]
    told = "; ".join(
        f"{r.site}: L0 {r.l0:.1f}, {r.loss_recovered:.1%} of the loss recovered ({r.token_mean_recovered:.1%} by the "
        f"mean for the current token, {r.pca_recovered:.1%} by as many principal components), {r.dead_fraction:.1%} "
        "dead"
        for r in shown.itertuples()
    )
    text = (
        f"Sparse autoencoders of {result.params.entries} entries on the residual stream after the last layer and on "
        f"the outputs of its heads before W_O, concatenated. At λ = {result.params.shown:g}: {told}. A dictionary "
        "that does not beat the mean for the current token has found no more than bigrams."
    )
    table = Table(
        f"Loss recovered: (L_mean − L_recon)/(L_mean − L_orig), with L_orig = {sweep['original_loss'].iloc[0]:.3f} "
        "nats and L_mean, the site replaced by its mean on training text, = "
        + ", ".join(f"{s.mean_loss:.3f} ({s.site})" for s in shown.itertuples())
        + ". PCA: from as many principal components as entries are active. Token mean: the site replaced by its "
        "training mean for the current token.",
        explained(
            (
                *words("Site"),
                *numbers("λ", "L0", "Variance explained", "PCA", "Loss", "Loss recovered", "PCA", "Token mean", "Dead"),
            ),
            SWEEP,
            "site penalty l0 variance_explained pca_explained loss loss_recovered pca_recovered token_mean_recovered "
            "dead_fraction",
        ),
        rows,
    )
    drawn = [
        figure(
            f"pareto_{name}", "Sparsity against fidelity", "Each point is a λ, written beside it.", draw_pareto, sweep
        ),
        figure(
            f"densities_{name}",
            "Density of the entries",
            f"At λ = {result.params.shown:g}.",
            draw_density_histogram,
            densities,
        ),
    ]
    return Section(f"dictionary-{name}", f"Dictionary {name}: sparse autoencoders", [text], [*drawn, table])


def draw_pareto(sweep: pd.DataFrame) -> str:
    """Loss recovered and variance explained against L0, beside as many principal components."""
    with canvas(8.2, 3.6) as drawn:
        panels = grid(drawn, 2, 2)
        for axes, own, null, label in zip(
            panels,
            ("loss_recovered", "variance_explained"),
            ("pca_recovered", "pca_explained"),
            ("loss recovered", "variance explained"),
            strict=True,
        ):
            for (site, mine), colour in zip(sweep.groupby("site", sort=False), COLOURS, strict=False):
                axes.plot(mine["l0"], mine[own], marker="o", ms=4, color=colour, label=str(site))
                axes.plot(
                    mine["l0"],
                    mine[null],
                    marker="s",
                    ms=3,
                    color=colour,
                    ls="--",
                    lw=1,
                    label=f"{site}: L0 principal components",
                )
                if own == "loss_recovered":
                    level = mine["token_mean_recovered"].iloc[0]
                    axes.axhline(level, color=colour, ls=":", lw=1, label=f"{site}: mean for the token")
                for row in mine.itertuples():
                    axes.annotate(
                        f"{row.penalty:g}",
                        (row.l0, getattr(row, own)),
                        (3, -11),
                        "data",
                        "offset points",
                        fontsize=7,
                        color=colour,
                    )
            axes.set(xscale="log", xlabel="L0: active entries per token", ylabel=label, ylim=(0, 1.02))
            decades(axes, 2 * sweep["l0"].max())
        panels[0].legend(fontsize=8)
    return drawn.svg


def draw_density_histogram(densities: pd.DataFrame) -> str:
    """How often entries are active, on a logarithmic scale."""
    sites = list(densities.groupby("site", sort=False))
    lowest = max(1e-6, densities.loc[densities["density"] > 0, "density"].min())
    bins = np.geomspace(lowest, 1, 31).tolist()
    with canvas(8.2, 3.2) as drawn:
        panels = grid(drawn, len(sites), len(sites), shared=True)
        for axes, (site, mine) in zip(panels, sites, strict=True):
            axes.hist(mine["density"].clip(lower=lowest), bins=bins, color=COLOURS[0])
            dead = int((mine["density"] == 0).sum())
            axes.set(
                xscale="log", title=f"{site} ({dead} dead)", xlabel="density: share of tokens that activate the entry"
            )
            axes.xaxis.set_major_formatter(PLAIN)
        panels[0].set_ylabel("entries")
    return drawn.svg
