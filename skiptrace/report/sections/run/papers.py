"""What the papers found, beside what this run found."""

from collections.abc import Iterator

from skiptrace.config.dictionaries import ToyDictionaryParams
from skiptrace.report import published
from skiptrace.report.inputs import ModelResult, Results, Settings
from skiptrace.report.intervals import estimate, with_error
from skiptrace.report.metrics import NORMAL, late_against_early, loss_error, metrics
from skiptrace.report.rendering.document import (
    Cell,
    Link,
    Table,
    words,
)


def beside_the_papers(results: Results, settings: Settings) -> Table:
    """What the papers say, what this run measured, and what chance or a baseline gives."""
    rows: list[tuple[Cell, ...]] = []
    for name, model in results.models.items():
        if model.truth.empty:
            rows += _of_model(name, model, results, settings)
    rows += _of_superposition(results)
    return Table(
        "What the papers found and what this run found, each beside what chance or a baseline gives. The models of the "
        "papers differ in size, text and training: twelve heads of 64 a layer, contexts of 2,048, some 50,000 tokens. "
        "Numbers that differ are no contradiction; the kinds of heads are what to compare.",
        words("Question", "Papers", "This run", "For comparison", "Evidence"),
        rows,
    )


def _of_model(name: str, model: ModelResult, results: Results, settings: Settings) -> Iterator[tuple[Cell, ...]]:
    numbers, layers = metrics(results, settings.verification.min_p_out)["models"][name], model.params.n_layers
    if layers == 0:
        correlation = numbers.get("bigram_rank_correlation")
        known = f"; rank correlation {correlation:.2f}" if correlation is not None else ""
        chance = numbers.get("bigram_rank_correlation_unigram")
        yield (
            f"{name}: do zero layers learn bigrams?",
            published.BIGRAMS,
            f"{with_error(model.valid_loss, NORMAL * loss_error(model))} nats{known}",
            f"smoothed bigram {numbers['bigram_loss']:.3f} nats"
            + (f"; unigram correlation {chance:.2f}" if chance is not None else ""),
            Link("bigrams", f"{name}-bigrams"),
        )
        return
    if "rules" in numbers:
        said = numbers["rules"]
        yield (
            f"{name}: how many predictions do counts of the text give too?",
            f"{published.RULES}, chosen after the prediction is seen",
            f"{said['closest']:.0%}, chosen likewise",
            f"{said['closest_null']:.0%} for predictions of other places with the same current token",
            Link("rules of the corpus", f"{name}-rules"),
        )
    heads, first = model.heads, model.heads.iloc[0]
    if layers == 1:
        yield (
            f"{name}: how many heads copy?",
            published.COPYING_HEADS,
            f"{numbers['copying_heads']} of {len(heads)}",
            f"random heads score {first['copying_null_mean']:z.2f} ± {first['copying_null_sd']:.2f}",
            Link("heads", f"{name}-heads"),
        )
        yield (
            f"{name}: how many are primarily positional?",
            published.POSITIONAL_HEADS,
            f"{numbers['positional_heads']} of {len(heads)}",
            f"random heads' position share {first['position_share_null_mean']:.2f}",
            Link("positional heads", f"{name}-positional"),
        )
        yield (
            f"{name}: what do skip-trigram bugs cost?",
            published.BUGS,
            _crossings(model),
            _bounded(model),
            Link("bugs", f"{name}-bugs"),
        )
    if layers == 2:
        yield from _of_two_layers(name, model, numbers)


def _crossings(model: ModelResult) -> str:
    cost = model.cost("crossings")
    return "no crossed pair was found" if cost is None else f"{estimate(cost)} where a crossing applies"


def _bounded(model: ModelResult) -> str:
    bound = model.cost("bound: contradicted entries")
    known = "" if bound is None else f"all entries that the text contradicts: at most {estimate(bound)} per token; "
    return f"{known}loss {model.valid_loss:.3f} nats"


def _of_two_layers(name: str, model: ModelResult, numbers: dict[str, float]) -> Iterator[tuple[Cell, ...]]:
    pairs = model.composed.composition
    kinds = pairs[pairs["significant"]]["kind"].value_counts()
    yield (
        f"{name}: how do heads compose?",
        published.COMPOSITION,
        f"{kinds.sum()} of {len(pairs)} head pairs: "
        + ", ".join(
            f"{kinds.get(k, 0)} through {what}" for k, what in zip("KQV", ("keys", "queries", "values"), strict=True)
        ),
        "beyond random and rotated weights",
        Link("composition", f"{name}-composition"),
    )
    matching = model.composed.induction["prefix_matching_uniform"].max()
    yield (
        f"{name}: are there induction heads?",
        published.INDUCTION_HEADS,
        f"{numbers['induction_heads']} of {model.params.n_heads}; prefix matching up to "
        f"{numbers['prefix_matching_max']:.2f}",
        f"uniform attention {matching:.2f}",
        Link("induction heads", f"{name}-induction"),
    )
    orders = model.composed.terms.query("scope == 'order'")
    for r in orders.itertuples():
        if r.order in published.TERMS:
            what = ("the direct path", "single heads", "virtual heads")[r.order]
            yield (
                f"{name}: what is {what} worth?" if r.order == 0 else f"{name}: what are {what} worth?",
                str(published.TERMS[r.order]),
                f"{r.added:.2f} nats",
                f"± {r.added_se:.3f} over contexts" + (f"; {r.paths} of them" if r.paths > 1 else ""),
                Link("term importance", f"{name}-terms"),
            )
    yield (
        f"{name}: does it learn within the context?",
        published.IN_CONTEXT_LEARNING,
        late_against_early(model, 2),
        "a bigram model: 0",
        Link("induction heads", f"{name}-induction"),
    )


def _of_superposition(results: Results) -> Iterator[tuple[Cell, ...]]:
    if results.superposition:
        cells = results.superposition["phase"]
        two = cells[cells["n"] == 2]
        commonest = two["expected"].value_counts(normalize=True).iloc[0]
        yield (
            "superposition: does training follow the exact phase diagram?",
            published.PHASES,
            f"{two['agrees'].mean():.1%} of {len(two)} cells",
            f"{commonest:.0%} by always naming the most common phase",
            Link("phase diagrams", "superposition-phase"),
        )
    for name, dictionary in results.dictionaries.items():
        if isinstance(dictionary.params, ToyDictionaryParams):
            continue
        shown = dictionary.shown.iloc[0]
        yield (
            f"dictionary {name}: how much of what heads add survives?",
            "another site and baseline",
            f"{shown['loss_recovered']:.0%} at {shown['l0']:.1f} features a token",
            f"{shown['token_mean_recovered']:.0%} by the mean for the current token, {shown['pca_recovered']:.0%} "
            "by as many "
            "principal components",
            Link("sparse autoencoders", f"dictionary-{name}"),
        )
