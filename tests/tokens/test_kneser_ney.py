from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiptrace.tokens import kneser_ney

V = 5
STREAMS = st.lists(st.integers(0, V - 1), min_size=6, max_size=60)


def slow(train: list[int], context: tuple[int, ...], token: int, top: bool = True) -> float:
    """p(token | context) from Counters, by the equation."""
    order = len(context) + 1

    def counts(order: int) -> Counter:
        return Counter(tuple(train[i : i + order]) for i in range(len(train) - order + 1))

    def discount(order: int) -> float:
        each = counts(max(order, 2))  # single tokens have that of the pairs
        once, twice = (sum(c == k for c in each.values()) for k in (1, 2))
        return once / (once + 2 * twice) if once else 0.5

    raw = counts(order) if top else Counter(gram[1:] for gram in counts(order + 1))
    shorter = slow(train, context[1:], token, top=False) if context else 1 / V
    following = {gram: c for gram, c in raw.items() if gram[:-1] == context}
    total = sum(following.values())
    if total == 0:
        return shorter
    kept = max(following.get((*context, token), 0) - discount(order), 0)
    return (kept + discount(order) * len(following) * shorter) / total


@given(STREAMS, STREAMS)
def test_probabilities_equal_those_of_counters(train, stream):
    grams = kneser_ney.count(np.array(train, np.uint16), V, 3)
    found = kneser_ney.probabilities(grams, np.array(stream), V)
    for order, probabilities in enumerate(found, 1):
        for i in range(order - 1, len(stream)):
            expected = slow(train, tuple(stream[i - order + 1 : i]), stream[i])
            assert probabilities[i] == pytest.approx(expected), (order, i)


@given(STREAMS)
def test_every_order_is_a_distribution(train):
    grams = kneser_ney.count(np.array(train, np.uint16), V, 4)
    sums = [0.0] * 4
    for token in range(V):
        found = kneser_ney.probabilities(grams, np.array([*train[:5], token]), V)
        assert all(p[-1] > 0 for p in found)
        sums = [total + p[-1] for total, p in zip(sums, found, strict=True)]
    assert sums == pytest.approx([1.0] * 4)


def test_pairs_by_hand():
    # Pairs: 1→2 three times, 1→3 once, 2→1 twice, 3→1 once: n₁ = 2, n₂ = 1, D = 2/(2 + 2·1) = 1/2.
    grams = kneser_ney.count(np.array([1, 2, 1, 2, 1, 3, 1, 2]), 4, 2)
    assert kneser_ney.discount(grams[1].times) == pytest.approx(0.5)
    # Continuations: 4 kinds of pair; 1 follows {2, 3}, 2 follows {1}, 3 follows {1}; 3 kinds of continuation.
    uniform = 0.5 * 3 / 4 / 4
    p_cont = {0: uniform, 1: 1.5 / 4 + uniform, 2: 0.5 / 4 + uniform, 3: 0.5 / 4 + uniform}
    after_1 = {0: 0.0, 1: 0.0, 2: 2.5 / 4, 3: 0.5 / 4}
    for b in range(4):
        expected = after_1[b] + 0.5 * 2 / 4 * p_cont[b]
        assert kneser_ney.probabilities(grams, np.array([1, b]), 4)[1][1] == pytest.approx(expected)
        assert kneser_ney.probabilities(grams, np.array([0, b]), 4)[1][1] == pytest.approx(p_cont[b])


@given(STREAMS)
def test_counts_equal_a_counter(train):
    for order, each in enumerate(kneser_ney.count(np.array(train, np.uint16), V, 3), 1):
        counted = Counter(tuple(train[i : i + order]) for i in range(len(train) - order + 1))
        assert sorted(each.times) == sorted(counted.values())
        assert each.times.sum() == len(train) - order + 1


def test_longer_contexts_help_where_text_has_them():
    """Each token is the sum of the three before it: three-token contexts know it, shorter ones do not."""
    generator, stream = np.random.default_rng(0), [1, 2, 4]
    for _ in range(31_000):
        stream.append((stream[-3] + stream[-1] + int(generator.random() < 0.1)) % 7)
    train, valid = np.array(stream[:30_000]), np.array(stream[30_000:])
    losses = [-np.log(p[3:]).mean() for p in kneser_ney.probabilities(kneser_ney.count(train, 7), valid, 7)]
    assert losses[3] < losses[2] - 0.5 and losses[3] == pytest.approx(0.33, abs=0.05)
    assert losses[4] == pytest.approx(losses[3], abs=0.05)
