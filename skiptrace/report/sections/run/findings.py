"""What a run found, in a few numbers."""

import math
from collections.abc import Iterator

from skiptrace.report.inputs import ModelResult, Results, Settings
from skiptrace.report.intervals import estimate, share
from skiptrace.report.metrics import account, best_knockout, by_source, metrics, recovered, salience_left
from skiptrace.report.rendering.document import (
    Finding,
    Findings,
    Link,
)


def findings(results: Results, settings: Settings) -> Findings:
    """The headlines, as far as the models of this run allow any."""
    return Findings(tuple(_findings(results, settings)))


def _findings(results: Results, settings: Settings) -> Iterator[Finding]:
    models = results.models
    for name, numbers in metrics(results, settings.verification.min_p_out)["models"].items():
        scores = numbers.get("skip_trigrams")
        if scores:
            where = Link(f"{name}: against planted truth", f"{name}-truth")
            yield Finding(
                f"{scores['recall']:.0%}",
                f"of the planted skip-trigrams of model {name} are among its {_planted(models[name])} top-ranked rows, "
                "as many as were planted; the best ranking by counting in the corpus alone, without a model, finds "
                f"{scores['best_baseline']:.0%}.",
                where,
            )
    for name, model in models.items():
        if len(model.evidence) and model.truth.empty:
            checked = model.evidence
            left = model.funnel[model.funnel["step"] == model.funnel["step"].iloc[-1]].set_index("heads")["share"]
            twin = ", and the row recurs with another seed" if checked["recurs"].notna().any() else ""
            yield Finding(
                share(checked["survives"].mean(), *by_source(checked, "survives")),
                f"of the {len(checked):,} mined skip-trigrams of model {name} that were checked pass every test: the "
                "edge adds more to p(output) than those of 95% of the rows mined from rotated heads, p(output) is at "
                f"least {settings.verification.min_p_out:.0%}, the training text supports the row{twin}. Of rows mined "
                f"from rotated heads {left['rotated']:.1%} pass. Being causally consistent says little: "
                f"{checked['consistent'].mean():.1%} of the rows are, and {_consistent(model, 'rotated'):.1%} of those "
                "from rotated heads.",
                Link(f"{name}: evidence", f"{name}-evidence"),
            )
    for name, model in models.items():
        if model.params.n_layers > 0 and model.truth.empty and math.isfinite(salience_left(model)):
            yield _accounted(name, model)
    for name, model in models.items():
        knockout = best_knockout(model)
        if knockout is not None:
            yield Finding(
                f"{knockout.intact:.2f} → {knockout.without:.2f}",
                f"prefix matching of the induction head {knockout.induction} of model {name} when {knockout.before}, "
                f"the best previous-token head before it, is ablated ({knockout.change:+.2f} ± "
                f"{knockout.change_se:.2f}).",
                Link(f"{name}: induction heads", f"{name}-induction"),
            )
    for name, model in models.items():
        cost = model.cost("crossings")
        if cost is not None and model.truth.empty:
            yield Finding(
                estimate(cost),
                f"is what a skip-trigram bug of model {name} costs where it applies: the mean over "
                f"{cost['entries']} crossings of {len(model.bugs)} pairs of supported rows, none of them supported by "
                f"the training text, with errors clustered by document.{_bounds(model)}",
                Link(f"{name}: bugs", f"{name}-bugs"),
            )
    if results.superposition:
        cells = results.superposition["phase"]
        two = cells[cells["n"] == 2]
        yield Finding(
            f"{two['agrees'].mean():.1%}",
            f"of {len(two)} cells of the phase diagram of two features match the exact optimum, in weights and biases, "
            "after training.",
            Link("phase diagrams", "superposition-phase"),
        )


def _accounted(name: str, model: ModelResult) -> Finding:
    """What attention adds, and how much of it needs no interaction of tokens."""
    numbers, left = account(model), salience_left(model)
    shares, mined = recovered(model), numbers.get("table_rows")
    largest = max((n for n in shares if n <= 10_000), default=None)
    entries = (
        f" Of what the interactions add, the mined rows shown first recover {mined:.1%}; {largest:,} entries of QK and "
        f"of OV, chosen for the loss they save, {shares[largest]:.0%}."
        if largest is not None and mined is not None
        else ""
    )
    return Finding(
        f"{left:.0%}",
        f"of the {numbers['direct'] - numbers['whole']:.2f} nats per token that attention adds to the direct path of "
        f"model {name} is left when attention scores are a sum of one number for the destination and one for the "
        f"source, so that no token looks for another.{entries}",
        Link(f"{name}: what attention adds", f"{name}-account"),
    )


def _bounds(model: ModelResult) -> str:
    """What bounds the cost of the rows that were checked and of all entries."""
    rows, entries = model.cost("bound: unsupported rows"), model.cost("bound: contradicted entries")
    if rows is None or entries is None:
        return ""
    return (
        f" The {rows['entries']:,} checked rows that are not supported cost at most {estimate(rows)} per token "
        f"together; all entries that the training text contradicts, at most {estimate(entries)}, of a loss of "
        f"{model.valid_loss:.3f}."
    )


def _planted(model: ModelResult) -> int:
    return int(model.truth.loc[model.truth["kind"] == "skip_trigrams", "planted"].iloc[0])


def _consistent(model: ModelResult, heads: str) -> float:
    """The share of rows mined from stand-ins of the heads that are causally consistent."""
    return float(model.matched.loc[model.matched["heads"] == heads, "consistent"].mean())
