"""Whether families of token pairs differ by one direction."""

import pandas as pd

from skiptrace.composition.tables import DIRECTIONS
from skiptrace.report.inputs import Study
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
    GREY,
    LABEL,
    canvas,
    grid,
)
from skiptrace.report.rendering.tokens import visible

PLANE_PAIRS = 8  # pairs of each family that are drawn


def features(study: Study) -> Section | None:
    """Whether families of token pairs differ by one direction."""
    name, model, settings = study.name, study.model, study.settings
    texts = study.corpus.vocabulary["token"]
    table = model.composed.directions
    known = table[table["cosine"].notna()]
    if known.empty:  # as in planted text, which has no words with capitals or plurals
        return None
    text = prose(f"""
        If features are directions, tokens that differ in one respect differ by one vector: differences within a
        family point the same way, and a + (b′ − a′) leads to b.
        {int((known["z"] >= settings.scoring.null_sd).sum())} of {len(known)} families and matrices have differences
        more alike than first and second tokens of different pairs, by {settings.scoring.null_sd:g} standard
        deviations; in {int((known["accuracy"] > known["accuracy_nearest"]).sum())} the parallelogram finds b more
        often than the nearest neighbour of a is b. {_verdict(known, settings.scoring.null_sd)}
    """)
    rows = [
        (
            r.family,
            r.matrix,
            str(r.pairs),
            *(
                (
                    f"{r.cosine:+.3f}",
                    f"{r.null_mean:+.3f} ± {r.null_sd:.3f}",
                    f"{r.z:+.1f}" if pd.notna(r.z) else "n/a",
                    f"{r.accuracy:.1%}",
                    f"{r.accuracy_nearest:.1%}",
                )
                if pd.notna(r.cosine)
                else ("n/a",) * 5
            ),
        )
        for r in table.itertuples(index=False)
    ]
    families = Table(
        prose("""
            Families of token pairs. Cosine: mean between the differences of two pairs. Apart: the same for mismatched
            pairs, with first tokens from one random half of the pairs and second tokens from the other. Parallelogram:
            how often b is the token nearest to a + (b′ − a′), over all choices of two pairs; nearest to a: without any
            difference. Families of fewer than four pairs are not scored.
        """),
        explained(
            (
                *words("Family", "Matrix"),
                *numbers("Pairs", "Cosine", "Apart", "z", "Parallelogram", "Nearest to a"),
            ),
            DIRECTIONS,
            "family matrix pairs cosine null_mean z accuracy accuracy_nearest",
        ),
        rows,
    )
    blocks: list[Block] = [families]
    if len(model.composed.plane):
        blocks.append(
            figure(
                f"plane_{name}",
                "Pairs in the plane",
                prose(f"""
                    The {PLANE_PAIRS} most frequent pairs of each family in the plane of the first two principal
                    components of W_E over the family. Arrows would be parallel if the family differed by one direction;
                    each title gives the mean cosine of two differences in the whole space, and beside it that of
                    mismatched pairs.
                """),
                draw_plane,
                model.composed.plane,
                table[table["matrix"] == "W_E"].set_index("family"),
                texts,
                PLANE_PAIRS,
            )
        )
    return Section(f"{name}-features", f"{name}: features as directions", [text], blocks)


def _verdict(known: pd.DataFrame, null_sd: float) -> str:
    """Of which families both tests say that they differ by one direction, and of which nothing is shown.

    The parallelogram has to beat the nearest neighbour by two standard errors, over pairs.
    """
    ours, nearest = known["accuracy"], known["accuracy_nearest"]
    error = ((ours * (1 - ours) + nearest * (1 - nearest)) / known["pairs"]) ** 0.5
    both = (known["z"] >= null_sd) & (ours - nearest > 2 * error)
    shown, rest = (
        ", ".join(f"{r.family} ({r.matrix})" for r in known[kept].itertuples(index=False)) for kept in (both, ~both)
    )
    if not shown:
        return "Both tests together, by more than two standard errors over pairs, show one direction for none of them."
    return (
        f"One direction is shown, by both tests and more than two standard errors over pairs, for {shown}. "
        + (f"It is not shown for {rest}." if rest else "")
    ).rstrip()


def draw_plane(table: pd.DataFrame, measured: pd.DataFrame, texts: pd.Series, pairs: int) -> str:
    """Pairs of tokens in the plane of their two principal components, an arrow for each difference.

    `measured`: by family, how alike the differences are in the whole space.
    """
    families = list(dict.fromkeys(table["family"]))
    with canvas(8.0, 3.7 * -(-len(families) // 2)) as drawn:
        for axes, family in zip(grid(drawn, len(families), 2), families, strict=True):
            mine = table[(table["family"] == family) & (table["pair"] < pairs)]
            alike = measured.loc[family, ["cosine", "null_mean"]]
            title = family if alike.isna().any() else "{}: {:+.2f}, mismatched {:+.2f}".format(family, *alike)
            for _, pair in mine.groupby("pair"):
                a, b = (pair[pair["side"] == side].iloc[0] for side in (0, 1))
                axes.annotate("", (b["x"], b["y"]), (a["x"], a["y"]), arrowprops={
                    "arrowstyle": "-|>", "color": GREY, "lw": 0.8, "shrinkA": 3, "shrinkB": 3})  # fmt: skip
                for token, colour in ((a, COLOURS[0]), (b, COLOURS[1])):
                    axes.plot(token["x"], token["y"], "o", ms=4, color=colour)
                    axes.annotate(visible(texts.iloc[int(token["token_id"])], LABEL), (token["x"], token["y"]), (3, 3),
                                  "data", "offset points", fontsize=6.5, color=colour, family="monospace")  # fmt: skip
            axes.set(title=title, xlabel="first principal component", ylabel="second")
    return drawn.svg
