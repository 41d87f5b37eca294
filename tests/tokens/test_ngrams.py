from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiptrace.tokens.ngrams import baselines, count_bigrams

STREAMS = st.lists(st.integers(0, 6), min_size=2, max_size=60).map(lambda ids: np.array(ids, dtype=np.uint16))


@given(STREAMS)
def test_bigram_counts_equal_a_counter(stream):
    found = count_bigrams(stream, 7)
    expected = Counter(zip(stream.tolist(), stream[1:].tolist(), strict=False))
    assert (
        dict(zip(zip(found.token.tolist(), found.next.tolist(), strict=True), found.count.tolist(), strict=True))
        == expected
    )
    assert list(zip(found.token, found.next, strict=True)) == sorted(expected)


def test_baselines_by_hand():
    train, valid = np.array([0, 1, 0, 1, 0]), np.array([1, 0, 1])
    found = baselines(count_bigrams(train, 2), train, valid, 2)
    assert found.unigram_loss == pytest.approx(np.log(2))
    assert found.uniform_loss == pytest.approx(np.log(2))
    assert found.bigram_loss < np.log(2) / 2


def test_a_bigram_source_is_predicted_better_by_bigrams():
    generator = np.random.default_rng(0)
    stream = generator.integers(0, 5, 4000).cumsum() % 50
    found = baselines(count_bigrams(stream[:3000], 50), stream[:3000], stream[3000:], 50)
    assert found.bigram_loss == pytest.approx(np.log(5), abs=0.1)
    assert found.unigram_loss == pytest.approx(np.log(50), abs=0.05)


@given(STREAMS, st.integers(1, 9))
def test_counting_in_chunks_changes_nothing(stream, chunk):
    whole, parts = count_bigrams(stream, 7), count_bigrams(stream, 7, chunk)
    for name in ("token", "next", "count"):
        assert np.array_equal(getattr(parts, name), getattr(whole, name))
    assert whole.count.sum() == len(stream) - 1
