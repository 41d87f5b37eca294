"""The scores of single heads."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from skiptrace.circuits.scores import OWN_ROWS, OwnRow, span_length
from skiptrace.circuits.tables import HEADS
from skiptrace.report.inputs import ModelResult, Study
from skiptrace.report.intervals import with_error
from skiptrace.report.metrics import NORMAL
from skiptrace.report.rendering.document import (
    Cell,
    Column,
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
    COLOURS,
    GREY,
    canvas,
    grid,
)


class Score(NamedTuple):
    """A column of the table of heads, its cell for a row of `HEADS`, and the stored column that it shows, if one."""

    column: Column
    cell: Callable[[Any], str]
    shown: str


SCORES = (
    Score(Column("Head", numeric=False), lambda h: h.name, "name"),
    Score(Column("Copying", numeric=True), lambda h: f"{h.copying:+.2f}", "copying"),
    Score(
        Column("Random heads", numeric=True),
        lambda h: f"{h.copying_null_mean:z.2f} ± {h.copying_null_sd:.2f}",
        "copying_null_mean",
    ),
    Score(Column("z", numeric=True), lambda h: f"{(h.copying - h.copying_null_mean) / h.copying_null_sd:+.1f}", "-"),
    Score(Column("Copies", numeric=False), lambda h: "yes" if h.copies else "no", "copies"),
    Score(Column("Position share", numeric=True), lambda h: f"{h.position_share:.2f}", "position_share"),
    Score(
        Column("Random heads", numeric=True),
        lambda h: f"{h.position_share_null_mean:.2f} ± {h.position_share_null_sd:.2f}",
        "position_share_null_mean",
    ),
    Score(
        Column("Previous token", numeric=True),
        lambda h: with_error(h.previous_token, NORMAL * h.previous_token_se),
        "previous_token",
    ),
    Score(Column("Uniform", numeric=True), lambda h: f"{h.previous_token_uniform:.2f}", "previous_token_uniform"),
    Score(
        Column("Prefix matching", numeric=True),
        lambda h: with_error(h.prefix_matching, NORMAL * h.prefix_matching_se),
        "prefix_matching",
    ),
    Score(Column("Uniform", numeric=True), lambda h: f"{h.prefix_matching_uniform:.2f}", "prefix_matching_uniform"),
    Score(Column("Attention to start", numeric=True), lambda h: f"{h.bos_attention:.2f}", "bos_attention"),
)


def heads(study: Study) -> Section | None:
    """The scores of every head beside their nulls, what it copies, and attention by distance."""
    if study.model.params.n_layers == 0:
        return None
    name, model, scoring, params = study.name, study.model, study.settings.scoring, study.settings.report
    length = span_length(model.params.n_ctx, scoring.repeated_tokens, scoring.repeats)
    rows = [tuple(score.cell(h) for score in SCORES) for h in model.heads.itertuples()]
    table = Table(
        prose(f"""
            Each score beside its null; attention ± half of its 95 % interval, over contexts or sequences. Copying:
            Σλ/Σ|λ| of the OV circuit; a head copies when it lies {scoring.null_sd:g} standard deviations above
            {scoring.null_draws} random heads. Position share: r² of the position term with the attention scores on
            text, beside that of random heads. Previous token: mean attention to the token before, on text. Prefix
            matching: mean attention to what followed earlier occurrences, on {length} random tokens repeated
            {scoring.repeats} times. Uniform: the same for uniform attention. Attention to start: mean attention
            to the first token of the context, which holds nothing to be read.
        """),
        explained((s.column for s in SCORES), HEADS, " ".join(s.shown for s in SCORES)),
        rows,
    )

    return Section(
        f"{name}-heads",
        f"{name}: heads",
        [],
        [
            table,
            _copied(model),
            figure(
                f"copying_{name}",
                "Copying",
                "Blue heads copy: they lie clearly to the right of the grey band of random heads.",
                draw_copying,
                model,
                scoring.null_sd,
            ),
            figure(
                f"offsets_{name}",
                "Attention by distance",
                "Where the dashed line (the position term alone) predicts the solid one (real text), a head attends by "
                "position. A peak at 1 is a previous-token head.",
                draw_offsets,
                model,
                params.offsets,
            ),
        ],
    )


def _of(size: int) -> str:
    return "the whole vocabulary" if size <= OWN_ROWS else f"{OWN_ROWS:,} spread over the vocabulary"


def _copied(model: ModelResult) -> Table:
    """Copying token by token, for heads and for the sum of each layer's heads, with the best copied tokens."""

    def row(label: str, own: OwnRow, tokens: pd.Series) -> tuple[Cell, ...]:
        shares = (f"{share:.1%}" for share in own)
        return (label, *shares, Tokens(tuple(tokens.head(6))))

    copies, rows, size = model.copies, [], model.d_vocab
    for h in model.heads.itertuples():
        best = copies.loc[(copies["layer"] == h.layer) & (copies["head"] == h.head), "source"]
        rows.append(row(h.name, OwnRow(h.own_top1, h.own_top5, h.own_positive), best))
    for each in model.explored.layers.itertuples():
        own = OwnRow(each.own_top1, each.own_top5, each.own_positive)
        rows.append(row(f"L{each.layer}, all heads", own, pd.Series(dtype="str")))
    return Table(
        f"How many tokens of {_of(size)} are first, or among the first five, in their own row of the OV circuit, or "
        f"above the mean of that row (chance: {1 / size:.2%}, {5 / size:.2%}, 50%), and the tokens copied most.",
        (*words("Head"), *numbers("Own top 1", "Own top 5", "Positive diagonal"), *words("Copied most")),
        rows,
    )


def draw_copying(model: ModelResult, null_sd: float) -> str:
    """Copying score of every head with the band that random heads fall into."""
    heads = model.heads
    with canvas(7.0, 0.9 + 0.3 * len(heads)) as drawn:
        axes = drawn.subplots()
        mean, sd = heads["copying_null_mean"].iloc[0], heads["copying_null_sd"].iloc[0]
        axes.axvspan(
            mean - null_sd * sd,
            mean + null_sd * sd,
            color=GREY,
            alpha=0.25,
            lw=0,
            label=f"random heads, ±{null_sd:g} sd",
        )
        axes.axvline(0, color="black", lw=0.6)
        colours = np.where(heads["copies"], COLOURS[0], COLOURS[1])
        axes.hlines(heads["name"], 0, heads["copying"], colors=colours.tolist(), lw=2)
        axes.scatter(heads["copying"], heads["name"], c=colours.tolist(), s=28, zorder=3)
        axes.set(xlim=(-1.05, 1.05), xlabel="copying score Σλ/Σ|λ| of W_E W_V W_O W_U", ylim=(len(heads) - 0.5, -0.5))
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), borderpad=0, fontsize=8)
    return drawn.svg


def draw_offsets(model: ModelResult, shown: int) -> str:
    """Mean attention by distance: on text, by the position term alone, and for uniform attention."""
    table = model.offsets[model.offsets["offset"] < shown]
    top = 1.1 * table[["text", "position_only"]].to_numpy().max()
    columns = min(4, model.params.n_heads)
    rows = -(-len(model.heads) // columns)
    with canvas(2.4 * columns + 0.6, 2.1 * rows + 0.5) as drawn:
        panels = grid(drawn, len(model.heads), columns, shared=True)
        for axes, head in zip(panels, model.heads.itertuples(), strict=True):
            mine = table[(table["layer"] == head.layer) & (table["head"] == head.head)]
            axes.fill_between(mine["offset"], mine["uniform"], color=GREY, alpha=0.3, lw=0, label="uniform")
            axes.plot(
                mine["offset"], mine["position_only"], color=COLOURS[1], lw=1.4, ls="--", label="position term alone"
            )
            axes.plot(mine["offset"], mine["text"], color=COLOURS[0], lw=1.6, label="on text")
            axes.set_title(f"{head.name}{'  positional' if head.positional else ''}")
            axes.set_ylim(0, top)
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        drawn.supxlabel("tokens back from the destination", fontsize=10)
        drawn.supylabel("mean attention", fontsize=10)
        handles, labels = panels[0].get_legend_handles_labels()
        drawn.legend(handles, labels, loc="outside upper center", ncols=3, fontsize=9)
    return drawn.svg
