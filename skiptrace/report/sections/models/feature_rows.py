"""Skip-trigrams of features: what they recover of attention beside those of tokens, and the rows that save most."""

import math

import pandas as pd

from skiptrace.account.orders import most_ranked
from skiptrace.features.tables import (
    DRAWN,
    KINDS,
    LEARNED,
    MINED,
    RANDOM,
    ROUNDS,
    ROWS,
    RUNGS,
    SELECTED,
    TOKENS,
)
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
ONE_SEED = (
    " Errors are over held-out contexts, of one dictionary and one draw of the text that ranks: between seeds the "
    "difference varies by more (docs/guide.md)."
)
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
            "entry kept, which features cannot exceed. All are chosen in the same way on the same contexts of "
            "training text, fewer than in the account of attention. Diamonds: the entries that the first mined rows, "
            "and all, use; grey between random features.",
            draw_curve,
            found,
        ),
        _rungs(found),
        *([_kinds(found.kinds)] if len(found.kinds) else []),
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
        The token explains {explained_by:.0%} of the median feature on held-out text, but less than half of
        {(features["token_explained"] < 0.5).mean():.0%} of the features, and the position
        {max(0.0, features["position_explained"].median()):.0%}: the rest comes from what earlier layers wrote.
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
            Random directions of the same norms, each active as often as a feature and with the best decoder for them:
            {drawn["recovered"]:.1%}. {_compared(found.curve)}
        """),
        *([_unequal(study)] if TOKENS in set(found.curve["basis"]) else []),
        *([_selected(found.kinds)] if len(found.kinds) else []),
    ]


def _unequal(study: Study) -> str:
    """In what the comparison of features with tokens is not one of equals."""
    ranked = min(study.model.d_vocab, most_ranked(study.model.params.n_heads))
    among = (
        f"; entries of tokens are chosen among the {ranked:,} most frequent, those of features with all "
        f"{study.model.d_vocab:,} output tokens"
        if ranked < study.model.d_vocab
        else ""
    )
    return prose(f"""
        Features and tokens have the same additive parts, the same number of entries and the same way to choose them,
        on the same draws of training text. What is left unequal: features were learned on further training text, and
        their directions are counted with no entry; an entry between features acts at every token at which they are
        active, in proportion to how active they are, one between tokens at two tokens alone; and features cannot say
        more than they reconstruct{among}.
    """)


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
    mined = curve[curve["order"] == MINED].sort_values(["basis", "entries"])
    rows = ", ".join(
        f"{r.entries:,} rows mined between {r.basis} {r.recovered:.1%} ± {r.recovered_se:.1%}"
        for r in mined.itertuples()
    )
    verdict = _verdict(rounds, counts)
    said = f"Chosen in the same way and measured on the same contexts, {'; '.join(parts)}.{verdict}"
    return said + (f" Kept are also the entries of mined rows: {rows}." if rows else "")


def _verdict(rounds: pd.DataFrame, counts: list[int]) -> str:
    """At how many counts features recover more than tokens, or less, by more than twice the error."""
    if TOKENS not in rounds.index.get_level_values("basis"):
        return ""
    ahead = rounds.loc[TOKENS]
    more, less = (int((side * ahead["ahead"] > 2 * ahead["ahead_se"]).sum()) for side in (1, -1))
    if not more and not less:
        return " At no count do they differ from tokens by twice the error: features say as much, not more." + ONE_SEED
    said = f" By twice the error features recover more than tokens at {more} of {len(counts)} counts and less at {less}"
    return said + ("." if more + less == len(counts) else "; at the others they do not differ.") + ONE_SEED


def _selected(kinds: pd.DataFrame) -> str:
    """What selected rows of features save, beside rows of random features that are selected in the same way."""
    known = kinds.set_index("kind")
    own, like, drawn = (known.loc[kind] if kind in known.index else None for kind in (*SELECTED.values(), DRAWN))
    if own is None or like is None or drawn is None:
        return "Rows of one kind alone were found, so that there is nothing to compare."
    # One standard error decides nothing; two are about a 95 % interval.
    clear = abs(like["ahead"]) > 2 * like["ahead_se"]
    verdict = (
        f"which is {'more' if like['ahead'] > 0 else 'less'} by twice the error"
        if clear
        else "which is no difference: selection among any directions does as much"
    )
    return prose(f"""
        Rows are mined by the rules of tokens and ordered by what each alone saves on training text, taken from the
        model as it is. One of the first
        {int(own["rows"])} saves {own["nats"]:.3f} ± {own["nats_se"]:.3f} nats per 1,000 tokens of held-out text
        ({own["chosen_nats"]:.3f} on the text that chose it). Rows that the same rules find between random features, as
        often active, and that are chosen in the same way save {like["nats"]:.3f} ± {like["nats_se"]:.3f} (a mined row
        {like["ahead"]:+.3f} ± {like["ahead_se"]:.3f}, {verdict}); rows that nothing was selected for
        {drawn["nats"]:.3f} ± {drawn["nats_se"]:.3f}. Where their edges are cut on held-out text, with both features
        active above their medians, {own["used"]:.1%} of the mined are used and {own["harmful"]:.1%} harmful, of the
        mined of random features {like["used"]:.1%} and {like["harmful"]:.1%}, of random rows {drawn["used"]:.1%} and
        {drawn["harmful"]:.1%}.
    """)


def _kinds(kinds: pd.DataFrame) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (
            r.kind,
            str(r.rows),
            f"{r.chosen_nats:.3f}" if math.isfinite(r.chosen_nats) else "–",
            f"{r.nats:.3f} ± {r.nats_se:.3f}",
            f"{r.ahead:+.3f} ± {r.ahead_se:.3f}" if r.kind != SELECTED[LEARNED] else "–",
            str(r.edges),
            f"{r.used:.1%}",
            f"{r.harmful:.1%}",
            f"{r.used_nats:+.4f}",
        )
        for r in kinds.itertuples()
    ]
    return Table(
        "Rows of features beside their nulls: as many rows mined between random features by the same rules and chosen "
        "on the same text, and random rows of as frequent features. Saves: mean over rows, nats per 1,000 tokens, ± "
        "standard error over contexts; ahead: how much more a mined row saves on the same contexts. Edge cut: rise of "
        "the loss where the edge is cut, mean over edges.",
        explained(
            (
                *words("Rows"),
                *numbers(
                    "Number", "Saves, chosen on", "Saves, held out", "Ahead", "Edges", "Used", "Harmful", "Edge cut"
                ),
            ),
            KINDS,
            "kind rows chosen_nats nats ahead edges used harmful used_nats",
        ),
        rows,
    )


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
        for basis, edge in ((LEARNED, "black"), (RANDOM, GREY)):
            own = mined[mined["basis"] == basis]
            label = "mined rows" if basis == LEARNED else "mined rows of random features"
            axes.plot(own["entries"], own["recovered"], "D", ms=6, mfc="white", mec=edge, ls="", label=label)
        axes.axhline(0, color=GREY, lw=0.8)
        axes.set(xscale="log", xlabel="entries kept of each circuit", ylabel="share recovered")
        axes.xaxis.set_major_formatter(PLAIN)
        axes.legend(fontsize=8, loc="center left")
    return drawn.svg
