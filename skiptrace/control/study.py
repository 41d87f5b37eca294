"""Weights against counts: everything is chosen on one grammar and reported on others that were not looked at."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Integer

from skiptrace.config.control import ControlParams
from skiptrace.config.mining import MiningParams
from skiptrace.config.models import ModelParams
from skiptrace.config.verification import VerificationParams
from skiptrace.control import counting
from skiptrace.control.grammars import PLANTED, Grammar, Kind, grammar, presence, text
from skiptrace.control.tables import ACCEPTED, CURVE, RANKINGS, RULES
from skiptrace.evidence.causal import Rows, Sampler, check, frequency_matched
from skiptrace.evidence.funnel import judged
from skiptrace.evidence.nulls import StandIn, stand_in
from skiptrace.evidence.truth import Row, triples
from skiptrace.evidence.verification import Streams, evidence_score, verify
from skiptrace.mining import skip_trigrams
from skiptrace.mining.vocabulary import Vocabulary
from skiptrace.models.training import train
from skiptrace.models.transformer import Transformer
from skiptrace.models.windows import BOS_ID
from skiptrace.workers import side_by_side

WINDOWS = (0.5, 1.0, 1.5)  # of the true reach: windows that counting is tried with
MIN_COUNTS = (5, 20, 50)
LONGEST = 3000  # rows of a ranking by counts that are looked at
HELD_OUT = 8  # documents of training text for each of held-out text
WARMUP = 50  # optimiser steps
LEARNING = {"lr_embedding": 0.02, "lr_attention": 0.05, "weight_decay": 0.0}
LEARNED = 0.25  # nats by which the model's log p(output) falls without the source, from which it has learned a rule
WEIGHTS, COUNTS = "weights", "counts"
NEGATIVE = "negative"


class Ranking(NamedTuple):
    """Triples in order, with the setting that gave them and, of counts, their scores."""

    of: str
    kind: str
    name: str
    window: int
    min_count: int
    rows: Sequence[Row]
    scores: Float[np.ndarray, " n"]

    @property
    def setting(self) -> tuple[str, str, str, int, int]:
        """What distinguishes it from the other rankings of a grammar."""
        return self[:5]


class Reading(NamedTuple):
    """What one grammar is, and what is found of it in weights and in counts."""

    seed: int
    drawn: Grammar
    rankings: list[Ranking]
    accepted: dict[str, list[Row]]
    behaviour: pd.DataFrame  # model_nats, model_se, model_p of every rule and decoy


def study(params: ControlParams, scratch: Path) -> dict[str, pd.DataFrame]:
    """The tables of the control: one grammar to choose on, `grammars` others to report, side by side."""
    seeds = range(params.seed, params.seed + 1 + params.grammars)
    each = [(params, seed, scratch / str(seed)) for seed in seeds]
    return tables(side_by_side(read, each, "reading the control's grammars"))


def read(params: ControlParams, seed: int, scratch: Path) -> Reading:
    """Write one grammar's text, count in it, train a model on it, and mine and check the model's weights."""
    drawn = grammar(params, seed)
    documents = text(params, drawn, seed, params.documents + params.documents // HELD_OUT)
    train_text, valid_text = np.split(documents, [params.documents])
    rankings = counted(train_text, params)
    streams, vocabulary = _streams(train_text, valid_text, params.words + 1)
    model = _trained(params, streams, seed, scratch)
    mining = MiningParams.model_validate({"context": params.n_ctx, "min_pairs": 5})
    rows = skip_trigrams.of_model(model, vocabulary, mining)
    checked = _checked(model, rows, vocabulary, mining, streams, params)
    flipped = skip_trigrams.of_model(_flipped(model), vocabulary, mining)
    rankings += [*_by_weights(rows, checked), _mined(flipped, "rank_expected", "expected gain of −OV", NEGATIVE)]
    survives, specific = checked["survives"].astype(bool), checked["specific"].astype(bool)
    accepted = {
        "causally consistent": triples(checked[checked["consistent"].astype(bool)]),
        "passes every test": triples(checked[survives]),
        "passes every test, destination matters": triples(checked[survives & specific]),
    }
    return Reading(seed, drawn, rankings, accepted, behaviour(model, drawn, streams, params))


def counted(documents: Integer[np.ndarray, "documents width"], params: ControlParams) -> list[Ranking]:
    """Every ranking by counts, with every window and least count."""
    found = []
    for factor in WINDOWS:
        window = max(1, round(factor * params.reach))
        counts = counting.count(*presence(documents, params.words + 1, window), params.words + 1)
        for measure in counts.scores:
            for least in MIN_COUNTS:
                ranked = counting.ranked(counts, measure, least, LONGEST)
                found.append(Ranking(COUNTS, "planted", measure, window, least, *ranked))
            lowered = counting.lowered(counts, measure, LONGEST)
            if lowered is not None:
                found.append(Ranking(COUNTS, NEGATIVE, measure, window, 0, *lowered))
    return found


def _streams(
    train_text: Integer[np.ndarray, "documents width"], valid_text: Integer[np.ndarray, "held width"], d_vocab: int
) -> tuple[Streams, Vocabulary]:
    """The texts as streams, and what mining knows of words."""
    stream, held_out = train_text.reshape(-1), valid_text.reshape(-1)
    count = np.bincount(stream, minlength=d_vocab)
    pairs, pair_count = np.unique(stream[:-1] * d_vocab + stream[1:], return_counts=True)
    followers = pd.DataFrame({"token_id": pairs // d_vocab, "next_id": pairs % d_vocab, "count": pair_count})
    followers = followers[(followers["token_id"] != BOS_ID) & (followers["next_id"] != BOS_ID)]
    tokens = pd.Series(["<start>", *(f"w{word}" for word in range(1, d_vocab))])
    probability = torch.from_numpy(count / count.sum()).float()
    return Streams(stream, held_out, count), Vocabulary(tokens, pd.Series(count), probability, followers)


def _trained(params: ControlParams, streams: Streams, seed: int, scratch: Path) -> Transformer:
    """A one-layer model of a grammar's text."""
    shape = {name: getattr(params, name) for name in ("n_heads", "d_head", "d_model", "n_ctx", "steps", "batch_size")}
    rest = {"corpus": "control", "seed": seed, "n_layers": 1, "warmup_steps": min(WARMUP, params.steps - 1)}
    of = ModelParams.model_validate(shape | rest | LEARNING)
    return train(of, streams.train, streams.valid, params.words + 1, scratch, f"control {seed}")[0]


def _checked(
    model: Transformer,
    rows: pd.DataFrame,
    vocabulary: Vocabulary,
    mining: MiningParams,
    streams: Streams,
    params: ControlParams,
) -> pd.DataFrame:
    """The first mined rows, checked like those of any model, beside rows of rotated heads."""
    asked = {"rows": params.rows, "contexts": params.contexts, "context_tokens": params.n_ctx}
    how = VerificationParams.model_validate(asked | {"other_destinations": 4, "null_rows": 50})
    other = stand_in(model, StandIn.ROTATED, how.seed)
    rotated = verify(other, skip_trigrams.of_model(other, vocabulary, mining), streams, how)
    return judged(verify(model, rows, streams, how), rotated, (), how)


def _flipped(model: Transformer) -> Transformer:
    """The model with −W_O, whose mined rows are the output tokens that the model's heads lower."""
    made = copy.deepcopy(model)
    for layer in made.blocks:
        layer.o.data.neg_()
    return made


def _mined(rows: pd.DataFrame, rank: str, name: str, kind: str = "planted") -> Ranking:
    """A ranking of mined rows, the best head's of each triple."""
    ordered = list(dict.fromkeys(triples(rows.dropna(subset=rank).sort_values(rank))))
    return Ranking(WEIGHTS, kind, name, 0, 0, ordered, np.empty(0))


def _by_weights(rows: pd.DataFrame, checked: pd.DataFrame) -> list[Ranking]:
    """Rankings of mined rows: by either rule, and by evidence, where those that were not checked come last."""
    by_rule = [_mined(rows, f"rank_{rule}", said) for rule, said in RULE_NAMES.items()]
    above = (checked["effect_nats"] - checked["elsewhere_nats"]).clip(lower=0)
    scores = {
        "evidence": -checked["rank_evidence"],
        "edge's effect": evidence_score(checked),
        "edge's effect above that at other destinations": checked["p_out"] * (1 - np.exp(-above)),
    }
    found = []
    for name, score in scores.items():
        first = triples(checked.iloc[np.argsort(-score.to_numpy(), kind="stable")])
        found.append(
            Ranking(WEIGHTS, "planted", name, 0, 0, list(dict.fromkeys([*first, *by_rule[0].rows])), np.empty(0))
        )
    return [*by_rule, *found]


RULE_NAMES = {"expected": "expected gain", "published": "published rule"}


def behaviour(model: Transformer, drawn: Grammar, streams: Streams, params: ControlParams) -> pd.DataFrame:
    """What the model does with every rule and decoy, in held-out contexts: log p(out) with its source and without.

    The other source of a rule of two stands in the context only by chance.
    """
    rules = drawn.rules
    rows = Rows(*(rules[f"{role}_id"].to_numpy() for role in ("source", "destination", "out")))
    sampler = Sampler(streams.valid, params.n_ctx, len(streams.count), 0)
    other = frequency_matched(rows.source, streams.count, 0)
    found = check(model, 0, 0, rows, sampler.draw(rows, params.contexts), other)
    columns = {"model_nats": found.replaced.mean, "model_se": found.replaced.se, "model_p": found.p_out}
    return pd.DataFrame(columns, index=rules.index)


def average_precision(truth: set[Row], ranked: Sequence[Row]) -> float:
    """Mean over the true rows of the precision at each one's place, 0 for those that are not ranked."""
    hit = np.array([row in truth for row in ranked], dtype=float)
    return float((hit.cumsum() / np.arange(1, len(hit) + 1) * hit).sum() / len(truth)) if truth else float("nan")


def tables(readings: Sequence[Reading]) -> dict[str, pd.DataFrame]:
    """All tables; settings, thresholds and the best of each kind are chosen on the first of the readings alone."""
    chosen = choose(readings[0])
    cut = thresholds(readings[0], chosen)
    rankings, curve, accepted, rules = [], [], [], []
    for reading in readings:
        best = {r.of: r for r in reading.rankings if r.kind == "planted" and r.setting == chosen[r.of, r.kind]}
        planted = reading.drawn.of(*PLANTED)
        for ranking in reading.rankings:
            truth = planted if ranking.kind == "planted" else reading.drawn.of(Kind.NEGATIVE)
            k = len(truth)
            at_k = len(truth & set(ranking.rows[:k])) / k if k else float("nan")
            first = ranking.setting == chosen[ranking.of, ranking.kind]
            rankings.append((reading.seed, *ranking.setting, first, k, average_precision(truth, ranking.rows), at_k))
        for ranking in best.values():
            curve += [(reading.seed, ranking.of, *point) for point in _along(planted, ranking.rows)]
        rows = {(WEIGHTS, name): rows for name, rows in reading.accepted.items()}
        rows |= {
            (COUNTS, r.name): [row for row, score in zip(r.rows, r.scores, strict=True) if score >= cut[r.setting]]
            for r in reading.rankings
            if r.setting in cut
        }
        accepted += [_accepted(reading, of, name, taken) for (of, name), taken in rows.items()]
        places = {of: {row: 1 + i for i, row in reversed(list(enumerate(r.rows)))} for of, r in best.items()}
        ids = list(zip(*(reading.drawn.rules[f"{role}_id"] for role in ("source", "destination", "out")), strict=True))
        ranks = {of: [places[of].get(row, 0) for row in ids] for of in (WEIGHTS, COUNTS)}
        rules.append(reading.drawn.rules.assign(grammar=reading.seed, **ranks).join(reading.behaviour))
    taken = pd.DataFrame(accepted)
    return {
        RULES.name: RULES.frame(pd.concat(rules, ignore_index=True)),
        RANKINGS.name: RANKINGS.frame(rankings),
        CURVE.name: CURVE.frame(curve),
        ACCEPTED.name: ACCEPTED.frame(taken.assign(best=_best_accepted(taken, readings[0].seed))),
    }


Setting = tuple[str, str, str, int, int]


def choose(reading: Reading) -> dict[tuple[str, str], Setting]:
    """The ranking with the highest average precision, of weights and of counts, for either kind of rule."""
    found: dict[tuple[str, str], tuple[float, Setting]] = {}
    for ranking in reading.rankings:
        truth = reading.drawn.of(*PLANTED) if ranking.kind == "planted" else reading.drawn.of(Kind.NEGATIVE)
        value = average_precision(truth, ranking.rows)
        key = (ranking.of, ranking.kind)
        if key not in found or value > found[key][0]:
            found[key] = (value, ranking.setting)
    return {key: setting for key, (_, setting) in found.items()}


def thresholds(reading: Reading, chosen: dict[tuple[str, str], Setting]) -> dict[Setting, float]:
    """Of each measure's best setting, the score from which on rows are accepted: where F1 is highest."""
    planted, found = reading.drawn.of(*PLANTED), {}
    measures: dict[str, Ranking] = {}
    for ranking in reading.rankings:
        if ranking.of == COUNTS and ranking.kind == "planted":
            known = measures.get(ranking.name)
            value = average_precision(planted, ranking.rows)
            if known is None or value > average_precision(planted, known.rows):
                measures[ranking.name] = ranking
    for ranking in measures.values():
        if not len(ranking.rows):
            continue
        hits = np.cumsum([row in planted for row in ranking.rows])
        f1 = 2 * hits / (np.arange(1, len(hits) + 1) + len(planted))
        found[ranking.setting] = float(ranking.scores[f1.argmax()])
    return found


def _along(planted: set[Row], rows: Sequence[Row]) -> list[tuple[int, float, float]]:
    """Precision and recall at each of the first places of a ranking, and at some 40 along the rest."""
    hits = np.cumsum([row in planted for row in rows])
    if not len(hits):
        return []
    dense = np.arange(1, min(len(hits), 3 * len(planted)) + 1)
    places = np.union1d(dense, np.geomspace(1, len(hits), 40).astype(int))
    return [(int(k), float(hits[k - 1] / k), float(hits[k - 1] / len(planted))) for k in places]


def _accepted(reading: Reading, of: str, name: str, rows: Sequence[Row]) -> dict[str, object]:
    """One row of `ACCEPTED`, without `best`."""
    drawn, taken = reading.drawn, set(rows)
    planted = drawn.of(*PLANTED)
    learned = drawn.of(*PLANTED, rows=reading.behaviour["model_nats"] >= LEARNED)
    false = taken - planted
    companions = false & drawn.of(Kind.COMPANION)
    topics = {(a, c) for a, _, c in drawn.of(Kind.TOPIC)}
    topical = {row for row in false - companions if (row[0], row[2]) in topics}
    crossings = (false & drawn.crossings()) - companions - topical
    found = len(taken & planted)
    return {
        "grammar": reading.seed,
        "of": of,
        "accepted_by": name,
        "rows": len(taken),
        "found": found,
        "planted": len(planted),
        "precision": found / len(taken) if taken else float("nan"),
        "recall": found / len(planted) if planted else float("nan"),
        "learned": len(learned),
        "learned_found": len(taken & learned),
        "false_companion": len(companions),
        "false_topic": len(topical),
        "false_crossing": len(crossings),
        "false_other": len(false) - len(companions) - len(topical) - len(crossings),
    }


def _best_accepted(accepted: pd.DataFrame, first: int) -> pd.Series:
    """Which way of accepting, of weights and of counts, has the highest F1 on the first grammar."""
    here = accepted[accepted["grammar"] == first]
    f1 = 2 * here["found"] / (here["rows"] + here["planted"])
    best = {(here.loc[i, "of"], here.loc[i, "accepted_by"]) for i in f1.groupby(here["of"]).idxmax()}
    return pd.Series([key in best for key in zip(accepted["of"], accepted["accepted_by"], strict=True)], accepted.index)
