"""What a model says beside what rules that are counted in the text say, along its training."""

import math

import pandas as pd

from skiptrace.report.inputs import Study
from skiptrace.report.intervals import share
from skiptrace.report.published import NGRAMS, RULES
from skiptrace.report.rendering.document import Block, Cell, Section, Table, explained, numbers, prose, words
from skiptrace.report.rendering.failures import figure
from skiptrace.report.rendering.figures import COLOURS, GREY, PLAIN, canvas
from skiptrace.rules.tables import CLOSEST, CLOSEST_NGRAM, SHARES, TEXT

# Rules that are drawn: their colours and markers.
DRAWN = {
    CLOSEST: (COLOURS[6], "D"),
    "backoff n-gram": (COLOURS[0], "o"),
    "2-gram": (COLOURS[5], "s"),
    "skip-trigram": (COLOURS[2], "^"),
    "induction": (COLOURS[1], "v"),
}
SAID = {
    "backoff n-gram": "n-gram, the longest context that the training text has",
    "skip-trigram": "skip-trigram of the text, the surest",
    "copy": "skip-trigram that says its source",
    "mined row": "mined row, the first that applies",
    "induction": "induction: what followed the token last time",
    "induction of pairs": "induction: what followed the last two last time",
    CLOSEST_NGRAM: "closest n-gram of one to five tokens",
    CLOSEST: "closest of all these rules",
    TEXT: "what the text says",
}


def rules(study: Study) -> Section | None:
    """How often the model says what rules of the corpus say, beside exchanged predictions."""
    found = study.model.rules
    if found is None or study.model.params.n_layers == 0:
        return None
    name = study.name
    last = found[found["step"] == found["step"].max()].set_index("rule")
    blocks: list[Block] = []
    if found["step"].nunique() > 1:
        blocks.append(
            figure(
                f"rules_{name}",
                "What rules say, along the training",
                "Share of places at which the model's likeliest next token is what the rule says, of those at which it "
                "says anything, against the tokens that training had seen; bands are 95 % intervals, clustered by "
                "context. Dashed: the same with predictions exchanged at random between places of one current token, "
                "which keep what that token says and nothing else of the context. What to see: the gap between a line "
                "and its dashes is the context that rule and model share; which rule opens it first.",
                draw_rules,
                found,
            )
        )
    blocks.append(_table(last))
    return Section(
        f"{name}-rules", f"{name}: what counts of the text say too", _said(last, _without_attention(study)), blocks
    )


def _without_attention(study: Study) -> str:
    """What a model without layers reaches that reads the same text: one that knows the current token alone."""
    for name, model in study.results.models.items():
        same = model.params.corpus == study.model.params.corpus and model.params.n_layers == 0
        if same and model.rules is not None:
            row = model.rules.set_index("rule").loc[[CLOSEST]].iloc[-1]
            return (
                f" {name}, a model without attention that reads the same text, reaches {row['agrees']:.0%}, and "
                f"{row['chance']:.0%} exchanged: without its null this share says nothing of context."
            )
    return ""


def _said(last: pd.DataFrame, bare: str) -> list[str]:
    whole, ngram = last.loc[CLOSEST], last.loc[CLOSEST_NGRAM]
    return [
        prose(f"""
            At {share(*_interval(whole, "agrees"))} of {int(whole["places"]):,} places of held-out text the model's
            likeliest next token is what a rule says that is counted in the training text, or read in the context: at
            each place the rule whose distribution is closest to the model's. {NGRAMS.link} finds {RULES} on TinyStories
            in this way. The rule is chosen after the prediction is seen, so part of that is the choice: of predictions
            exchanged at random between places of one current token, which know nothing else of the context, the
            closest rule says {whole["chance"]:.0%}; exchanged with the place nearest in position
            {whole["chance_position"]:.0%}. What is left, {100 * whole["ahead"]:.0f} points
            [{100 * whole["ahead_low"]:.0f}, {100 * whole["ahead_high"]:.0f}], is context that the rules and the model
            both follow{_verdict(whole)}.{bare} With n-grams alone {ngram["agrees"]:.0%} (exchanged
            {ngram["chance"]:.0%}).
        """),
        prose(f"""
            The two numbers are not one measure. His rules are n-grams of up to seven tokens of context, with any of
            them left out; here they are n-grams of up to five tokens, one skip-trigram, copying, one mined row and two
            of induction. His models are larger and read other text, and he reports no exchange. {_induction(last)}
        """),
    ]


def _interval(row: pd.Series, name: str) -> tuple[float, float, float]:
    return float(row[name]), float(row[f"{name}_low"]), float(row[f"{name}_high"])


def _verdict(row: pd.Series) -> str:
    return "" if row["ahead_low"] > 0 else ", which is not shown to be any"


def _induction(last: pd.DataFrame) -> str:
    """What models say where the text has repeated itself."""
    row = last.loc["induction"]
    if not row["applies"]:
        return ""
    return (
        f"Where the current token has stood in the document before, at {row['applies']:.0%} of places, the model says "
        f"what followed it last time at {row['agrees']:.0%} (exchanged {row['chance']:.0%}), and the text at "
        f"{row['right']:.0%}; where the text does not, the model still does at {row['wrong']:.0%} (exchanged "
        f"{row['wrong_chance']:.0%})."
    )


def _table(last: pd.DataFrame) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for r in last.reset_index().itertuples():
        ahead = [100 * value for value in (r.ahead, r.ahead_low, r.ahead_high)]
        rows.append(
            (
                SAID.get(r.rule, r.rule),
                f"{r.applies:.0%}",
                *(_percent(value) for value in (r.agrees, r.chance, r.chance_position)),
                "{:+.1f} [{:+.1f}, {:+.1f}]".format(*ahead) if all(map(math.isfinite, ahead)) else "–",
                *(_percent(value) for value in (r.right, r.wrong, r.wrong_chance, r.closest)),
            )
        )
    return Table(
        "Rules and the whole model. Applies: share of places at which the rule says something; all that follows is of "
        "these. Agrees: the model's likeliest token is the rule's. Exchanged: the same of predictions of other places "
        "with the same current token, at random and nearest in position; ahead: agreement less the latter, points with "
        "its 95 % interval. Text: how often the text says what the rule says. Wrong too: where it does not, how often "
        "the model says it, and exchanged predictions do. Closest: share of places at which it is the closest rule.",
        explained(
            (
                *words("Rule"),
                *numbers("Applies", "Agrees", "Exchanged", "By position", "Ahead"),
                *numbers("Text", "Wrong too", "Exchanged ", "Closest"),
            ),
            SHARES,
            "rule applies agrees chance chance_position ahead right wrong wrong_chance closest",
        ),
        rows,
    )


def _percent(value: float) -> str:
    return f"{value:.1%}" if math.isfinite(value) else "–"


def draw_rules(found: pd.DataFrame) -> str:
    """Agreement with each rule against tokens seen, with its interval and its null."""
    with canvas(7.2, 4.4) as drawn:
        axes = drawn.subplots()
        for rule, (colour, marker) in DRAWN.items():
            rows = found[found["rule"] == rule].sort_values("tokens")
            if rows["agrees"].isna().all():
                continue
            seen = rows["tokens"] / 1e6
            axes.plot(seen, rows["agrees"], color=colour, marker=marker, ms=4, lw=1.6, label=SAID.get(rule, rule))
            axes.fill_between(seen, rows["agrees_low"], rows["agrees_high"], color=colour, alpha=0.15, lw=0)
            axes.plot(seen, rows["chance"], color=colour, lw=1.1, ls="--")
        axes.plot([], [], color=GREY, lw=1.1, ls="--", label="with predictions exchanged")
        axes.set(xscale="log", xlabel="training tokens (millions, logarithmic)", ylabel="share of places")
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_formatter(PLAIN)
        drawn.legend(fontsize=8, loc="outside lower center", ncols=2)
    return drawn.svg
