"""What a run found: one answer to each question of the report, with text that shows it."""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd

from skiptrace.account.readable import Kind, kind
from skiptrace.circuits.cutoffs import own_first
from skiptrace.config.dictionaries import ModelDictionaryParams
from skiptrace.evidence.support import Positions
from skiptrace.evidence.used import Use
from skiptrace.report import excerpts
from skiptrace.report.grammars import control
from skiptrace.report.inputs import ModelResult, Study
from skiptrace.report.intervals import bracketed, share
from skiptrace.report.metrics import NORMAL, account, by_source, recovered, salience_left
from skiptrace.report.rendering.document import Excerpt, Finding, Findings, Link
from skiptrace.report.sections.run.corpora import described
from skiptrace.report.targets import best_knockout

SITES = {"residual": "residual stream", "heads": "output of the heads"}
TRIED = 200  # rows among which one is looked for that the held-out text has


def findings(study: Study) -> Findings:
    """One answer to each question, as far as the models of this run allow it."""
    return Findings(tuple(found for ask in QUESTIONS if (found := ask(study)) is not None))


def zero_layers(study: Study) -> Finding | None:
    """How near a model without attention comes to the bigrams of the corpus."""
    name = chosen(study, lambda m: m.params.n_layers == 0)
    if name is None:
        return None
    model = study.results.models[name]
    known = model.agreement.dropna(subset=["spearman"])
    if known.empty:
        return None
    corpus = study.results.corpora[model.params.corpus]
    return Finding(
        "Without attention a transformer is a table of bigrams",
        _mean(known["spearman"]),
        f"rank correlation of its next-token order with the text, over {len(known)} frequent tokens; its loss is "
        f"{model.valid_loss:.2f} nats per token",
        f"by token frequency alone {known['spearman_unigram'].mean():.2f}; a smoothed bigram model's loss is "
        f"{corpus.bigram_loss:.2f}",
        _bigram(study, model),
        Link("bigrams", f"{name}-bigrams"),
    )


def attention(study: Study) -> Finding | None:
    """What attention adds, and how much of it needs no interaction of tokens."""
    name = chosen(study, lambda m: m.params.n_layers == 1 and math.isfinite(account(m)["direct"]))
    name = name or chosen(study, lambda m: m.params.n_layers > 0 and math.isfinite(account(m)["direct"]))
    if name is None:
        return None
    model = study.results.models[name]
    rungs = model.accounted.ladder.query("layers == 'all'").set_index("rung")
    gain, error = rungs.loc["direct path", "lost"], NORMAL * rungs.loc["direct path", "lost_se"]
    numbers, shares, mined = account(model), recovered(model), account(model).get("table_rows")
    largest = max((n for n in shares if n <= 10_000), default=None)
    ngrams = study.results.corpora[model.params.corpus].ngram_losses
    trigrams, longest = ngrams[2], ngrams[-1]
    entries = (
        f"; of the rest the first mined rows recover {mined:.1%}, {largest:,} entries chosen by loss "
        f"{shares[largest]:.0%}"
        if largest is not None and mined is not None
        else ""
    )
    adds = gain - error > 0  # else there is nothing to have shares of
    return Finding(
        f"{salience_left(model):.0%} of what attention adds needs no matching of tokens"
        if adds
        else f"Attention is not shown to add anything to model {name}",
        bracketed(gain, gain - error, gain + error, "nats"),
        f"per token is what attention adds to model {name}; that share is left when every attention score is one "
        f"number for the source plus one for the destination{entries}"
        if adds
        else "per token is what the loss rises without any head",
        f"loss {numbers['direct']:.2f} without heads, {numbers['whole']:.2f} with them; smoothed trigrams "
        f"{trigrams:.2f}, 5-grams {longest:.2f}",
        _example(study, model, 0),
        Link("what attention adds", f"{name}-account"),
    )


def skip_trigrams(study: Study) -> Finding | None:
    """How many mined rows pass every test."""
    name = chosen(study, lambda m: m.params.n_layers == 1 and len(m.evidence) > 0)
    name = name or chosen(study, lambda m: len(m.evidence) > 0)
    if name is None:
        return None
    model = study.results.models[name]
    checked = model.evidence
    left = model.funnel[model.funnel["step"] == model.funnel["step"].iloc[-1]].set_index("heads")["share"]
    surviving = checked[checked["survives"]].sort_values("rank_evidence")
    return Finding(
        f"Of {len(checked):,} skip-trigrams read from the weights, {int(checked['survives'].sum())} pass every test",
        share(checked["survives"].mean(), *by_source(checked, "survives")),
        "of those checked: consistent, their attention edge moves the model, and supported by the training text"
        + (", and a model of another seed has them" if checked["recurs"].notna().any() else "")
        + f"; {int((surviving['use'] == Use.USED).sum())} of them are also used in held-out text as it is",
        f"of rows from rotated heads {left['rotated']:.1%}{_planted(study)}".replace(" 0.0%", " none"),
        _example(study, model, 1, surviving),
        Link("evidence", f"{name}-evidence"),
    )


def heads(study: Study) -> Finding | None:
    """How many heads copy."""
    name = chosen(study, lambda m: m.params.n_layers == 1)
    name = name or chosen(study, lambda m: m.params.n_layers > 0)
    if name is None:
        return None
    model = study.results.models[name]
    own = max(own_first(model.heads, model.d_vocab).itertuples(), key=lambda head: head.share)
    copying = int(model.heads["copies"].sum())
    return Finding(
        f"{copying} of {len(model.heads)} heads copy: what they attend to becomes likelier",
        share(own.share, own.low, own.high),
        f"of all tokens raise themselves most in {own.name}, the head that copies most tokens",
        f"chance {1 / model.d_vocab:.2%}; a copying score {study.settings.scoring.null_sd:g} standard deviations above "
        "random heads counts",
        _copy(study, model),
        Link("heads", f"{name}-heads"),
    )


def composition(study: Study) -> Finding | None:
    """Whether the best induction head needs the best previous-token head."""
    name = chosen(study, lambda m: best_knockout(m) is not None)
    if name is None:
        return None
    model = study.results.models[name]
    cut = best_knockout(model)
    assert cut is not None
    uniform = model.composed.induction["prefix_matching_uniform"].max()
    error = NORMAL * cut.change_se
    read = described(model.params.corpus, study.results.corpora[model.params.corpus])
    return Finding(
        f"{cut.before} makes {cut.induction} an induction head: it repeats what came next"
        if cut.change + error < 0
        else f"No head is shown to make another an induction head: {cut.induction} does without {cut.before}",
        f"{cut.intact:.2f} → {cut.without:.2f}",
        f"of its attention is on what followed earlier occurrences, with {cut.before} and without it: a change of "
        f"{bracketed(cut.change, cut.change - error, cut.change + error)}; model {name} reads {read}",
        f"uniform attention {uniform:.2f}",
        _induction(study, model, cut.induction),
        Link("induction heads", f"{name}-induction"),
    )


def features(study: Study) -> Finding | None:
    """What sparse features keep of the loss."""
    for name, dictionary in study.results.dictionaries.items():
        if isinstance(dictionary.params, ModelDictionaryParams) and len(dictionary.shown):
            shown = dictionary.shown.iloc[0]
            return Finding(
                f"{shown['l0']:.0f} sparse features keep {shown['loss_recovered']:.0%} of the "
                f"{SITES.get(shown['site'], shown['site'])}",
                _recovered(shown),
                f"of the loss between mean ablation and the model, with {shown['l0']:.1f} entries of a dictionary at "
                f"each token in place of the {SITES.get(shown['site'], shown['site'])}",
                f"the mean for the current token alone {shown['token_mean_recovered']:.0%}, as many principal "
                f"components {shown['pca_recovered']:.0%}",
                _feature(dictionary.contexts),
                Link("sparse autoencoders", f"dictionary-{name}"),
            )
    return None


QUESTIONS = (zero_layers, attention, skip_trigrams, heads, composition, features)


def chosen(study: Study, fits: Callable[[ModelResult], bool]) -> str | None:
    """The first model that fits, those on planted text last."""
    models = sorted(study.results.models.items(), key=lambda item: item[1].planted)
    return next((name for name, model in models if fits(model)), None)


def _mean(values: pd.Series) -> str:
    error = NORMAL * values.std() / math.sqrt(len(values)) if len(values) > 1 else math.inf
    return bracketed(values.mean(), values.mean() - error, values.mean() + error)


def _recovered(shown: pd.Series) -> str:
    """The share recovered, with its interval where one was measured."""
    low, high = (float(shown.get(f"loss_recovered_{end}", math.nan)) for end in ("low", "high"))
    return share(shown["loss_recovered"], low, high) if math.isfinite(low) else f"{shown['loss_recovered']:.0%}"


def _planted(study: Study) -> str:
    """How the control came out, where the page has it."""
    if not study.results.control or not any(model.planted for model in study.results.models.values()):
        return ""
    found = control(study.results.control)
    return f"; of planted rules that models have learned {found['learned_recall']:.0%} are found"


def _text(study: Study, model: ModelResult) -> tuple[Positions, list[str]] | None:
    """The held-out text of a model's corpus, and its tokens' texts."""
    held_out = study.held_out.get(model.params.corpus)
    return (
        None
        if held_out is None
        else (held_out, study.results.corpora[model.params.corpus].vocabulary["token"].tolist())
    )


def _first(rows: pd.DataFrame, tokens: tuple[str, ...], find: Callable[..., Excerpt | None]) -> Excerpt | None:
    """Text for the first of the rows whose tokens a reader recognises, else for the first that the text has."""
    first = rows.head(TRIED).to_dict("records")
    for row in sorted(first, key=lambda row: -sum(_readable(str(row[token])) for token in tokens)):
        if (found := find(*(int(row[f"{token}_id"]) for token in tokens))) is not None:
            return found
    return None


def _readable(token: str) -> bool:
    return kind(token) is Kind.WORD and token.startswith(" ")


def _example(study: Study, model: ModelResult, place: int, else_: pd.DataFrame | None = None) -> Excerpt | None:
    """One of the rows that a reader meets first, else one of `else_` where the text has it."""
    shown = model.accounted.examples
    if len(shown) > place:
        known = shown["source"].map(_readable) & shown["out"].map(_readable)
        row = pd.concat([shown[known], shown[~known]]).iloc[place]
        return excerpts.of_row(row.to_dict())
    text, rows = _text(study, model), model.accounted.skip_trigrams if else_ is None else else_
    if text is None or rows.empty:
        return None
    return _first(rows, ("source", "destination", "out"), lambda *ids: excerpts.skip_trigram(*text, *ids))


def _bigram(study: Study, model: ModelResult) -> Excerpt | None:
    text = _text(study, model)
    if text is None:
        return None
    common = model.bigrams.sort_values("corpus_count", ascending=False)
    return _first(common, ("token", "next"), lambda *ids: excerpts.bigram(*text, *ids))


def _copy(study: Study, model: ModelResult) -> Excerpt | None:
    text = _text(study, model)
    if text is None:
        return None
    whole = model.copies["source"].str.fullmatch(r" [^\W\d_]{4,}")
    return _first(
        pd.concat([model.copies[whole], model.copies[~whole]]),
        ("source",),
        lambda token: excerpts.repetition(*text, token),
    )


def _induction(study: Study, model: ModelResult, head: str) -> Excerpt | None:
    """A right prediction to which this head adds most, from held-out text."""
    texts = study.results.corpora[model.params.corpus].vocabulary["token"].tolist()
    found = model.composed.examples.query("name == @head and logit > 0 and source_back > 1 and source_id == out_id")
    for row in found.sort_values("source_back").itertuples():
        spoken = model.composed.example_texts.query("example == @row.example").sort_values("position")
        ids = np.append(spoken["token_id"].to_numpy(), row.out_id)
        last = len(ids) - 2
        if last - row.source_back >= 0:
            marks = {last - row.source_back: excerpts.SOURCE, last: excerpts.DESTINATION, last + 1: excerpts.OUT}
            return excerpts.of_ids(ids, texts, marks)
    return None


def _feature(contexts: pd.DataFrame) -> Excerpt | None:
    """Where a feature is most active, with the source token that a head brings there."""
    strongest = contexts[(contexts["rank"] == 0) & (contexts["distance"] > 1)].sort_values(
        "activation", ascending=False
    )
    for row in strongest.head(TRIED).itertuples():
        text = [*row.before, row.token, *row.after]
        here = len(row.before)
        if row.distance <= here and all(map(_readable, (row.source, row.token))):
            marks = {here - row.distance: excerpts.SOURCE, here: excerpts.DESTINATION}
            return excerpts.of_texts(text, marks)
    return None
