"""When heads, their composition and rows formed in training."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter

from skiptrace.composition.formation import Rise, rise
from skiptrace.composition.tables import MODEL
from skiptrace.config.models import ModelParams
from skiptrace.report.inputs import Study
from skiptrace.report.rendering.document import (
    Block,
    Cell,
    Section,
    SkipTrigram,
    Table,
    numbers,
    prose,
    words,
)
from skiptrace.report.rendering.failures import figure
from skiptrace.report.rendering.figures import (
    COLOURS,
    GREY,
    INK,
    PLAIN,
    canvas,
)

SHARES = (0.25, 0.5, 0.75)  # of the way from chance to the end
HALF = 0.5
HEAD_KINDS = {
    "previous_token": "attention to the previous token",
    "prefix_matching": "prefix matching (induction)",
    "copying": "copying",
}
LOSS, LEARNING, KEYS, ROW = "loss", "loss late in the context", "K-composition", "row"


class Followed(NamedTuple):
    """What is followed along the training: above chance by `value`, in whatever unit, with its rise by share.

    `leads`: no other of its kind ends higher.
    """

    kind: str
    which: Cell
    label: str
    step: np.ndarray
    value: np.ndarray
    at_end: str
    by_chance: str
    rises: dict[float, Rise | None]
    leads: bool = True


def formation(study: Study) -> Section | None:
    """When each head kind, composition and headline row rises, against loss and tokens seen."""
    found = study.model.composed.formation
    params = study.model.params
    if found.empty or not isinstance(params, ModelParams):
        return None
    name, every = study.name, followed(study)
    per_step = params.batch_size * params.n_ctx
    whole = found[(found["name"] == MODEL) & (found["score"] == "loss")].sort_values("step")
    rows: list[tuple[Cell, ...]] = []
    for each in every:
        half = each.rises[HALF]
        then = np.nan if half is None else np.interp(np.log(half.step), np.log(whole["step"]), whole["value"])
        rows.append(
            (
                each.kind,
                each.which,
                each.at_end,
                each.by_chance,
                *(_told(each.rises[share]) for share in SHARES),
                "–" if half is None else f"{half.step * per_step / 1e6:.2f} M",
                "–" if half is None else f"{then:.2f}",
            )
        )
    table = Table(
        prose("""
            The step at which a score has come a quarter, half and three quarters of the way from chance to what it is
            at the end, for good, by interpolation between checkpoints; in brackets a range that holds the checkpoints
            on either side and 95 % of what errors of measurement give. Tokens seen, and loss on held-out text, are
            those at half. Heads are those with the largest score at the end; of copying, all beyond three standard
            deviations of random heads. K-composition is of the pair with the most at the end. Rows: the first of the
            table, by the fall of log p(output) in nats where their edge is cut, beside random rows of the same heads
            and as frequent tokens. A dash: not above chance at the end by three errors and three deviations of chance.
        """),
        (
            *words("What", "Which"),
            *numbers(
                "At the end", "By chance", "Step: a quarter", "Half", "Three quarters", "Tokens seen", "Loss (nats)"
            ),
        ),
        rows,
    )
    blocks: list[Block] = [
        table,
        figure(
            f"rises_{name}",
            "What rises first",
            "Every score less chance, as a share of what it is at the end; rows in grey. Above: the loss on held-out "
            "text. Points are checkpoints.",
            draw_rises,
            every,
            whole,
        ),
        figure(
            f"formation_{name}",
            "Scores of every head",
            "Scores of every head at checkpoints along the training, the two best of each named; dashed below: "
            "uniform attention. Where induction needs K-composition, a previous-token head forms first, then "
            "prefix matching, and with it the loss late in the context falls below the loss early in it.",
            draw_formation,
            found,
        ),
    ]
    return Section(f"{name}-formation", f"{name}: how it formed", _said(every, params.seed), blocks)


def followed(study: Study) -> list[Followed]:
    """Loss, in-context learning, head kinds, the strongest K-composition and the first rows, in that order."""
    found, made = study.model.composed.formation, []
    scores = {key: each.sort_values("step") for key, each in found.groupby(["name", "score"], sort=False)}
    loss, learning = scores[MODEL, "loss"], scores[MODEL, "in_context_learning"]
    fallen = loss.assign(value=loss["value"].iloc[0] - loss["value"], chance=0.0, chance_sd=0.0)
    made.append(_follow(LOSS, "–", "loss", fallen, f"{loss['value'].iloc[-1]:.2f} nats", "–"))
    late = learning.assign(value=-learning["value"], chance=0.0, chance_sd=0.0)
    made.append(_follow(LEARNING, "–", LEARNING, late, f"{learning['value'].iloc[-1]:+.2f} nats", "0"))
    for score, kind in HEAD_KINDS.items():
        ends = {head: each.iloc[-1] for (head, other), each in scores.items() if other == score}
        most = sorted(ends, key=lambda head: ends[head]["value"], reverse=True)
        clear = [h for h in most if ends[h]["value"] - ends[h]["chance"] > 3 * ends[h]["chance_sd"]]
        for head in clear if score == "copying" else most[:1]:
            end = ends[head]
            spread = f" ± {end['chance_sd']:.2f}" if end["chance_sd"] else ""
            told = f"{end['value']:.2f}", f"{end['chance']:.2f}{spread}"
            one = _follow(kind, head, f"{head}: {kind}", scores[head, score], *told)
            made.append(one._replace(leads=head == most[0]))
    for (pair, score), each in scores.items():
        if score == "k_composition":
            end = each.iloc[-1]
            told = f"{end['value']:.3f}", f"{end['chance']:.3f} ± {end['chance_sd']:.3f}"
            made.append(_follow(KEYS, pair, f"{pair}: K-composition", each, *told))
    for _, each in study.model.accounted.formed.groupby("rank"):
        along = each.sort_values("step").rename(
            columns={"effect_nats": "value", "effect_se": "se", "null_mean": "chance", "null_sd": "chance_sd"}
        )
        end = along.iloc[-1]
        told = f"{end['value']:+.2f} ± {end['se']:.2f}", f"{end['chance']:+.2f} ± {end['chance_sd']:.2f}"
        which = SkipTrigram(end["source"], end["destination"], end["out"])
        made.append(_follow(f"{ROW}, L{end['layer']}H{end['head']}", which, ROW, along, *told))
    return made


def _follow(kind: str, which: Cell, label: str, along: pd.DataFrame, at_end: str, by_chance: str) -> Followed:
    step, value, se, chance = (along[column].to_numpy() for column in ("step", "value", "se", "chance"))
    rises = {share: rise(step, value, se, chance, share, float(along["chance_sd"].iloc[-1])) for share in SHARES}
    return Followed(kind, which, label, step, value - chance, at_end, by_chance, rises)


def _told(found: Rise | None) -> str:
    return "–" if found is None else f"{found.step:.0f} [{found.low:.0f}, {found.high:.0f}]"


def _said(every: list[Followed], seed: int) -> list[str]:
    """Which rises first, by each threshold, and which of these orders the ranges tell apart."""
    shown = [n for n, each in enumerate(every) if each.label != ROW and each.kind != LOSS and each.leads]
    halves = [(half.step, n) for n in shown if (half := every[n].rises[HALF])]
    kinds = [every[n] for _, n in sorted(halves)]
    if not kinds:
        return ["Nothing that is followed has risen above chance between the first checkpoint and the last."]
    said = [f"{each.label} ({_told(each.rises[HALF])})" for each in kinds]
    orders = [f"{a.label} before {b.label}" for a, b in pairwise(kinds) if not _apart(a, b)]
    alike = f"The ranges do not tell apart {'; '.join(orders)}. " if orders else "The ranges tell all of these apart. "
    first = {share: _first(kinds, share) for share in SHARES}
    same = len(set(first.values())) == 1
    threshold = (
        "A quarter and three quarters of the way give the same first."
        if same
        else "Which is first depends on the threshold: "
        + ", ".join(f"{label} at {share:.0%}" for share, label in first.items())
        + "."
    )
    rows = [each.rises[HALF] for each in every if each.label == ROW]
    risen = [each.step for each in rows if each is not None]
    of_rows = (
        f" Of the first {len(rows)} rows {len(risen)} end above random rows; they are half there at steps "
        f"{min(risen):.0f} to {max(risen):.0f}, the median at {np.median(risen):.0f}."
        if risen
        else f" Of the first {len(rows)} rows none ends above random rows."
        if rows
        else ""
    )
    return [
        prose(f"""
            Of each kind, what ends highest is half of the way from chance to the end at step, in order:
            {", ".join(said)}. {alike}{threshold}{of_rows}
        """),
        prose(f"""
            This is one training run, of seed {seed}: twins, models of other seeds, keep no checkpoints, so that the
            ranges are errors of measurement and say nothing of how the order varies between runs. What is followed was
            chosen at the end of training, beside chance at every checkpoint.
        """),
    ]


def _apart(a: Followed, b: Followed) -> bool:
    one, other = a.rises[HALF], b.rises[HALF]
    return one is not None and other is not None and (one.high < other.low or other.high < one.low)


def _first(kinds: list[Followed], share: float) -> str:
    known = [(found.step, each.label) for each in kinds if (found := each.rises[share]) is not None]
    return min(known)[1] if known else "none"


def draw_rises(every: list[Followed], loss: pd.DataFrame) -> str:
    """Scores as shares of what they are at the end, below the loss, against training steps."""
    with canvas(7.2, 4.8) as drawn:
        above, axes = drawn.subplots(2, 1, sharex=True, height_ratios=[1, 2.4])
        above.plot(loss["step"], loss["value"], color=COLOURS[6], lw=1.6, marker="o", ms=3)
        above.set_ylabel("loss\n(nats per token)")
        shown = [each for each in every if each.kind != LOSS and each.rises[HALF] is not None]
        named = [each for each in shown if each.label != ROW and each.leads]
        for each in shown:
            if each.label == ROW:
                axes.plot(each.step, each.value / each.value[-1], color=GREY, lw=0.9, alpha=0.7)
        for number, each in enumerate(named):
            style = {"color": COLOURS[number % len(COLOURS)], "ls": "-" if number < len(COLOURS) else "--"}
            axes.plot(each.step, each.value / each.value[-1], lw=1.6, marker="o", ms=3, label=each.label, **style)
        axes.axhline(HALF, color=INK, lw=0.8, ls=":")
        axes.axhline(0, color=GREY, lw=0.8)
        low = max(-1.0, min((float((each.value / each.value[-1]).min()) for each in named), default=0.0))
        axes.set(ylabel="share of what it is at the end", ylim=(low - 0.1, 1.6), xlabel="optimiser steps (logarithmic)")
        if named:
            axes.legend(fontsize=7, loc="upper left", ncols=2)
        _steps(axes)
    return drawn.svg


def _steps(axes: Axes) -> None:
    """A logarithmic axis of steps with plain ticks."""
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(PLAIN)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def draw_formation(table: pd.DataFrame) -> str:
    """Loss, in-context learning and the scores of every head, against training steps."""
    whole = table[table["name"] == MODEL].pivot(index="step", columns="score", values="value")
    heads = table[table["name"] != MODEL]
    uniform = float(heads.loc[heads["score"] == "prefix_matching", "chance"].iloc[0])
    with canvas(7.0, 7.0) as drawn:
        panels = drawn.subplots(4, 1, sharex=True, height_ratios=[1, 0.8, 1.2, 1.2])
        panels[0].plot(whole.index, whole["loss"], color=COLOURS[6], lw=1.6, marker="o", ms=3)
        panels[0].set_ylabel("loss\n(nats per token)")
        panels[1].axhline(0, color=GREY, lw=0.8, ls="--")
        panels[1].plot(whole.index, whole["in_context_learning"], color=COLOURS[6], lw=1.6, marker="o", ms=3)
        panels[1].set_ylabel("late − early\nloss (nats)")
        for axes, (score, title) in zip(
            panels[2:], (("previous_token", "previous-token\nattention"), ("prefix_matching", "prefix matching")),
            strict=True,
        ):  # fmt: skip
            wide = heads[heads["score"] == score].pivot(index="step", columns="name", values="value")
            best = wide.iloc[-1].nlargest(2).index
            for name in wide.columns:
                colour = COLOURS[list(best).index(name)] if name in best else GREY
                strong = name in best
                style = {"lw": 1.8, "marker": "o", "ms": 3, "zorder": 3} if strong else {"lw": 0.9}
                axes.plot(wide.index, wide[name], color=colour, **style)
            for name in best:
                end = (float(wide.index[-1]), float(wide[name].iloc[-1]))
                axes.annotate(name, end, (6, 0), "data", "offset points", fontsize=8, va="center",
                              color=COLOURS[list(best).index(name)])  # fmt: skip
            if score == "prefix_matching":
                axes.axhline(uniform, color=INK, lw=0.8, ls="--")
            axes.set(ylabel=title, ylim=(0, 1))
        _steps(panels[0])
        panels[-1].set_xlabel("optimiser steps (logarithmic)")
    return drawn.svg
