"""Weights against counts, on grammars in which counting is not enough."""

import math

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from skiptrace.control.tables import RANKINGS
from skiptrace.report.grammars import control, control_intervals, reported
from skiptrace.report.inputs import Study
from skiptrace.report.intervals import bracketed
from skiptrace.report.rendering.document import Block, Cell, Section, Table, explained, numbers, prose, words
from skiptrace.report.rendering.failures import figure
from skiptrace.report.rendering.figures import COLOURS, GREY, canvas, grid

WHO = {"weights": "weights", "counts": "counts in the text"}
KINDS = {
    "skip_trigram": "skip-trigram",
    "incoherent": "incoherent square",
    "two_sources": "needs two sources",
    "companion": "decoy: next to a source",
    "topic": "decoy: after any word",
}


def control_study(study: Study) -> Section | None:
    """Which of weights and counts finds the rules of grammars that nothing was chosen on, and what each is blind to."""
    tables = study.results.control
    if not tables:
        return None
    rankings, accepted, rules = reported(tables["rankings"]), reported(tables["accepted"]), reported(tables["rules"])
    return Section(
        f"{study.name}-control",
        "Weights against counts where rules share words",
        [_verdict(tables, rules)],
        [_summary(rankings, accepted), _by_kind(rules), *_drawn(tables), _measures(tables)],
    )


def _agreement(first: np.ndarray, second: np.ndarray) -> float:
    """Rank correlation; undefined where nothing varies."""
    return float(spearmanr(first, second).statistic) if np.ptp(first) and np.ptp(second) else math.nan


def _verdict(tables: dict[str, pd.DataFrame], rules: pd.DataFrame) -> str:
    found, ranges = control(tables), control_intervals(tables)
    seeds = sorted(tables["rankings"]["grammar"].unique())
    ours, theirs = found["average_precision"], found["best_baseline_average_precision"]
    verdict = "Counting wins" if theirs > ours else "The weights win" if ours > theirs else "Neither wins"
    lifted = rules[rules["kind"] != "negative"]
    place = {of: -np.log(lifted[of].where(lifted[of] > 0, np.inf).to_numpy()) for of in WHO}
    agree = {of: _agreement(np.nan_to_num(p, neginf=-20.0), lifted["model_nats"].to_numpy()) for of, p in place.items()}
    return prose(f"""
        Here rules, with probabilities from 0.1 to 0.9, share their words, frequent ones among them, and decoys
        stand beside them: words that mostly stand next to a source, and words that make an output token likelier
        after any word. Some rules need two sources, some lower an output token, and some form squares that no
        product of one head's QK and OV can have. Rankings, windows, least counts and thresholds were chosen on
        grammar {seeds[0]} and its model; what is said here is of grammars {", ".join(map(str, seeds[1:]))}, on
        which nothing was chosen, with 95 % intervals over these few. {verdict}: average precision
        {_bracketed(theirs, ranges["best_baseline_average_precision"])} against
        {_bracketed(ours, ranges["average_precision"])} for the weights, and of the rows that are accepted as rules
        {found["best_baseline_precision"]:.0%} are planted against {found["precision"]:.0%}. What stands in the text
        can be counted; these small models learned only {found["learned"]:.0%} of the rules. Weights, with the
        tests on the running model, say which ones: of the rules that a model has learned (without the source its log
        p(out) falls by ¼ nat or more) the rows accepted from weights hold
        {found["learned_recall"]:.0%}, of the others {found["unlearned_recall"]:.0%}; counting accepts
        {found["best_baseline_learned_recall"]:.0%} and {found["best_baseline_unlearned_recall"]:.0%}. The order of
        rules and decoys by weights agrees with what the model does with a rank correlation of
        {agree["weights"]:.2f}, that by counts with {agree["counts"]:.2f}.
    """)


def _bracketed(value: float, interval: list[float]) -> str:
    low, high = interval
    return bracketed(value, low, high)


def _summary(rankings: pd.DataFrame, accepted: pd.DataFrame) -> Table:
    """A row for each grammar and each of weights and counts."""
    rows: list[tuple[Cell, ...]] = []
    for (seed, of), best in rankings[rankings["best"] & (rankings["kind"] == "planted")].groupby(["grammar", "of"]):
        r = best.iloc[0]
        a = accepted[accepted["best"] & (accepted["grammar"] == seed) & (accepted["of"] == of)].iloc[0]
        rows.append(
            (
                str(seed),
                WHO[of],
                f"{r['ranking']}" + (f", window {r['window']}, at least {r['min_count']}" if r["window"] else ""),
                str(r["planted"]),
                f"{r['average_precision']:.2f}",
                f"{r['recall_at_k']:.2f}",
                a["accepted_by"],
                str(a["rows"]),
                f"{a['precision']:.2f}",
                f"{a['recall']:.2f}",
                f"{a['false_companion']} / {a['false_topic']} / {a['false_crossing']} / {a['false_other']}",
            )
        )
    return Table(
        "Grammars on which nothing was chosen. False rows among those accepted: words next to a source / words that "
        "act after any word / crossings of squares / others.",
        (
            *words("Grammar", "Read from", "Ranked by"),
            *numbers("Planted (K)", "Average precision", "Recall at K"),
            *words("Accepted by"),
            *numbers("Accepted", "Precision", "Recall", "False rows"),
        ),
        rows,
    )


def _by_kind(rules: pd.DataFrame) -> Table:
    """How many rules and decoys of each kind stand among the first K, K the planted ones of their grammar."""
    planted = rules[rules["kind"].isin(["skip_trigram", "incoherent", "two_sources"])].groupby("grammar").size()
    first = {of: (rules[of] > 0) & (rules[of] <= rules["grammar"].map(planted)) for of in WHO}
    rows: list[tuple[Cell, ...]] = []
    for kind, said in KINDS.items():
        of_kind = rules["kind"] == kind
        if of_kind.any():
            nats = rules.loc[of_kind, "model_nats"]
            counted = (f"{int((of_kind & first[of]).sum())}" for of in WHO)
            rows.append(
                (said, str(int(of_kind.sum())), *counted, f"{nats.median():.2f}", f"{(nats >= 0.25).mean():.0%}")
            )
    return Table(
        "Rules and decoys among the first K of each ranking, over these grammars. What the model does: the median fall "
        "of its log p(out), in nats, when another word stands in place of the source, and the share that falls by ¼.",
        (*words("Kind"), *numbers("There are", "First by weights", "First by counts", "Model's fall", "Learned")),
        rows,
    )


def _measures(tables: dict[str, pd.DataFrame]) -> Table:
    """Every way of ranking: at its best setting on the first grammar, and there on the others."""
    table = tables["rankings"]
    first = table["grammar"].min()
    rows: list[tuple[Cell, ...]] = []
    for (kind, of, ranking), mine in table.groupby(["kind", "of", "ranking"], sort=False):
        here = mine[mine["grammar"] == first]
        best = here.loc[here["average_precision"].idxmax()]
        same = (mine["window"] == best["window"]) & (mine["min_count"] == best["min_count"])
        there = mine[same & (mine["grammar"] != first)]["average_precision"]
        rows.append(
            (
                {"planted": "raise", "negative": "lower"}[kind],
                WHO[of],
                ranking,
                str(best["window"]) if best["window"] else "–",
                f"{best['average_precision']:.2f}",
                f"{there.mean():.2f}",
                f"{there.min():.2f} … {there.max():.2f}",
            )
        )
    return Table(
        "Average precision of every ranking: on the grammar that its window and least count were chosen on, and on the "
        "others. Rules that raise an output token, and those that lower one.",
        explained(
            (
                *words("Rules that", "Read from", "Ranked by"),
                *numbers("Window", "Chosen on", "Reported", "Range"),
            ),
            RANKINGS,
            "kind of ranking window average_precision average_precision -",
        ),
        rows,
    )


def _drawn(tables: dict[str, pd.DataFrame]) -> list[Block]:
    return [
        figure(
            "control_curves",
            "Precision and recall along the whole rankings",
            "One panel a grammar on which nothing was chosen. Crosses: the rows accepted as rules.",
            draw_curves,
            reported(tables["curve"]),
            reported(tables["accepted"]),
        )
    ]


def draw_curves(curve: pd.DataFrame, accepted: pd.DataFrame) -> str:
    """Precision against recall for weights and counts, a panel for each grammar."""
    seeds = sorted(curve["grammar"].unique())
    with canvas(8.2, 2.9 * -(-len(seeds) // 3)) as drawn:
        panels = grid(drawn, len(seeds), 3)
        for axes, seed in zip(panels, seeds, strict=True):
            for of, colour in zip(WHO, COLOURS, strict=False):
                mine = curve[(curve["grammar"] == seed) & (curve["of"] == of)]
                axes.plot(mine["recall"], mine["precision"], color=colour, label=WHO[of])
                at = accepted[(accepted["grammar"] == seed) & (accepted["of"] == of) & accepted["best"]]
                axes.plot(at["recall"], at["precision"], "x", color=colour, ms=8, mew=2)
            axes.axhline(0, color=GREY, lw=0.5)
            axes.set(title=f"grammar {seed}", xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.05))
        panels[0].legend(fontsize=8, loc="lower left")
    return drawn.svg
