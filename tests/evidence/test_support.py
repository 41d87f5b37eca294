import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skiptrace.evidence.support import Positions, support


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), min_size=2, max_size=80), st.integers(1, 12))
def test_counts_equal_a_scan_of_the_text(ids, window):
    stream = np.array(ids, dtype=np.uint16)
    triples = [(a, b, c) for a in range(5) for b in range(5) for c in range(5)]
    rows = pd.DataFrame(triples, columns=["source_id", "destination_id", "out_id"])
    found = support(rows, Positions(stream, 5, window), 0.05)
    for (a, b, c), row in zip(triples, found.itertuples(), strict=True):
        precedes = together = places = follows = 0
        for i in range(len(ids) - 1):
            if ids[i] != b:
                continue
            start = max((j for j in range(i + 1) if ids[j] == 0), default=0)  # of the document
            before = range(max(start, i - window), i)
            seen = any(ids[j] == a for j in before)
            places += 1
            precedes += seen
            follows += ids[i + 1] == c
            together += seen and ids[i + 1] == c
        assert (row.precedes, row.corpus_count) == (precedes, together)
        if places:
            assert row.corpus_expected == pytest.approx(precedes * follows / places)


@given(st.lists(st.integers(0, 4), min_size=2, max_size=40), st.integers(1, 12))
def test_places_of_a_row_equal_a_scan_of_the_text(ids, window):
    """0 starts a document; the source is the last of its kind before the destination."""
    positions = Positions(np.array(ids), 5, window)
    for source, destination, out in [(1, 2, 3), (1, 1, 2), (2, 1, 1), (4, 4, 4)]:
        found = []
        for here in range(len(ids) - 1):
            if ids[here] == destination and ids[here + 1] == out:
                before = [p for p in range(here) if ids[p] == source and 0 not in ids[p + 1 : here + 1]]
                found += [(before[-1], here)] if before and here - before[-1] <= window else []
        there, here = positions.skip_trigram(source, destination, out)
        expected = sorted(found, key=lambda places: places[1] - places[0])
        assert list(zip(there.tolist(), here.tolist(), strict=True)) == expected


def test_lift_and_its_interval():
    # B C 12 times of 24; after A … B 10 times of 12.
    piece = [1, 2, 3] * 10 + [1, 2, 4] * 2
    alone = [5, 2, 3] * 2 + [5, 2, 4] * 10
    stream = np.array([0, *piece, 0, *alone])
    rows = pd.DataFrame([(1, 2, 3)], columns=["source_id", "destination_id", "out_id"])
    row = support(rows, Positions(stream, 6, 2), 0.05).iloc[0]
    assert (row["precedes"], row["corpus_count"]) == (12, 10)
    assert row["corpus_lift"] == pytest.approx((10 / 12) / 0.5)
    # Wilson's interval for 10 of 12.
    assert row["lift_low"] == pytest.approx(0.5520 / 0.5, abs=2e-3)
    assert row["lift_high"] == pytest.approx(0.9530 / 0.5, abs=2e-3)


def test_a_pair_that_never_occurs_has_no_lift():
    rows = pd.DataFrame([(4, 2, 3)], columns=["source_id", "destination_id", "out_id"])
    row = support(rows, Positions(np.array([0, 1, 2, 3]), 5, 9), 0.05).iloc[0]
    assert row["precedes"] == 0 and np.isnan(row["corpus_lift"])


def documents(count: int, hit: float, generator) -> np.ndarray:
    """Texts in which a 3 or a 6 stands before 1; after a 3, 4 follows with this chance, else 5; after a 6, with 0.5."""
    parts = []
    for _ in range(count):
        with_source = generator.random() < 0.5
        chance = hit if with_source else 0.5
        parts += [0, 3 if with_source else 6, 1, 4 if generator.random() < chance else 5]
    return np.array(parts)


@pytest.mark.parametrize(("hit", "expected"), [(0.95, "supported"), (0.05, "contradicted"), (0.5, "too rare to say")])
def test_a_row_is_supported_contradicted_or_too_rare(hit, expected):
    stream = documents(400, hit, np.random.default_rng(1))
    row = pd.DataFrame({"source_id": [3], "destination_id": [1], "out_id": [4]})
    assert support(row, Positions(stream, 7, 3), 0.05)["support"].tolist() == [expected]


def test_one_document_that_repeats_itself_supports_nothing():
    """Counted place by place it would: 200 of 200 where half is expected."""
    stream = np.concatenate([np.tile([3, 1, 4], 200), *[[0, 6, 1, 5]] * 200])
    row = pd.DataFrame({"source_id": [3], "destination_id": [1], "out_id": [4]})
    found = support(row, Positions(stream, 7, 3), 0.05).iloc[0]
    assert found["lift_low"] > 1 and found["support"] == "too rare to say"


def test_a_row_that_was_hardly_to_be_expected_is_not_contradicted_by_its_absence():
    """Of 4,000 places of 1 one is followed by 4, so that 0.1 are expected after a 3: never seen says nothing."""
    pieces = [[0, 6, 1, 5]] * 3600 + [[0, 3, 1, 5]] * 399 + [[0, 6, 1, 4]]
    stream = np.concatenate(pieces)
    row = pd.DataFrame({"source_id": [3], "destination_id": [1], "out_id": [4]})
    found = support(row, Positions(stream, 7, 3), 0.05).iloc[0]
    assert found["corpus_count"] == 0 and found["corpus_expected"] == pytest.approx(0.1, abs=0.01)
    assert found["support"] == "too rare to say"
