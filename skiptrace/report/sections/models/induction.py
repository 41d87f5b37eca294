"""Induction heads."""

import numpy as np
import pandas as pd
from jaxtyping import Float

from skiptrace.circuits.scores import span_length
from skiptrace.composition.tables import INDUCTION
from skiptrace.report.inputs import Study
from skiptrace.report.metrics import late_against_early
from skiptrace.report.rendering.document import (
    Block,
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
    GREY,
    canvas,
    heads_grid,
    matrix,
    symmetric,
)
from skiptrace.report.targets import best_head


def induction(study: Study) -> Section | None:
    """Induction scores, eigenvalues, and the effect of ablating earlier heads."""
    if study.model.params.n_layers < 2:
        return None
    name, model, settings = study.name, study.model, study.settings
    composed, params = model.composed, settings.scoring
    table = composed.induction
    cornered = table.loc[table["in_corner"], "name"]
    later = table.loc[table["layer"] > 0, "name"]
    best = table.set_index("name", drop=False).loc[best_head(model.heads, "prefix_matching", later)["name"]]
    cuts = composed.knockouts[composed.knockouts["to"] == best["name"]].set_index(["via", "from"])
    worst = cuts.loc["all", "change"].idxmin()
    cut, keys = cuts.loc[("all", worst)], cuts.loc[("keys", worst)]
    text = prose(f"""
        An induction head attends to what followed earlier occurrences of the current token, and copies it. The best
        candidate, {best["name"]}, gives {best["prefix_matching"]:.2f} of its attention there on random repeated
        tokens (uniform attention: {best["prefix_matching_uniform"]:.2f}). The earlier head that it depends on most
        is {worst}: with that head ablated, this is {cut["without"]:.2f} (a change of {cut["change"]:+.2f} ±
        {cut["change_se"]:.2f}), and {keys["without"]:.2f} when its output is removed from later keys alone. In the
        corner where both eigenvalue scores are {params.null_sd:g} standard deviations above random heads:
        {", ".join(cornered) or "no head"}. The loss is {late_against_early(model, 3)}.
    """)
    rows = [
        (
            r.name,
            f"{r.prefix_matching:.2f} ± {r.prefix_matching_se:.2f}",
            f"{r.prefix_matching_text:.2f} ± {r.prefix_matching_text_se:.2f}",
            f"{r.copying_share:.2f}",
            f"{r.previous_token:.2f}",
            f"{r.copying:+.2f}",
            f"{r.k_eigenvalues:+.2f} via {r.earlier}" if pd.notna(r.k_eigenvalues) else "n/a",
            f"{r.k_own_top1:.1%}" if pd.notna(r.k_own_top1) else "n/a",
            "yes" if r.in_corner else "no",
        )
        for r in table.itertuples(index=False)
    ]
    one = table.iloc[0]
    scored = Table(
        prose(f"""
            Prefix matching: attention to what followed earlier occurrences, on {params.sequences} sequences of
            {span_length(model.params.n_ctx, params.repeated_tokens, params.repeats)} random tokens, or spans of
            held-out text, repeated {params.repeats} times after the start token, ± standard error; uniform attention
            gives {one["prefix_matching_uniform"]:.2f}. The start token is left out as destination and as match. Copying
            share: the share of a position's contribution to the logits of the sequence's tokens that goes to its own
            token, by chance {one["copying_share_chance"]:.2f}. Previous token: mean attention to it on held-out text
            (uniform attention: {one["previous_token_uniform"]:.2f}). Eigenvalues: Σλ/Σ|λ| of the OV circuit and of the
            K-composition circuit through the earlier head that feeds its keys most; heads of the first layer have none.
        """),
        explained(
            (
                *words("Head"),
                *numbers("Random tokens", "Repeated text", "Copying share", "Previous token", "OV eigenvalues"),
                *numbers("K eigenvalues", "K: own top 1"),
                *words("In the corner"),
            ),
            INDUCTION,
            "name prefix_matching prefix_matching_text copying_share previous_token copying k_eigenvalues k_own_top1 "
            "in_corner",
        ),
        rows,
    )

    blocks: list[Block] = [
        scored,
        figure(
            f"corner_{name}",
            "The corner of induction heads",
            "Later heads by the eigenvalues of their two circuits, areas growing with prefix matching; the grey bands "
            "are random heads. Induction heads sit in the upper right corner.",
            draw_corner,
            table,
            params.null_sd,
        ),
        figure(
            f"knockouts_{name}",
            "Ablating earlier heads",
            "Change of prefix matching of later heads when one earlier head's output is removed from everything that "
            "follows, from their queries, or from their keys. A previous-token head that feeds induction acts "
            "through the keys.",
            draw_knockouts,
            composed.knockouts,
        ),
    ]
    return Section(f"{name}-induction", f"{name}: induction heads", [text], blocks)


def draw_corner(table: pd.DataFrame, null_sd: float) -> str:
    """Eigenvalue score of the OV circuit against that of the K-composition circuit, chance in grey."""
    later = table[table["k_eigenvalues"].notna()]
    with canvas(6.6, 4.6) as drawn:
        axes = drawn.subplots()
        one = later.iloc[0]
        for span, null in ((axes.axvspan, "copying_null"), (axes.axhspan, "k_null")):
            mean, sd = one[f"{null}_mean"], one[f"{null}_sd"]
            span(mean - null_sd * sd, mean + null_sd * sd, color=GREY, alpha=0.22, lw=0)
        size = 30 + 500 * later["prefix_matching"]
        colours = np.where(later["in_corner"], COLOURS[0], COLOURS[1]).tolist()
        axes.scatter(later["copying"], later["k_eigenvalues"], s=size, c=colours, alpha=0.85, lw=0)
        # Labels stand in a column on the right, one below the other, each led to its point.
        heads = later.sort_values("k_eigenvalues", ascending=False)
        places = _apart(heads["k_eigenvalues"].to_numpy(), 0.13)
        for row, at in zip(heads.itertuples(), places, strict=True):
            axes.annotate(
                f"{row.name} via {row.earlier}", (float(row.copying), float(row.k_eigenvalues)), (1.2, at), fontsize=8,
                va="center", annotation_clip=False, arrowprops={"arrowstyle": "-", "color": GREY, "lw": 0.6},
            )  # fmt: skip
        axes.set(
            xlim=(-1.08, 1.12), ylim=(-1.08, 1.12), xlabel="Σλ/Σ|λ| of the OV circuit (copying)",
            ylabel="Σλ/Σ|λ| of the K-composition circuit",
        )  # fmt: skip
    return drawn.svg


def _apart(heights: Float[np.ndarray, " n"], gap: float) -> list[float]:
    """Descending heights, moved down where one is nearer than `gap` to the one before it."""
    placed: list[float] = []
    for height in heights.tolist():
        placed.append(min(height, placed[-1] - gap) if placed else height)
    return placed


def draw_knockouts(table: pd.DataFrame) -> str:
    """Change of prefix matching of later heads when an earlier one is removed everywhere, from queries or from keys."""
    titles = {"all": "removed everywhere", "queries": "removed from queries", "keys": "removed from keys"}
    limits = symmetric(table["change"])
    shape = heads_grid(table[table["via"] == "all"], "change").shape
    with canvas(1.6 + 3 * (0.42 * shape[1] + 0.6), 1.4 + 0.36 * shape[0]) as drawn:
        for axes, (via, title) in zip(drawn.subplots(1, 3, sharey=True), titles.items(), strict=True):
            values = heads_grid(table[table["via"] == via], "change")
            image = matrix(axes, values, limits, DIVERGING, 2 if shape[1] <= 8 else None)
            axes.set(title=title, xlabel="later head")
            if via == "all":
                axes.set_ylabel("earlier head ablated")
        drawn.colorbar(image, ax=drawn.axes, label="change in attention", shrink=0.9)
    return drawn.svg
