"""What a run found, in a few numbers."""

from collections.abc import Iterator

from skiptrace.report.inputs import Results, Settings
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
    for name, numbers in metrics(results)["models"].items():
        scores = numbers.get("skip_trigrams")
        if scores:
            where = Link(f"{name}: against planted truth", f"{name}-truth")
            yield Finding(
                f"{scores['recall']:.0%}",
                f"of the skip-trigrams planted in the corpus of model {name} are among as many first rows, ranked by "
                f"evidence; {scores['precision']:.0%} of those rows are planted ones.",
                where,
            )
    for name, model in models.items():
        if len(model.evidence) and model.truth.empty:
            effect = model.evidence["effect_nats"].median()
            yield Finding(
                f"{model.evidence['verified'].mean():.1%}",
                f"of the {len(model.evidence):,} skip-trigrams checked hold in the running model {name}: in the "
                f"median, cutting the attention edge costs the out {effect:.2f} nats, more than random "
                f"rows of like frequency cost it (false-discovery rate {settings.verification.fdr:.0%}).",
                Link(f"{name}: evidence", f"{name}-evidence"),
            )
    for name, model in models.items():
        knockout = best_knockout(model)
        if knockout is not None:
            yield Finding(
                f"{knockout.intact:.2f} → {knockout.without:.2f}",
                f"prefix matching of the induction head {knockout.induction} of model {name} when {knockout.before}, "
                f"the best previous-token head before it, is cut ({knockout.change:+.2f} ± {knockout.change_se:.2f}).",
                Link(f"{name}: induction heads", f"{name}-induction"),
            )
    for name, model in models.items():
        if model.params.n_layers > 0 and model.truth.empty:
            yield Finding(
                f"≤ {model.bill:.4f} nats",
                f"per token is the most that mending all unsupported skip-trigrams of model {name} could bring, out of "
                f"a loss of {model.valid_loss:.3f}.",
                Link(f"{name}: bugs", f"{name}-bugs"),
            )
    if results.superposition:
        cells = results.superposition["phase"]
        two = cells[cells["n"] == 2]
        yield Finding(
            f"{two['agrees'].mean():.1%}",
            f"of {len(two)} cells of the phase diagram of two features come out of training as exact theory has them.",
            Link("phase diagrams", "superposition-phase"),
        )
