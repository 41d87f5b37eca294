"""What a run found, in a few numbers, and beside what the papers found."""

from collections.abc import Iterator

from skiptrace.config.dictionaries import ToyDictionaryParams
from skiptrace.report.composition_figures import PAPER_TERMS_TOLD
from skiptrace.report.document import Cell, Finding, Findings, Link, Table, words
from skiptrace.report.inputs import ModelResult, Results, Settings
from skiptrace.report.metrics import best_knockout, in_context_learning, metrics


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
                f"of the planted skip-trigrams of model {name} are among its {_planted(models[name])} top-ranked "
                "rows, as "
                f"many as were planted; the best ranking by counting in the corpus alone, without a model, finds "
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
                f"the best previous-token head before it, is cut ({knockout.change:+.2f} ± {knockout.change_se:.2f}).",
                Link(f"{name}: induction heads", f"{name}-induction"),
            )
    for name, model in models.items():
        if model.params.n_layers > 0 and model.truth.empty:
            yield Finding(
                f"≤ {model.bill:.4f} nats",
                f"per token is a bound on what the {_unsupported(model):,} checked rows of model {name} that the "
                "training text "
                f"does not support cost together, out of a loss of {model.valid_loss:.3f}; other cells are not "
                "bounded.",
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


def published(results: Results, settings: Settings) -> Table:
    """What the papers say, what this run measured, and what chance or a baseline gives."""
    rows: list[tuple[Cell, ...]] = []
    for name, model in results.models.items():
        if model.truth.empty:
            rows += _of_model(name, model, results, settings)
    rows += _of_superposition(results)
    return Table(
        "What the papers found and what this run found, each beside what chance or a baseline gives. The models of "
        "the papers differ in size, text and training: twelve heads of 64 a layer, contexts of 2,048, some 50,000 "
        "tokens. Numbers that differ are no contradiction; the kinds of heads are what to compare.",
        words("Question", "Papers", "This run", "Beside it", "Evidence"),
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
            "nearly the bigram log-likelihood",
            f"{model.valid_loss:.3f} nats{known}",
            f"smoothed bigram {numbers['bigram_loss']:.3f} nats"
            + (f"; unigram correlation {chance:.2f}" if chance is not None else ""),
            Link("bigrams", f"{name}-bigrams"),
        )
        return
    heads, first = model.heads, model.heads.iloc[0]
    if layers == 1:
        yield (
            f"{name}: how many heads copy?",
            "10 of 12",
            f"{numbers['copying_heads']} of {len(heads)}",
            f"random heads score {first['copying_null_mean']:z.2f} ± {first['copying_null_sd']:.2f}",
            Link("heads", f"{name}-heads"),
        )
        yield (
            f"{name}: how many are primarily positional?",
            "2 of 12",
            f"{numbers['positional_heads']} of {len(heads)}",
            f"random heads' position share {first['position_share_null_mean']:.2f}",
            Link("positional heads", f"{name}-positional"),
        )
        yield (
            f"{name}: what do skip-trigram bugs cost?",
            "not measured",
            f"at most {model.bill:.4f} nats",
            f"loss {model.valid_loss:.3f} nats",
            Link("bugs", f"{name}-bugs"),
        )
    if layers == 2:
        yield from _of_two_layers(name, model, numbers)


def _of_two_layers(name: str, model: ModelResult, numbers: dict[str, float]) -> Iterator[tuple[Cell, ...]]:
    pairs = model.composed.composition
    kinds = pairs[pairs["significant"]]["kind"].value_counts()
    yield (
        f"{name}: how do heads compose?",
        "K alone, with one head of layer 0",
        ", ".join(f"{kinds.get(kind, 0)} {kind}" for kind in "KQV") + f" of {len(pairs)}",
        "beyond random and turned weights",
        Link("composition", f"{name}-composition"),
    )
    matching = model.composed.induction["prefix_matching_uniform"].max()
    yield (
        f"{name}: are there induction heads?",
        "6 clear ones of 12",
        f"{numbers['induction_heads']} of {model.params.n_heads}; prefix matching up to "
        f"{numbers['prefix_matching_max']:.2f}",
        f"even attention {matching:.2f}",
        Link("induction heads", f"{name}-induction"),
    )
    orders = model.composed.terms.query("scope == 'order'")
    for r in orders.itertuples():
        if r.order in PAPER_TERMS_TOLD:
            what = ("the direct path", "single heads", "virtual heads")[r.order]
            yield (
                f"{name}: what is {what} worth?" if r.order == 0 else f"{name}: what are {what} worth?",
                PAPER_TERMS_TOLD[r.order],
                f"{r.added:.2f} nats",
                f"± {r.added_se:.3f} over contexts" + (f"; {r.paths} of them" if r.paths > 1 else ""),
                Link("term importance", f"{name}-terms"),
            )
    yield (
        f"{name}: does it learn within the context?",
        "loss falls along the context",
        f"{in_context_learning(model):+.2f} nats late in the context against early",
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
            "theory and training alike",
            f"{two['agrees'].mean():.1%} of {len(two)} cells",
            f"{commonest:.0%} by naming the commonest phase",
            Link("phase diagrams", "superposition-phase"),
        )
    for name, dictionary in results.dictionaries.items():
        if isinstance(dictionary.params, ToyDictionaryParams):
            continue
        shown = dictionary.sweep[dictionary.sweep["penalty"] == dictionary.params.shown].iloc[0]
        yield (
            f"dictionary {name}: how much of the loss survives?",
            "79% with 4,096 features",
            f"{shown['loss_recovered']:.0%} at {shown['l0']:.1f} features a token",
            f"{shown['pca_recovered']:.0%} by as many principal components",
            Link("sparse autoencoders", f"dictionary-{name}"),
        )
