"""Sparse autoencoders of a language model."""

import numpy as np
import pandas as pd

from skiptrace.config.dictionaries import ModelDictionaryParams
from skiptrace.dictionary.tables import SWEEP, Kind
from skiptrace.report.inputs import Study
from skiptrace.report.intervals import share
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
    PLAIN,
    canvas,
    decades,
    grid,
)

STYLES = {Kind.TOP_K: ("-", "o"), Kind.BATCH_TOP_K: ("-.", "^"), Kind.L1: ("--", "o")}


def language(study: Study) -> Section | None:
    """What dictionaries keep of a language model's loss, by their sparsity."""
    name, result = study.name, study.dictionary
    if study.site or not isinstance(result.params, ModelDictionaryParams):
        return None
    sweep, shown = result.sweep, result.shown
    top = (result.densities["kind"] == Kind.TOP_K) & (result.densities["k"] == result.params.shown)

    rows = [
        (
            r.site,
            r.kind,
            sparsity(r.penalty, r.k),
            f"{r.l0:.1f}",
            f"{r.variance_explained:.1%}",
            f"{r.pca_explained:.1%}",
            f"{r.token_mean_explained:.1%}",
            f"{r.loss:.3f}",
            share(r.loss_recovered, r.loss_recovered_low, r.loss_recovered_high),
            f"{r.pca_recovered:.1%}",
            f"{r.token_mean_recovered:.1%}",
            f"{r.dead_fraction:.1%}",
        )
        for r in sweep.itertuples()
    ]
    by_batch = (
        ", and BatchTopK (Bussmann et al. 2024), which keeps k on average over a batch, and on held-out text what is "
        "above one floor"
        if (sweep["kind"] == Kind.BATCH_TOP_K).any()
        else ""
    )
    recovered = "; ".join(
        f"{r.site}: {share(r.loss_recovered, r.loss_recovered_low, r.loss_recovered_high)} of the loss recovered at "
        f"L0 {r.l0:.1f} ({r.token_mean_recovered:.1%} by the mean for the current token, {r.pca_recovered:.1%} by as "
        f"many principal components), {r.dead_fraction:.1%} dead"
        for r in shown.itertuples()
    )
    text = prose(f"""
        Sparse autoencoders of {result.params.entries} entries on what the heads of the last layer together write to
        the residual stream, and on the residual stream after it, in {"three" if by_batch else "two"} kinds: an L1
        penalty λ, {"" if by_batch else "and "}TopK, which keeps the k largest activations at each position{by_batch}.
        TopK at k = {result.params.shown}: {recovered}. A dictionary that
        does not beat the mean for the current token has found no more than bigrams.
    """)
    table = Table(
        "Loss recovered, with its 95 % interval clustered by document: (L_mean − L_recon)/(L_mean − L_orig), with "
        f"L_orig = {sweep['original_loss'].iloc[0]:.3f} "
        "nats and L_mean, the site replaced by its mean on training text, = "
        + ", ".join(f"{s.mean_loss:.3f} ({s.site})" for s in shown.itertuples())
        + ". PCA: from as many principal components as entries are active. Token mean: the site replaced by its "
        "training mean for the current token.",
        explained(
            (
                *words("Site", "Kind", "Sparsity"),
                *numbers("L0", "Variance explained", "PCA", "Token mean"),
                *numbers("Loss", "Loss recovered", "PCA", "Token mean", "Dead"),
            ),
            SWEEP,
            "site kind penalty l0 variance_explained pca_explained token_mean_explained loss loss_recovered "
            "pca_recovered token_mean_recovered dead_fraction",
        ),
        rows,
    )
    drawn = [
        figure(
            f"pareto_{name}",
            "Sparsity against fidelity",
            "Solid: TopK, each point a k, which is its L0. Dash-dotted: BatchTopK. Dashed: the L1 penalty, with λ "
            "beside each point. Squares: as many principal components. Dotted lines: the mean for the current token.",
            draw_pareto,
            sweep,
        ),
        figure(
            f"densities_{name}",
            "Density of the entries",
            f"TopK at k = {result.params.shown}.",
            draw_density_histogram,
            result.densities[top],
        ),
    ]
    return Section(f"dictionary-{name}", f"Dictionary {name}: sparse autoencoders", [text], [*drawn, table])


def sparsity(penalty: float, k: int) -> str:
    """How an autoencoder is made sparse, as the table and the figure name it."""
    return f"λ = {penalty:g}" if penalty else f"k = {k}"


def draw_pareto(sweep: pd.DataFrame) -> str:
    """Loss recovered and variance explained against L0, beside as many principal components and the token's mean."""
    with canvas(8.2, 4.4) as drawn:
        panels = grid(drawn, 2, 2)
        for axes, own, null in zip(
            panels, ("loss_recovered", "variance_explained"), ("recovered", "explained"), strict=True
        ):
            for (site, mine), colour in zip(sweep.groupby("site", sort=False), COLOURS, strict=False):
                for kind, (style, marker) in STYLES.items():
                    points = mine[mine["kind"] == kind]
                    if len(points):
                        label = f"{site}, {kind}"
                        axes.plot(points["l0"], points[own], marker=marker, ms=4, color=colour, ls=style, label=label)
                by_l0 = mine.sort_values("l0")
                axes.plot(
                    by_l0["l0"], by_l0[f"pca_{null}"], marker="s", ms=3, color=colour, lw=0.7, alpha=0.6,
                    label=f"{site}, L0 principal components",
                )  # fmt: skip
                level = mine[f"token_mean_{null}"].iloc[0]
                axes.axhline(level, color=colour, ls=":", lw=1, label=f"{site}, mean for the token")
                # By k there is no label, L0 is k; those of two sites stand on either side of their points.
                side, flush = ((5, -9), "left") if colour == COLOURS[0] else ((-5, 3), "right")
                for row in mine[mine["penalty"] > 0].itertuples():
                    place = (row.l0, getattr(row, own))
                    text = sparsity(row.penalty, row.k)
                    axes.annotate(text, place, side, "data", "offset points", fontsize=8, color=colour, ha=flush)
            label = own.replace("_", " ")
            axes.set(xscale="log", xlabel="L0: active entries per token", ylabel=label, ylim=(0, 1.02))
            decades(axes, 2 * sweep["l0"].max())
        panels[0].legend(fontsize=7)
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
