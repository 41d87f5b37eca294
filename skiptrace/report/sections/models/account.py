"""What attention adds, part by part and entry by entry, and the rows that save most loss on text."""

import pandas as pd
from matplotlib.axes import Axes

from skiptrace.account.tables import LADDER, MINED, OVERLAPS, SKIP_BIGRAMS, SKIP_TRIGRAMS
from skiptrace.models.config import ModelConfig
from skiptrace.report import metrics
from skiptrace.report.inputs import ModelResult, Study
from skiptrace.report.rendering.document import (
    Block,
    Cell,
    Section,
    SkipTrigram,
    Table,
    Tokens,
    explained,
    numbers,
    prose,
    words,
)
from skiptrace.report.rendering.failures import figure
from skiptrace.report.rendering.figures import COLOURS, GREY, PLAIN, canvas

ROWS = 25  # rows of either table of what saves most
SAID = {
    "unigram": "unigram: token frequencies alone",
    "direct path": "no heads: the direct path alone",
    "distance alone": "scores: distance alone, tokens at their average",
    "tokens alone": "scores: tokens alone, positions at their average",
    "source salience": "scores: additive in source and destination",
    "each source alone": "each source attended as if alone among average ones",
    "mean output": "outputs: the same whatever the source",
    "rank one": "outputs: one number for each source",
    "salience and mean output": "additive scores and mean outputs",
    "whole model": "whole model",
}
# Orders of the curve as they are drawn: their names for readers, colours and markers.
ORDERS = {
    "rounds": ("saves most beside those kept before, in rounds", COLOURS[0], "o"),
    "attribution": ("|entry × slope|, integrated gradients", COLOURS[1], "s"),
    "published": ("by the published rule's best skip-trigram", COLOURS[4], "P"),
    "entry·frequency": ("|entry| √(p p)", COLOURS[2], "^"),
    "entry": ("|entry|", COLOURS[3], "v"),
    "random": ("at random", GREY, "."),
}


def account(study: Study) -> Section | None:
    """The ladder, the curve, and skip-bigrams and skip-trigrams by what they save."""
    if study.model.params.n_layers == 0:
        return None
    name, model = study.name, study.model
    found = model.accounted
    rungs = found.ladder[found.ladder["layers"] == "all"].set_index("rung")["loss"]
    gain = rungs["direct path"] - rungs["whole model"]
    kept = metrics.salience_left(model)
    competition = found.ladder.query("layers == 'all' and rung == 'each source alone'").iloc[0]
    texts = [
        prose(f"""
            Attention lowers the loss on held-out text from {rungs["direct path"]:.2f} nats per token, of the direct
            path alone, to {rungs["whole model"]:.2f}. With attention scores that only add a number for the source and a
            number for the destination, so that no destination looks for any source, {kept:.0%} of that is left; with
            scores that know distance alone, {(rungs["direct path"] - rungs["distance alone"]) / gain:.0%}. A table of
            skip-trigrams also ignores that sources compete for attention: with each source attended as if it stood
            alone among average ones (a: its score; beside it the start token, the destination itself, and at any other
            place k what an average source there would draw, m) the loss is {competition["lost"]:.3f} ±
            {competition["lost_se"]:.3f} nats higher.
        """),
        *_curve(model),
    ]
    blocks: list[Block] = []
    if len(found.curve):
        blocks.append(
            figure(
                f"account_{name}",
                "What the first entries recover",
                "Share of what the interactions of tokens add to the additive model that is recovered when so many "
                "entries of QK and as many of OV are kept, or of one circuit, the other whole; on held-out text; bands "
                "are two standard errors. What to see: how far orders by loss (blue, orange) lie above orders by "
                "weight alone, which of them the entries that rows of the mined table use (diamonds) are near, and the "
                "null, entries at random. Below zero so many entries are worse than none.",
                draw_curve,
                found.curve,
            )
        )
    blocks.append(_ladder(found.ladder))
    if len(found.skip_bigrams):
        blocks += [_skip_trigrams(found.skip_trigrams), _skip_bigrams(found.skip_bigrams)]
    if len(found.overlaps):
        blocks.append(_twins(model))
    return Section(f"{name}-account", f"{name}: what attention adds", texts, blocks)


RANKINGS = {
    "published": "by the published rule, from weights",
    "expected": "by expected gain, from weights",
    "nats": "by what rows save on training text",
}


def _twins(model: ModelResult) -> Table:
    """What recurs in models of other seeds."""
    found, headlines = metrics.twin_overlap(model), model.accounted.headlines
    spread = ", ".join(
        f"{name.removeprefix('account.').replace('_', ' ')} {value:.3f} ({sd:.3f})"
        for name, value, sd in zip(*(headlines[column] for column in ("name", "value", "spread")), strict=True)
    )
    rows: list[tuple[Cell, ...]] = [
        (
            RANKINGS[str(ranking)],
            f"{each['rows']:.0f}",
            f"{each['overlap']:.0%}",
            f"{each['chance_matched']:.1%}",
            f"{each['chance']:.1%}",
        )
        for ranking, each in found.iterrows()
    ]
    return Table(
        prose(f"""
            The first rows of each ranking that are among the first of a model that differs in its seed alone, in any
            head, each model's rows mined from its own weights. By frequency: if the twin's order were random among rows
            whose tokens are about as frequent; by chance: if both orders of these rows were random. Headline numbers,
            losses in nats per token, with the standard deviation over the model and its twins: {spread}.
        """),
        explained(
            (*words("Ranking"), *numbers("Rows", "Recur", "By frequency", "By chance")),
            OVERLAPS,
            "ranking rows overlap chance_matched chance",
        ),
        rows,
    )


def _curve(model: ModelResult) -> list[str]:
    """What the curve says; why there is none for models that are more than circuits."""
    curve = model.accounted.curve
    if curve.empty:
        return [
            f"This model also has {' and '.join(_more(model.config))}: on every rung these run as they are, on what is "
            "left, and are not accounted for. Entry by entry, attention is accounted for in models that are circuits "
            "and their composition alone."
        ]
    best = metrics.recovered(model)
    at = [f"{best[n]:.0%} with {n:,}" for n in (300, 3000, 10000, 100000) if n in best]
    rows = curve[curve["order"] == "mined rows"].sort_values("entries")
    said = (
        " The entries that mined rows use recover "
        + ", ".join(f"{r.recovered:.1%} ± {r.recovered_se:.1%} (first {r.entries:,} rows)" for r in rows.itertuples())
        + "."
        if len(rows)
        else ""
    )
    composition = (
        " What later layers read of earlier ones (composition) is no table of tokens: it is kept throughout, and the "
        "entries are those of the heads of all layers together."
        if model.params.n_layers > 1
        else ""
    )
    return [
        "Each circuit is split into an additive part and its entries, less the means of their rows and columns. "
        "Keeping the entries that save most loss on training text, the share of what the interactions of tokens add "
        f"that is recovered on held-out text is {', '.join(at)} entries of QK and as many of OV.{said}{composition}"
    ]


def _more(config: ModelConfig | None) -> list[str]:
    """What a model has beside heads whose positions stand beside the stream."""
    there = (
        {}
        if config is None
        else {
            "layer norm": config.normalization_type is not None,
            "MLPs": not config.attn_only,
            "rotary positions": config.rotary,
            "relative positions": config.by_distance and not config.rotary,
            "positions in the residual stream": config.positional_embedding_type == "standard",
        }
    )
    return [name for name, held in there.items() if held] or ["constants that its layers add"]


def _ladder(ladder: pd.DataFrame) -> Table:
    rows: list[tuple[Cell, ...]] = []
    several = ladder["layers"].nunique() > 1
    for r in ladder.itertuples():
        layers = ("all layers" if r.layers == "all" else f"layer {r.layers}",) if several else ()
        lost = "–" if r.rung == "whole model" else f"{r.lost:+.3f} ± {r.lost_se:.3f}"
        rows.append((SAID[r.rung], *layers, f"{r.loss:.3f} ± {r.se:.3f}", lost))
    return Table(
        "The loss on held-out text with one part of attention replaced by an average over the training text, the rest "
        "as it is; ± standard error over contexts, of the difference from the whole model in the last column.",
        explained(
            (*words("What is left"), *words(*(["Where"] if several else [])), *numbers("Loss (nats)", "Above whole")),
            LADDER,
            "rung " + ("layers " if several else "") + "loss lost",
        ),
        rows,
    )


def _skip_bigrams(table: pd.DataFrame) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (f"L0H{r.head}", Tokens((r.source,)), Tokens((r.out,)), f"{r.n:,}", f"{r.nats:.2f} ± {r.nats_se:.2f}")
        for r in table.head(ROWS).itertuples()
    ]
    return Table(
        "Skip-bigrams, source … output, whatever the destination: chosen on training text as those that save most, in "
        "that order; what they save on held-out text, in nats per 1,000 tokens, ± standard error over contexts. Those "
        "whose source the held-out text lacks save nothing there.",
        explained(
            (*words("Head", "Source", "Output"), *numbers("Places", "Saves")),
            SKIP_BIGRAMS,
            "head source out n nats",
        ),
        rows,
    )


def _skip_trigrams(table: pd.DataFrame) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (
            f"L0H{r.head}",
            SkipTrigram(r.source, r.destination, r.out),
            f"{r.n:,}",
            f"{r.nats:.2f} ± {r.nats_se:.2f}",
            f"{r.nats_destination:.2f} ± {r.nats_destination_se:.2f}",
        )
        for r in table.head(ROWS).itertuples()
    ]
    return Table(
        "Skip-trigrams, source … destination → output, that save most because of their destination: chosen on training "
        "text, in that order; what they save on held-out text, in nats per 1,000 tokens, ± standard error over "
        "contexts. Because of the destination: beyond what the head would attend to the source by salience alone.",
        explained(
            (*words("Head", "Skip-trigram"), *numbers("Places", "Saves", "By destination")),
            SKIP_TRIGRAMS,
            "head - n nats nats_destination",
        ),
        rows,
    )


PANELS = {
    "both": ("entries of both circuits", "entries kept of each circuit"),
    "ov": ("of OV, QK whole", "entries kept"),
    "qk": ("of QK, OV whole", "entries kept"),
}


def draw_curve(curve: pd.DataFrame) -> str:
    """The share recovered against the number of entries, by order: of both circuits, and of one, the other whole."""
    with canvas(10.0, 4.4) as drawn:
        panels = drawn.subplots(1, len(PANELS), sharey=True, width_ratios=[1.4, 1, 1])
        for axes, (circuit, (title, along)) in zip(panels, PANELS.items(), strict=True):
            points = curve[curve["circuit"] == circuit]
            for order, (label, colour, marker) in ORDERS.items():
                _line(axes, points[points["order"] == order], label, colour, marker)
            axes.set(title=title, xlabel=along, xscale="log")
            axes.axhline(0, color=GREY, lw=0.8)
            axes.axhline(1, color=GREY, lw=0.8, ls=":")
            axes.xaxis.set_major_formatter(PLAIN)
        mined = curve[curve["order"] == MINED]
        panels[0].plot(
            mined["entries"], mined["recovered"], "D", ms=6, mfc="white", mec="black", ls="", label="mined rows"
        )
        panels[0].set(ylabel="share recovered")
        panels[0].legend(fontsize=7.5, loc="upper left")
    return drawn.svg


def _line(axes: Axes, points: pd.DataFrame, label: str, colour: str, marker: str) -> None:
    low, high = (points["recovered"] + side * 2 * points["recovered_se"] for side in (-1, 1))
    axes.plot(points["entries"], points["recovered"], marker=marker, ms=4, color=colour, label=label)
    axes.fill_between(points["entries"], low, high, color=colour, alpha=0.15, lw=0)
