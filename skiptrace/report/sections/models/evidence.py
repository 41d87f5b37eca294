"""Which mined rows hold in the running model and in the corpus."""

from typing import Any

import numpy as np
import pandas as pd

from skiptrace.config.verification import VerificationParams
from skiptrace.evidence.support import Support
from skiptrace.evidence.tables import CHECKED, FUNNEL
from skiptrace.evidence.used import Use
from skiptrace.report.inputs import ModelResult, Study
from skiptrace.report.rendering.document import (
    Cell,
    Example,
    Examples,
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
    PLAIN,
    canvas,
)

LEADING = (50, 200, 1000)  # rows of a ranking that are compared


def evidence(study: Study) -> Section | None:
    """The best rows with their evidence, and the share of each ranking that survives."""
    if study.model.params.n_layers == 0:
        return None
    name, model, settings = study.name, study.model, study.settings
    checked, params = model.evidence, settings.verification
    if checked.empty:
        text = "No row was mined, so none was checked."
        return Section(f"{name}-evidence", f"{name}: which skip-trigrams survive", [text], [])
    matched = model.matched.groupby("heads")["consistent"].mean()
    used, harmful = (
        (model.matched["use"] == word).groupby(model.matched["heads"]).mean() for word in (Use.USED, Use.HARMFUL)
    )
    use = checked["use"].value_counts(normalize=True)
    support = checked["support"].value_counts(normalize=True)
    texts = [
        prose(f"""
            {len(checked):,} mined rows were checked in {params.contexts} constructed contexts each: held-out text that
            ends in the destination, with the source written in before it. The effect is the change in log p(output)
            when the head may not attend from the destination to the source (edge ablation). A row is causally
            consistent when its effect is above zero and above that of {params.null_rows} random rows per head of
            similar frequency (false-discovery rate {params.fdr:.0%}): {checked["consistent"].mean():.1%} are. That
            alone says little, since mined rows are the largest entries of the product that the model computes: of rows
            mined by the same rule from heads whose weights are rotated at random {matched.get("rotated", np.nan):.1%}
            are consistent too, from Gaussian heads {matched.get("gaussian", np.nan):.1%}.
        """),
        prose(f"""
            The training text supports {support.get("supported", 0):.1%} of the rows (A … B C comes more often than B C
            alone predicts, errors clustered by document), contradicts {support.get("contradicted", 0):.1%}, and is too
            small to decide for the others: the model can do what the training text does not show. The effect exceeds
            that at each of {params.other_destinations} other destinations of similar frequency for
            {checked["specific"].mean():.0%} of the rows (chance {1 / (1 + params.other_destinations):.0%}); a row whose
            destination does not matter is a skip-bigram.
        """),
        prose(f"""
            On held-out text as it is, with nothing written in, cutting the edge raises the loss on the true next token
            for {use.get("used", 0):.1%} of the rows (used), lowers it for {use.get("harmful", 0):.1%} (harmful), and
            shows no effect for {use.get("no effect seen", 0):.1%}; the other {use.get("too rare to say", 0):.1%} are
            too rare there to say. Errors are clustered by document, and false discoveries controlled. Of rows mined
            from rotated heads the same measurement calls {used.get("rotated", np.nan):.1%} used and
            {harmful.get("rotated", np.nan):.1%} harmful, of those from Gaussian heads
            {used.get("gaussian", np.nan):.1%} and {harmful.get("gaussian", np.nan):.1%}.
        """),
    ]
    best = checked.sort_values("rank_evidence").head(settings.report.bigrams)
    table = Table(
        prose("""
            The best rows by evidence: p(output) times the share of it that the edge adds. Effect and replaced: change
            in log p(output), in nats, ± standard error, under edge ablation and when the source is replaced by a token
            of similar frequency. Random rows: mean effect ± standard deviation. Lift: count over expected count, with
            its 95 % interval. Loss there: rise of the loss on the true next token, in nats, where the row stands in
            held-out text and its edge is cut.
        """),
        explained(
            (
                *words("Head", "Skip-trigram"),
                *numbers("Effect", "Replaced", "Random rows", "p(out)", "A … B C (expected)", "Lift"),
                *words("Consistent", "On text", "Corpus"),
                *numbers("Loss there"),
                *words("Survives"),
            ),
            CHECKED,
            "- - effect_nats replaced_nats null_mean p_out corpus_count corpus_lift consistent use support used_nats "
            "survives",
        ),
        [_row(r) for r in best.to_dict("records")],
    )

    drawn = figure(
        f"effects_{name}",
        "Effect against lift",
        "To the right of zero the attention edge raises the output token, as the weights say; above the dashed line "
        "the training text has the skip-trigram more often than expected. Colours: what the corpus says; filled where "
        "the row is consistent, ringed in black where it is used on held-out text. Rows that the training text does "
        "not contain are left out.",
        draw_effects,
        checked,
    )
    return Section(
        f"{name}-evidence",
        f"{name}: which skip-trigrams survive",
        texts,
        [_funnel(model, params), table, _rankings(checked), drawn],
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
        f"{row['corpus_count']:,} ({row['corpus_expected']:,.0f})",
        lift if np.isfinite(row["corpus_lift"]) else "–",
        "yes" if row["consistent"] else "no",
        row["use"],
        row["support"],
        f"{row['used_nats']:+.3f} ± {row['used_se']:.3f}" if np.isfinite(row["used_se"]) else "–",
        "yes" if row["survives"] else "no",
    )


def _funnel(model: ModelResult, params: VerificationParams) -> Table:
    """How many rows are left after each test, of trained, rotated and Gaussian heads."""
    steps = model.funnel["step"].drop_duplicates().tolist()
    labels = {"p(out)": f"p(output) ≥ {params.min_p_out:.0%}"}
    if model.evidence["recurs"].isna().all():
        labels["recurring"] = "recurring (no twin was trained)"
    rows: list[tuple[Cell, ...]] = []
    for step in steps:
        each = model.funnel[model.funnel["step"] == step].set_index("heads")
        cells = (f"{each.loc[h, 'rows']:,} ({each.loc[h, 'share']:.1%})" for h in ("trained", "rotated", "gaussian"))
        rows.append((labels.get(step, step), *cells))
    return Table(
        prose(f"""
            Rows left after each test, in this order. Beyond the matched null: the edge adds more probability to the
            output token than the edges of 95 % of the rows mined from rotated heads. Recurring: mined, in any head,
            from a twin model that differs in its seed alone. Rotated heads keep the spectra of W_QK and W_OV and lose
            their directions. Of the model the best {params.rows:,} rows are checked, half by either ranking; of each
            stand-in {params.matched_rows:,} that are spread evenly over as many.
        """),
        explained(
            (*words("Test"), *numbers("Trained heads", "Rotated heads", "Gaussian heads")),
            FUNNEL,
            "step rows rows rows",
        ),
        rows,
    )


def _rankings(checked: pd.DataFrame) -> Table:
    rankings = {"published rule": "rank_published", "expected gain": "rank_expected", "by evidence": "rank_evidence"}
    rows: list[tuple[Cell, ...]] = []
    for label, column in rankings.items():
        for leading in LEADING:
            top = checked[checked[column] <= leading]
            passed = (top["consistent"], top["use"] == Use.USED, top["support"] == Support.SUPPORTED, top["survives"])
            shares = (f"{each.astype(bool).mean():.0%}" if len(top) else "–" for each in passed)
            rows.append((label, f"{leading:,}", *shares))
    return Table(
        "The share of the first rows of each ranking that is consistent, used on text as it is, supported by the "
        "corpus, and that survives. The ranking by evidence uses the results of the check.",
        (*words("Ranking"), *numbers("First rows", "Consistent", "Used", "Supported", "Survive")),
        rows,
    )


def draw_effects(checked: pd.DataFrame) -> str:
    """Causal effect of every checked row against its corpus lift."""
    seen = checked[checked["corpus_count"] > 0]
    groups = (
        ("supported by the corpus", seen["support"] == "supported", COLOURS[0]),
        ("too rare to say", seen["support"] == "too rare to say", COLOURS[4]),
        ("contradicted by the corpus", seen["support"] == "contradicted", COLOURS[1]),
    )
    with canvas(7.0, 4.2) as drawn:
        axes = drawn.subplots()
        for label, chosen, colour in groups:
            part = seen[chosen]
            consistent, used = part["consistent"].astype(bool), (part["use"] == Use.USED).to_numpy()
            axes.scatter(
                part["effect_nats"],
                part["corpus_lift"],
                s=9 + 11 * used,
                alpha=0.6,
                facecolors=[colour if each else "none" for each in consistent],
                edgecolors=["black" if each else colour for each in used],
                lw=0.6,
            )
            axes.scatter([], [], s=9, color=colour, label=f"{label} ({len(part)})")
        axes.axhline(1, color=GREY, lw=1, ls="--")
        axes.axvline(0, color=GREY, lw=1, ls="--")
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(PLAIN)
        axes.set(xlabel="effect of the attention edge on log p(output) (nats)", ylabel="lift of A … B C over B C alone")
        axes.legend(loc="lower right", fontsize=8, markerscale=2)
    return drawn.svg
