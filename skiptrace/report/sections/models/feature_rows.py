"""Skip-trigrams of features: what they recover of attention beside those of tokens, and the rows that save most."""

import math

import pandas as pd

from skiptrace.features.tables import LEARNED, MINED, RANDOM, ROUNDS, ROWS, RUNGS, TOKENS
from skiptrace.report.excerpts import of_row
from skiptrace.report.inputs import Featured, Study
from skiptrace.report.rendering.document import (
    Block,
    Cell,
    Examples,
    Section,
    Table,
    Tokens,
    explained,
    numbers,
    prose,
    words,
)
from skiptrace.report.rendering.failures import figure
from skiptrace.report.rendering.figures import COLOURS, GREY, PLAIN, canvas

SHOWN = 16  # rows of the table
NAMED = 4  # tokens that a feature is named by
PLACE = ("before", "source", "between", "destination", "after")  # columns that a text is written in
BASES = {
    LEARNED: ("features", COLOURS[0], "o", "-"),
    TOKENS: ("tokens", COLOURS[1], "s", "-"),
    RANDOM: ("random features", GREY, "^", "--"),
}


def feature_rows(study: Study) -> Section | None:
    """How much of attention the entries between features recover, and skip-trigrams of features with their edges."""
    found = study.model.featured
    if found is None:
        return None
    name = study.name
    blocks: list[Block] = [
        figure(
            f"features_{name}",
            "Features beside tokens",
            "Share of what the interactions of tokens add to the additive model that is recovered when so many entries "
            "of QK and as many of OV are kept, on held-out text; bands are two standard errors. Dotted lines: every "
            "entry kept, which features cannot exceed. All are ranked on the same contexts of training "
            "text, fewer than in the account of attention. Diamond: the entries that the first mined rows use.",
            draw_curve,
            found,
        ),
        _rungs(found),
        _rows(found),
    ]
    return Section(f"{name}-feature-rows", f"{name}: skip-trigrams of features", _said(study, found), blocks)


def _said(study: Study, found: Featured) -> list[str]:
    features, rungs = found.features, found.rungs.set_index(["basis", "rung"])
    whole, drawn = (rungs.loc[(basis, "every entry")] for basis in (LEARNED, RANDOM))
    explained_by = features["token_explained"].median()
    site = (
        """
        The stream that the heads of a first layer read here is W_E of the current token and nothing else, since
        positions are added to queries and keys alone: a feature is a class of tokens by construction, which the
        current token explains whole, and there can be none of positions.
        """
        if study.model.params.n_layers == 1
        else f"""
        The token explains {explained_by:.0%} of a feature on held-out text, the position
        {features["position_explained"].median():.0%} (medians over features): the rest comes from what earlier layers
        wrote.
        """
    )
    return [
        prose(f"""
            A TopK autoencoder takes what the heads of the last layer read apart into {len(features)} features, of which
            {whole["l0"]:.1f} are active at a token and {whole["variance_explained"]:.0%} of the variance is
            reconstructed. {site} Where a feature is most active, the median feature has
            {features["distinct"].median():.0f} distinct tokens. QK and OV between features are as thin as between
            tokens. The output is a token, since logits are linear in what heads write: features at that end too would
            put a second reconstruction between an entry and the loss.
        """),
        prose(f"""
            With every entry between features kept, {whole["recovered"]:.1%} ± {whole["recovered_se"]:.1%} of what the
            interactions of tokens add is recovered: the rest is lost by reconstruction, before any entry is left out.
            Random directions of the same norms, as many of them active and with the best decoder for them:
            {drawn["recovered"]:.1%}. {_compared(found.curve)}
        """),
        _used(found.rows),
    ]


def _compared(curve: pd.DataFrame) -> str:
    """Features beside tokens and random features at the same numbers of entries, and of mined rows."""
    rounds = curve[curve["order"] == ROUNDS].set_index(["basis", "entries"])
    counts = sorted(rounds.loc[LEARNED].index)
    parts = []
    for n in (counts[0], counts[-1]):
        told = [f"with {n:,} entries of QK and of OV features recover {rounds.loc[(LEARNED, n), 'recovered']:.1%}"]
        for basis, label in ((TOKENS, "tokens"), (RANDOM, "random features")):
            if (basis, n) in rounds.index:
                beside = rounds.loc[(basis, n)]
                difference = f"{100 * beside['ahead']:+.1f} ± {100 * beside['ahead_se']:.1f} points for features"
                told.append(f"{label} {beside['recovered']:.1%} ({difference})")
        parts.append(", ".join(told))
    mined = curve[(curve["basis"] == LEARNED) & (curve["order"] == MINED)].sort_values("entries")
    rows = ", ".join(f"{r.entries:,} mined rows {r.recovered:.1%} ± {r.recovered_se:.1%}" for r in mined.itertuples())
    verdict = _verdict(rounds, counts)
    said = f"Ranked and measured on the same contexts, {'; '.join(parts)}.{verdict}"
    return said + (f" The entries of {rows}." if rows else "")


def _verdict(rounds: pd.DataFrame, counts: list[int]) -> str:
    """At how many counts features recover more than tokens, or less, by more than twice the error."""
    if TOKENS not in rounds.index.get_level_values("basis"):
        return ""
    ahead = rounds.loc[TOKENS]
    more, less = (int((side * ahead["ahead"] > 2 * ahead["ahead_se"]).sum()) for side in (1, -1))
    if not more and not less:
        return " At no count do they differ from tokens by twice the error: features say as much, not more."
    said = f" By twice the error features recover more than tokens at {more} of {len(counts)} counts and less at {less}"
    return said + ("." if more + less == len(counts) else "; at the others they do not differ.")


def _used(rows: pd.DataFrame) -> str:
    """How many edges are used on held-out text, beside matched random rows."""
    edges = rows.drop_duplicates(["kind", "head", "source_feature", "destination_feature"])
    told = []
    for kind, label in (("mined", "the mined rows"), ("random", "as many random rows of as frequent features")):
        mine = edges[edges["kind"] == kind]
        counts = mine["use"].value_counts()
        told.append(
            f"of {label}' {len(mine)} edges {counts.get('used', 0) / max(1, len(mine)):.0%} are used and "
            f"{counts.get('harmful', 0) / max(1, len(mine)):.0%} harmful, with a mean rise of the loss of "
            f"{mine['used_nats'].mean():+.4f} nats"
        )
    return prose(f"""
        Rows are mined by the rules of tokens, ordered by what they save on training text, and their edges cut on
        held-out text where both features are active above their medians: {"; ".join(told)}.
    """)


def _rungs(found: Featured) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (
            r.basis,
            r.rung,
            f"{r.loss:.3f} ± {r.loss_se:.3f}",
            f"{r.recovered:.1%} ± {r.recovered_se:.1%}",
            f"{r.l0:.1f}",
            f"{r.variance_explained:.1%}",
        )
        for r in found.rungs.itertuples()
        if r.basis == LEARNED or r.rung not in ("additive", "whole model")
    ]
    return Table(
        "The loss on held-out text, ± standard error over contexts, with features in the place of what the heads of "
        "the last layer read. Additive: tokens do not interact; every entry: they interact by their features alone; "
        "heads read x̂: additive parts as well.",
        explained(
            (*words("Features", "What heads read"), *numbers("Loss (nats)", "Recovered", "L0", "Variance explained")),
            RUNGS,
            "basis rung loss recovered l0 variance_explained",
        ),
        rows,
    )


def _rows(found: Featured) -> Table:
    tokens = found.features.set_index("feature")["tokens"]
    mined = found.rows[found.rows["kind"] == "mined"]
    kept = mined.drop_duplicates(["head", "source_feature", "destination_feature"]).head(SHOWN)
    rows: list[tuple[Cell, ...]] = [
        (
            f"L{r.layer}H{r.head}",
            Tokens(tuple(tokens[r.source_feature][:NAMED])),
            Tokens(tuple(tokens[r.destination_feature][:NAMED])),
            Tokens((r.out,)),
            f"{r.nats:.2f} ± {r.nats_se:.2f}",
            f"{r.used_nats:+.4f} ± {r.used_se:.4f}" if math.isfinite(r.used_se) else "–",
            r.use,
            Examples((of_row(r._asdict(), PLACE),)) if r.destination else "–",
        )
        for r in kept.itertuples()
    ]
    return Table(
        "Skip-trigrams of features: those that save most on training text, in that order, the first of each edge. A "
        "feature is named by the tokens that most of its activation stands on. Saves: on held-out text, nats per 1,000 "
        "tokens, ± standard error over contexts. Edge cut: rise of the loss where both are active, ± standard error "
        "clustered by document. The text is the place where the edge saves most.",
        explained(
            (
                *words("Head", "Source feature", "Destination feature", "Output"),
                *numbers("Saves", "Edge cut"),
                *words("On text", "Where it saves most"),
            ),
            ROWS,
            "head source_feature destination_feature out nats used_nats use -",
        ),
        rows,
    )


def draw_curve(found: Featured) -> str:
    """The share recovered against the number of entries, by basis."""
    curve, every = found.curve, found.rungs[found.rungs["rung"] == "every entry"].set_index("basis")["recovered"]
    with canvas(7.2, 3.8) as drawn:
        axes = drawn.subplots()
        for basis, (label, colour, marker, style) in BASES.items():
            points = curve[(curve["basis"] == basis) & (curve["order"] == ROUNDS)]
            if points.empty:
                continue
            low, high = (points["recovered"] + side * 2 * points["recovered_se"] for side in (-1, 1))
            axes.plot(points["entries"], points["recovered"], style, marker=marker, ms=4, color=colour, label=label)
            axes.fill_between(points["entries"], low, high, color=colour, alpha=0.15, lw=0)
            if basis in every.index:
                axes.axhline(every[basis], color=colour, lw=1, ls=":")
        mined = curve[curve["order"] == MINED]
        axes.plot(mined["entries"], mined["recovered"], "D", ms=6, mfc="white", mec="black", ls="", label="mined rows")
        axes.axhline(0, color=GREY, lw=0.8)
        axes.set(xscale="log", xlabel="entries kept of each circuit", ylabel="share recovered")
        axes.xaxis.set_major_formatter(PLAIN)
        axes.legend(fontsize=8, loc="center left")
    return drawn.svg
