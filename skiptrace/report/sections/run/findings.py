"""What a run found, in a few numbers."""

from collections.abc import Iterator

from skiptrace.report.inputs import ModelResult, Results, Settings
from skiptrace.report.metrics import best_knockout, metrics
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
                f"{checked['survives'].mean():.1%}",
                f"of the {len(checked):,} mined skip-trigrams of model {name} that were checked pass every test: the "
                "edge adds more to p(output) than those of 95% of the rows mined from rotated heads, p(output) is at "
                f"least {settings.verification.min_p_out:.0%}, the training text supports the row{twin}. Of rows mined "
                f"from rotated heads {left['rotated']:.1%} pass. Being causally consistent says little: "
                f"{checked['consistent'].mean():.1%} of the rows are, and {_consistent(model, 'rotated'):.1%} of those "
                "from rotated heads.",
                Link(f"{name}: evidence", f"{name}-evidence"),
            )
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
        if model.params.n_layers > 0 and model.truth.empty:
            yield Finding(
                f"≤ {model.bill:.4f} nats",
                f"per token is an upper bound on the total cost of the {_unsupported(model):,} checked rows of model "
                f"{name} that the training text does not support, out of a loss of {model.valid_loss:.3f}; other "
                "cells are not bounded.",
                Link(f"{name}: bugs", f"{name}-bugs"),
            )
    if results.superposition:
        cells = results.superposition["phase"]
        two = cells[cells["n"] == 2]
        yield Finding(
            f"{two['agrees'].mean():.1%}",
            f"of {len(two)} cells of the phase diagram of two features match exact theory after training.",
            Link("phase diagrams", "superposition-phase"),
        )


def _unsupported(model: ModelResult) -> int:
    return int((model.evidence["support"] != "supported").sum())


def _planted(model: ModelResult) -> int:
    return int(model.truth.loc[model.truth["kind"] == "skip_trigrams", "planted"].iloc[0])


def _consistent(model: ModelResult, heads: str) -> float:
    """The share of rows mined from stand-ins of the heads that are causally consistent."""
    return float(model.matched.loc[model.matched["heads"] == heads, "consistent"].mean())
