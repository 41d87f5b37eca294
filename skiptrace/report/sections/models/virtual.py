"""Virtual heads."""

import pandas as pd

from skiptrace.composition.tables import VIRTUAL_HEADS
from skiptrace.mining.tables import K_COMPOSITION, VIRTUAL_OV
from skiptrace.report.inputs import ModelResult, Study
from skiptrace.report.rendering.document import (
    Failed,
    Figure,
    Section,
    Table,
    Tokens,
    explained,
    numbers,
    prose,
    words,
)
from skiptrace.report.rendering.failures import figure
from skiptrace.report.rendering.figures import (
    SEQUENTIAL,
    canvas,
)
from skiptrace.report.rendering.tokens import visible

SIDE = 16  # tokens of a text whose patterns are drawn, the last ones: more would leave no room to read them


def virtual(study: Study) -> Section | None:
    """What virtual heads copy, what they are worth, and what later heads look for through earlier ones."""
    name, model, settings = study.name, study.model, study.settings
    if model.params.n_layers < 2 or model.composed.virtual_heads.empty:
        return None
    texts = study.corpus.vocabulary["token"]
    composed = model.composed
    terms = composed.terms.set_index("name")
    copies = composed.virtual_heads[composed.virtual_heads["copies"]]
    text = prose(f"""
        Two heads in sequence act as one, a virtual head, whose pattern and OV circuit are products of theirs. Of the
        {len(composed.virtual_heads)} strongest, {len(copies)} have the eigenvalues of copying
        ({settings.scoring.null_sd:g} standard deviations above random heads); of all tokens, at most
        {composed.virtual_heads["own_top1"].max():.1%} are first in their own row. Their K-composition circuits say
        instead what the later head looks for through the earlier one: an induction head looks for its own token, so
        its diagonal is largest.
    """)
    one = composed.virtual_heads.iloc[0]
    rows = []
    for r in composed.virtual_heads.itertuples():
        loss = terms.loc[r.name] if r.name in terms.index else None
        rows.append(
            (
                r.name,
                f"{r.copying:+.2f}",
                "yes" if r.copies else "no",
                f"{r.own_top1:.1%}",
                f"{r.own_top5:.1%}",
                "n/a" if loss is None else f"{loss['removed']:+.4f} ± {loss['removed_se']:.4f}",
                f"{r.k_eigenvalues:+.2f}",
                f"{r.k_own_top1:.1%}",
            )
        )
    scored = Table(
        prose(f"""
            Virtual heads, the largest ‖W_OV^h₁ W_OV^h₂‖ first. Copying: Σλ/Σ|λ|, for random heads
            {one["copying_null_mean"]:z.2f} ± {one["copying_null_sd"]:.2f}; own top: how often a token is among the
            first in its own row of the OV circuit; loss: what the model loses without this path, in nats per token. Of
            the K-composition circuit: Σλ/Σ|λ|, for random heads {one["k_null_mean"]:z.2f} ± {one["k_null_sd"]:.2f}, and
            how often a token's own column is the largest of its row (chance {one["chance_top1"]:.2%}).
        """),
        explained(
            (
                *words("Virtual head"),
                *numbers("Copying"),
                *words("Copies"),
                *numbers("Own top 1", "Own top 5", "Loss", "K: Σλ/Σ|λ|", "K: own top 1"),
            ),
            VIRTUAL_HEADS,
            "name copying copies own_top1 own_top5 - k_eigenvalues k_own_top1",
        ),
        rows,
    )
    count = settings.report.sources_per_head
    said = Table(
        "What virtual heads do: the sources they act on most, and the output tokens that these raise. Score: OV, "
        f"centred, times p(source)^{settings.mining.frequency_power:g}.",
        explained(
            (*words("Virtual head", "Source", "Output"), *numbers("OV", "Score")),
            VIRTUAL_OV,
            "name source out ov score",
        ),
        [
            (r.name, Tokens((r.source,)), Tokens((r.out,)), f"{r.ov:.2f}", f"{r.score:.2f}")
            for r in model.virtual_ov.drop_duplicates(["name", "source_id"]).head(count).itertuples(index=False)
        ],
    )
    wanted = Table(
        "What later heads look for through earlier ones: the largest entries of the K-composition circuits. A "
        "destination that looks for itself is the first half of induction.",
        explained(
            (*words("Heads", "Destination", "Looks for"), *numbers("QK", "Score")),
            K_COMPOSITION,
            "name destination source qk score",
        ),
        [
            (r.name, Tokens((r.destination,)), Tokens((r.source,)), f"{r.qk:.2f}", f"{r.score:.2f}")
            for r in model.k_composition.drop_duplicates(["name", "destination_id"]).head(count).itertuples(index=False)
        ],
    )
    return Section(
        f"{name}-virtual",
        f"{name}: virtual heads",
        [text],
        [scored, *_patterns(name, model, texts), wanted, said],
    )


def _patterns(name: str, model: ModelResult, texts: pd.Series) -> list[Figure | Failed]:
    """The patterns of two pairs of heads, if they contribute to any prediction that is right."""
    table = model.composed.patterns
    if table.empty:
        return []

    shown = table.drop_duplicates("name")
    reasons = "; ".join(f"{pair}, {why}" for pair, why in zip(shown["name"], shown["why"], strict=True))
    drawn = figure(
        f"patterns_{name}",
        "Patterns of pairs of heads",
        prose(f"""
            The last {SIDE} tokens of held-out text ({reasons}): the earlier head, the later head, and their product,
            which says where the two together move information from. Where a later head attends to what follows an
            earlier occurrence and the earlier head to the token before, their product falls on the earlier occurrence
            itself.
        """),
        draw_patterns,
        table,
        texts,
    )
    return [drawn]


def _last(patterns: pd.DataFrame, side: int) -> pd.DataFrame:
    """The entries of a pattern among its last `side` tokens."""
    first = patterns["destination"].max() - side
    return patterns[(patterns["destination"] > first) & (patterns["source"] > first)]


def draw_patterns(table: pd.DataFrame, texts: pd.Series) -> str:
    """Patterns of pairs of heads on text: the earlier head, the later one, and their product."""
    shown = list(table.groupby(["why", "name"], sort=False))
    shown = [(key, _last(group, SIDE)) for key, group in shown]
    side = max(len(group["destination"].unique()) for _, group in shown)
    height = 0.17 * side + 1.1
    with canvas(3 * (0.17 * side + 0.5) + 1.2, height * len(shown)) as drawn:
        rows = drawn.subplots(len(shown), 3, squeeze=False)
        for axes_row, ((_, name), group) in zip(rows, shown, strict=True):
            first, then = name.split(" → ")
            titles = {"first": f"A of {first}", "then": f"A of {then}", "virtual": f"A of {name}"}
            for axes, (column, title) in zip(axes_row, titles.items(), strict=True):
                wide = group.pivot(index="destination", columns="source", values=column)
                image = axes.imshow(wide.to_numpy(), cmap=SEQUENTIAL, vmin=0, vmax=1, interpolation="nearest")
                ids = group.drop_duplicates("source").sort_values("source")["source_id"]
                labels = [visible(texts.iloc[i], 8) for i in ids]
                axes.set_xticks(range(len(labels)), labels, rotation=90, fontsize=7.5, family="monospace")
                axes.set_yticks(range(len(labels)), labels, fontsize=7.5, family="monospace")
                axes.tick_params(length=0)
                axes.set_title(title, fontsize=9)
                if column == "first":
                    axes.set_ylabel("destination", fontsize=9)
                axes.set_xlabel("source", fontsize=9)
        drawn.colorbar(image, ax=drawn.axes, label="attention", shrink=0.5)
    return drawn.svg
