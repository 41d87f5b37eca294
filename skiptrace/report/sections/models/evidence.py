"""Which mined rows hold in the running model and in the corpus."""

from typing import Any

import numpy as np
import pandas as pd

from skiptrace.report.inputs import Study
from skiptrace.report.rendering.document import (
    Cell,
    Example,
    Examples,
    Section,
    Table,
    numbers,
    words,
)
from skiptrace.report.rendering.failures import figure
from skiptrace.report.rendering.figures import (
    COLOURS,
    GREY,
    PLAIN,
    canvas,
)

LEADING = (50, 200, 1000)  # rows of a ranking that are compared


def evidence(study: Study) -> Section | None:
    """The best rows with their evidence, and the rankings compared by what survives."""
    if study.model.params.n_layers == 0:
        return None
    name, model, settings = study.name, study.model, study.settings
    checked, params = model.evidence, settings.verification
    if checked.empty:
        text = "No row was mined, so none was checked."
        return Section(f"{name}-evidence", f"{name}: which skip-trigrams are true", [text], [])
    real, supported = checked["verified"], checked["lift_low"] > 1
    text = (
        f"{len(checked):,} mined rows were checked in {params.contexts} contexts each: validation text that ends in "
        "the destination, with the source placed before it. The effect is the change in log p(out) when the "
        "head may not "
        f"attend from the destination to the source. {real.mean():.1%} of the rows are verified (effect above that of "
        f"{params.null_rows} random rows per head of the same frequencies and above zero, false-discovery rate "
        f"{params.fdr:.0%}); {supported.mean():.0%} are supported by the corpus: A … B C comes more often than B C "
        f"alone predicts; {(real & supported).mean():.0%} are both. A row that is real but not supported is "
        "something the "
        "model does although its text does not."
    )
    best = checked.sort_values("rank_evidence").head(settings.report.bigrams)
    table = Table(
        "The best rows by evidence: p(out) times the share of it that the edge brings. Effect and replaced: change in "
        "log p(out), in nats, ± standard error, when the edge is cut and when the source is replaced by a token of "
        "like frequency. Random rows: mean effect ± standard deviation. Lift: count over expected count, with its 95 % "
        "interval.",
        (
            *words("Head", "Skip-trigram"),
            *numbers("Effect", "Replaced", "Random rows", "p(out)", "A … B C", "Expected", "Lift"),
            *words("Verified"),
        ),
        [_row(r) for r in best.to_dict("records")],
    )

    drawn = figure(
        f"effects_{name}",
        "Effect against lift",
        "Rows to the right do what the weights say; rows above the dashed line are what the corpus says. "
        "Rows never seen in the corpus are left out.",
        draw_effects,
        checked,
    )
    return Section(
        f"{name}-evidence", f"{name}: which skip-trigrams are true", [text], [table, _rankings(checked), drawn]
    )


def _row(row: dict[str, Any]) -> tuple[Cell, ...]:
    worked = Examples((Example(row["source"], "…", (row["destination"], row["out"])),))
    lift = f"{row['corpus_lift']:.1f} [{row['lift_low']:.1f}, {row['lift_high']:.1f}]"
    return (
        f"L{row['layer']}H{row['head']}",
        worked,
        f"{row['effect_nats']:+.2f} ± {row['effect_se']:.2f}",
        f"{row['replaced_nats']:+.2f} ± {row['replaced_se']:.2f}",
        f"{row['null_mean']:.2f} ± {row['null_sd']:.2f}",
        f"{row['p_out']:.2f}",
        f"{row['corpus_count']:,}",
        f"{row['corpus_expected']:,.0f}",
        lift if np.isfinite(row["corpus_lift"]) else "–",
        "yes" if row["verified"] else "no",
    )


def _rankings(checked: pd.DataFrame) -> Table:
    rankings = {"published rule": "rank_published", "expected gain": "rank_expected", "by evidence": "rank_evidence"}
    rows: list[tuple[Cell, ...]] = []
    for label, column in rankings.items():
        shares = []
        for leading in LEADING:
            top = checked[checked[column] <= leading]
            both = top["verified"] & (top["lift_low"] > 1)
            shares += [f"{top['verified'].mean():.0%}", f"{both.mean():.0%}"] if len(top) else ["–", "–"]
        rows.append((label, *shares))
    heads = [f"{what}, first {n:,}" for n in LEADING for what in ("Verified", "and supported")]
    return Table(
        "The rankings compared by what survives among their first rows. Ranking by evidence comes after the check.",
        (*words("Ranking"), *numbers(*heads)),
        rows,
    )


def draw_effects(checked: pd.DataFrame) -> str:
    """Causal effect of every checked row against its corpus lift."""
    seen = checked[checked["corpus_count"] > 0]
    groups = (
        ("verified and supported by the corpus", seen["verified"] & (seen["lift_low"] > 1), COLOURS[0]),
        ("verified only", seen["verified"] & ~(seen["lift_low"] > 1), COLOURS[4]),
        ("not verified", ~seen["verified"], COLOURS[1]),
    )
    with canvas(7.0, 4.2) as drawn:
        axes = drawn.subplots()
        for label, chosen, colour in groups:
            part = seen[chosen]
            axes.scatter(
                part["effect_nats"],
                part["corpus_lift"],
                s=9,
                alpha=0.6,
                color=colour,
                lw=0,
                label=f"{label} ({len(part)})",
            )
        axes.axhline(1, color=GREY, lw=1, ls="--")
        axes.axvline(0, color=GREY, lw=1, ls="--")
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(PLAIN)
        axes.set(xlabel="effect of the attention edge on log p(out) (nats)", ylabel="lift of A … B C over B C alone")
        axes.legend(loc="lower right", fontsize=8, markerscale=2)
    return drawn.svg
