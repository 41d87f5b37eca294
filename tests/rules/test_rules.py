"""Rules of the corpus: slow twins with counters, streams of a known rule, and a model that is a table of bigrams."""

import dataclasses
from collections import Counter, defaultdict

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skiptrace.config.rules import RulesParams
from skiptrace.mining.tables import SKIP_TRIGRAMS
from skiptrace.models.windows import spread_windows
from skiptrace.rules.estimates import (
    BACKOFF,
    COPY,
    INDUCTION,
    MINED,
    PAIRS,
    SKIP,
    estimates,
    ngram_rules,
    of_rows,
    repeated,
    skip_rules,
)
from skiptrace.rules.followers import followers, joined
from skiptrace.rules.kernels import overlaps
from skiptrace.rules.places import exchanged, places
from skiptrace.rules.study import Checkpoint, Predicted, predict, shares, study
from skiptrace.rules.tables import CLOSEST, CLOSEST_NGRAM, TEXT

V = 5
STREAMS = st.lists(st.integers(0, V - 1), min_size=9, max_size=60)
WINDOWS = st.lists(st.lists(st.integers(0, V - 1), min_size=7, max_size=7), min_size=1, max_size=4)
NO_ROWS = SKIP_TRIGRAMS.frame()


def params(**changed) -> RulesParams:
    return RulesParams(**{"models": {}, "contexts": 2, "window": 3, "places": 1000, "min_count": 2} | changed)


def of(windows):
    return places(np.array([[0, *row] for row in windows]))


def likeliest(counter: Counter) -> int:
    """The most frequent, the smallest of several."""
    return min(counter, key=lambda token: (-counter[token], token))


def contexts_of(windows):
    """Of every place the tokens of its context up to it, without the start token, and those of its document alone."""
    for row in windows:
        for i in range(1, len(row)):
            whole = row[:i]
            starts = [j for j, token in enumerate(whole) if token == 0]
            yield whole, whole[starts[-1] if starts else 0 :]


@settings(deadline=None)
@given(STREAMS, WINDOWS)
def test_ngram_rules_are_those_of_counters(train, windows):
    for order, rule in enumerate(ngram_rules(of(windows), np.array(train), V), 1):
        counted = defaultdict(Counter)
        for i in range(len(train) - order + 1):
            counted[tuple(train[i : i + order - 1])][train[i + order - 1]] += 1
        for place, (whole, _) in enumerate(contexts_of(windows)):
            known = counted.get(tuple(whole[len(whole) - order + 1 :])) if len(whole) >= order - 1 else None
            assert rule.word[place] == (likeliest(known) if known else -1)
            if known:
                entries = slice(*rule.said.start[rule.row[place] :][:2])
                said = dict(zip(rule.said.token[entries].tolist(), rule.said.share[entries].tolist(), strict=True))
                assert said == pytest.approx({t: c / known.total() for t, c in known.items()})


def counted_skips(train: list[int], window: int) -> dict[tuple[int, int], Counter]:
    counted = defaultdict(Counter)
    for i in range(len(train) - 1):
        sources = set()
        for j in range(i - 1, max(-1, i - window - 1), -1):
            if 0 in train[j : i + 1]:
                break
            sources.add(train[j])
        for source in sources:
            counted[source, train[i]][train[i + 1]] += 1
    return counted


@settings(deadline=None)
@given(STREAMS, WINDOWS)
def test_skip_trigram_rules_are_those_of_counters(train, windows):
    rule, copied = skip_rules(of(windows), np.array(train), V, params())
    counted = {pair: c for pair, c in counted_skips(train, 3).items() if c.total() >= 2}
    for place, (_, document) in enumerate(contexts_of(windows)):
        best, word, best_copy, copy = 0.0, -1, 0.0, -1
        for source in document[-2:-5:-1]:
            if source and (source, document[-1]) in counted:
                known = counted[source, document[-1]]
                top = likeliest(known)
                if known[top] / known.total() > best:
                    best, word = known[top] / known.total(), top
                if known[source] / known.total() > best_copy:
                    best_copy, copy = known[source] / known.total(), source
        assert (rule.word[place], copied[place]) == (word, copy)
        if word >= 0:
            entries = slice(*rule.said.start[rule.row[place] :][:2])
            assert rule.said.share[entries].max() == pytest.approx(best) and word in rule.said.token[entries]


@settings(deadline=None)
@given(WINDOWS, st.sampled_from([1, 2]))
def test_induction_rules_look_for_the_last_time(windows, length):
    found = repeated(of(windows), V, length)
    for place, (_, document) in enumerate(contexts_of(windows)):
        last, expected = document[-length:], -1
        for end in range(length, len(document)):
            if len(last) == length and document[end - length : end] == last:
                expected = document[end]
        assert found[place] == expected


@settings(deadline=None)
@given(WINDOWS, st.lists(st.tuples(*[st.integers(0, V - 1)] * 3), max_size=12))
def test_mined_rows_are_asked_in_their_order(windows, triples):
    table = pd.DataFrame(triples, columns=["source_id", "destination_id", "out_id"], dtype=np.int64)
    found = of_rows(of(windows), table.assign(rank=range(len(table))).sample(frac=1, random_state=0), V, 2)
    for place, (_, document) in enumerate(contexts_of(windows)):
        says = [c for a, b, c in triples if b == document[-1] and a and a in document[-3:-1]]
        assert found[place] == (says[0] if says else -1)


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=30))
def test_exchanged_places_share_their_token_and_each_is_another_once(tokens):
    token, then = np.array(tokens), np.random.default_rng(0).permutation(len(tokens))
    other = exchanged(token, then)
    assert (token[other] == token).all() and sorted(other) == list(range(len(token)))
    alone = np.bincount(token)[token] == 1
    assert ((other == np.arange(len(token))) == alone).all()


def test_exchange_by_position_takes_the_nearest_later_one():
    token, position = np.array([1, 2, 1, 1, 2]), np.array([9, 4, 3, 5, 8])
    assert exchanged(token, position).tolist() == [2, 4, 3, 0, 1]


def test_overlap_is_one_less_the_variation_distance():
    p = np.array([[0.5, 0.25, 0.25, 0.0], [0.1, 0.2, 0.3, 0.4], [1.0, 0, 0, 0]], np.float32)
    said = joined(
        [followers(np.zeros(4, int), np.array([0, 0, 0, 3]), 4), followers(np.zeros(1, int), np.array([2]), 4)]
    )
    found = np.empty(3)
    overlaps(p, np.array([0, 1, -1]), said.start, said.token, said.share, found)
    q = np.array([0.75, 0, 0, 0.25])
    assert found == pytest.approx([1 - abs(p[0] - q).sum() / 2, 0.3, 0])


def stream_of(following, n: int, noise: float = 0.0, d_vocab: int = 7) -> np.ndarray:
    generator, stream = np.random.default_rng(0), [1, 2, 4, 3]
    for _ in range(n):
        drawn = generator.random() < noise
        stream.append(int(generator.integers(1, d_vocab)) if drawn else following(stream))
    return np.array(stream)


def measured(windows, train, top_of, rows=NO_ROWS, vocab=7, **changed) -> pd.DataFrame:
    """The rows of the table for a model whose likeliest token is given by the estimates, certain of it."""
    here = places(windows.numpy())
    rules = estimates(here, train, rows, vocab, params(**changed))
    top = top_of(rules, here)
    others = [
        exchanged(here.token, np.random.default_rng(1).permutation(len(top))),
        exchanged(here.token, here.position),
    ]
    near = np.stack(
        [[np.where(r.word < 0, -1.0, r.word == t) for r in [*rules.ngrams, *rules.others]]
         for t in (top, *(top[other] for other in others))]
    )  # fmt: skip
    names = ["rule", "places", "applies", "agrees", "low", "high", "chance", "chance_position", "ahead", "ahead_low",
             "ahead_high", "right", "wrong", "wrong_chance", "closest"]  # fmt: skip
    return pd.DataFrame(shares(Predicted(top, near), here, rules, others), columns=names).set_index("rule")


def test_a_stream_whose_rule_has_three_tokens():
    """Each token is the one two before it plus the last one: two tokens know it, one does not."""
    stream = stream_of(lambda s: (s[-1] + s[-2]) % 6 + 1, 5000, noise=0.2)
    clean = stream_of(lambda s: (s[-1] + s[-2]) % 6 + 1, 400)
    windows = spread_windows(np.roll(clean, 17), 12, 6)
    found = measured(
        windows, stream, lambda rules, _: np.where(rules.ngrams[2].word < 0, rules.backoff, rules.ngrams[2].word)
    )
    assert found.loc["3-gram", "applies"] > 0.9 > found.loc["2-gram", "right"]
    assert found.loc["3-gram", "right"] > 0.97 and found.loc["3-gram", "agrees"] == 1
    assert found.loc["3-gram", "chance"] < 0.7 and found.loc["3-gram", "ahead_low"] > 0.2
    assert found.loc[CLOSEST, "agrees"] == 1 > found.loc[CLOSEST, "chance"]


def test_a_stream_that_repeats_itself():
    """Each context has a random order of its own, over and over: only the last time tells what comes next."""
    generator = np.random.default_rng(3)
    windows = torch.tensor([[0, *np.tile(1 + generator.permutation(6), 3)] for _ in range(20)])
    train = np.concatenate([1 + generator.permutation(6) for _ in range(900)])
    found = measured(windows, train, lambda rules, here: rules.others[3].word)
    induction = found.loc[INDUCTION]
    assert induction["right"] == induction["agrees"] == 1 and induction["ahead_low"] > 0.5
    assert found.loc[PAIRS, "right"] == 1 and found.loc[PAIRS, "applies"] < induction["applies"] < 1
    assert found.loc["2-gram", "right"] < 0.4 and found.loc[TEXT, "right"] == 1


def test_a_stream_with_planted_skip_trigrams():
    """2 … 1 → 2 and 3 … 1 → 4: the first copies its source; which follows 1 no token next to it says."""
    generator, train = np.random.default_rng(5), []
    for _ in range(900):
        source = int(generator.integers(2, 4))
        filler = [int(f) for f in generator.integers(5, 8, 2)]
        train += [0, source, *filler, 1, {2: 2, 3: 4}[source], 8]
    windows = spread_windows(np.array(train[:700]), 20, 8)
    here = places(windows.numpy())
    rules = estimates(here, np.array(train[700:]), NO_ROWS, 9, params(window=6, min_count=5))
    at = (here.token == 1) & (here.position > 4)
    skips, copied = rules.others[:2]
    assert at.sum() > 10 and (skips.word[at] == here.truth[at]).all()
    assert set(copied.word[at & (here.truth == 2)]) == {2}
    assert (rules.ngrams[1].word[at] == here.truth[at]).mean() < 0.8
    assert [rule.name for rule in rules.others] == [SKIP, COPY, MINED, INDUCTION, PAIRS]


def table_of_bigrams(make_model, train: np.ndarray):
    """A model without layers whose logits are the logarithms of counted shares."""
    model = make_model(0, d_model=24).float()
    counts = np.full((23, 23), 1e-9)
    np.add.at(counts, (train[:-1], train[1:]), 1)
    model.W_E.data = torch.eye(23, 24)
    model.W_U.data = torch.tensor(np.vstack([np.log(counts / counts.sum(1, keepdims=True)), np.zeros(23)])).float()
    return model


def test_of_a_table_of_bigrams_the_null_says_as_much_as_the_rule(make_model):
    """Predictions that know the current token alone are the same wherever they are exchanged to."""
    train = np.random.default_rng(0).zipf(1.4, 9000).clip(max=23) - 1
    valid = np.random.default_rng(1).zipf(1.4, 400).clip(max=23) - 1
    model = table_of_bigrams(make_model, train)
    # Once as a checkpoint on the way, once as it is at the end.
    points = [Checkpoint(step, 10 * step, model) for step in (1, 3)]
    found = study(points, train, valid, NO_ROWS, 7, 23, params(contexts=11))
    assert found["step"].value_counts().to_dict() == {1: 14, 3: 14}
    for _, mine in found.set_index("rule").groupby("step"):
        for rule in ("2-gram", CLOSEST_NGRAM, CLOSEST):
            chosen = mine.loc[rule, ["applies", "agrees", "chance", "chance_position"]]
            assert chosen.tolist() == [1, 1, 1, 1] and mine.loc[rule, "ahead"] == 0, rule
        assert mine.loc["2-gram", "closest"] > 0.95 and mine.loc["5-gram", "agrees"] < 1
        assert mine.loc[BACKOFF, "applies"] == 1 and np.isnan(mine.loc[BACKOFF, "closest"])
        assert np.isnan(mine.loc[MINED, "agrees"]) and mine.loc[MINED, "applies"] == 0


@pytest.mark.parametrize("cap", [None, 0.3])
def test_predictions_are_compared_where_they_are_exchanged_to(make_model, cap):
    """Against the distance by hand, of whole distributions, for a model of one layer, its logits capped or not."""
    model = make_model(1).float()
    model.config = dataclasses.replace(model.config, logits_soft_cap=cap)
    generator = np.random.default_rng(2)
    windows = spread_windows(generator.integers(0, 23, 90), 7, 13)
    here = places(windows.numpy())
    rules = estimates(here, generator.integers(0, 23, 4000), NO_ROWS, 23, params())
    every, other = [*rules.ngrams, *rules.others], exchanged(here.token, here.position)
    found = predict(model, windows, every, [other])
    p = model(windows[:, :-1])[:, 1:].softmax(-1).flatten(0, 1).numpy()
    assert (found.top == p.argmax(1)).all()
    for entry, mine in zip(found.near, (p, p[other]), strict=True):
        for rule, near in zip(every, entry, strict=True):
            for i in range(len(p)):
                q, row = np.zeros(23), rule.row[i]
                if row >= 0:
                    at = slice(*rule.said.start[row : row + 2])
                    q[rule.said.token[at]] = rule.said.share[at]
                expected = 1 - abs(mine[i] - q).sum() / 2 if row >= 0 else -1
                assert near[i] == pytest.approx(expected, abs=1e-5), rule.name
