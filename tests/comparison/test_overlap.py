import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiptrace.comparison.overlap import changes, rank_biased_overlap, ranked

rankings = st.lists(st.integers(0, 30), unique=True, max_size=25)


def slowly(a: list, b: list, p: float, depth: int = 4000) -> float:
    """The sum of the definition, with lists of one length that go on agreeing as they do at their ends."""
    n, total = len(a), 0.0
    for d in range(1, depth):
        agreement = len(set(a[:d]) & set(b[:d])) / d if d <= n else len(set(a) & set(b)) / n
        total += (1 - p) * p ** (d - 1) * agreement
    return total


@given(rankings.filter(len), st.randoms(use_true_random=False), st.sampled_from([0.5, 0.9, 0.98]))
def test_overlap_of_equally_long_rankings_is_the_sum_of_its_definition(a, random, p):
    b = [x + random.choice([0, 0, 100]) for x in a]
    random.shuffle(b)
    assert rank_biased_overlap(a, b, p) == pytest.approx(slowly(a, b, p), abs=1e-9)


@given(rankings, rankings)
def test_overlap_is_symmetric_and_between_nothing_and_all(a, b):
    found = rank_biased_overlap(a, b)
    assert found == pytest.approx(rank_biased_overlap(b, a))
    assert -1e-12 <= found <= 1 + 1e-12
    assert rank_biased_overlap(a, a) == pytest.approx(1)
    assert rank_biased_overlap(a, [x + 100 for x in b]) == (1 if not a and not b else 0)


def test_overlap_of_unequally_long_rankings_by_hand():
    # At depth 1 all agrees; depth 2 has one of b, whose unseen second item agrees as its first did.
    p = 0.9
    assert rank_biased_overlap(["x"], ["x", "y"], p) == pytest.approx((1 - p) / p * (p + p**2 * (1 / 2 + 1 / 2)) + p**2)
    assert rank_biased_overlap(["x", "y"], ["x", "z"], 0.5) == pytest.approx(0.5 + 0.25 * 0.5 + 0.25 * 0.5)


def test_the_top_weighs_most():
    a = list(range(10))
    swapped_top, swapped_end = [1, 0, *a[2:]], [*a[:8], 9, 8]
    assert rank_biased_overlap(a, swapped_top, 0.9) < rank_biased_overlap(a, swapped_end, 0.9) < 1


def table(*triples: str, survives: list | None = None) -> pd.DataFrame:
    rows = [dict(zip(("source", "destination", "out"), triple, strict=True)) for triple in triples]
    marks = survives if survives is not None else [None] * len(triples)
    return pd.DataFrame(rows).assign(rank=range(1, len(rows) + 1), survives=pd.Series(marks, dtype=object))


def test_what_is_gained_lost_and_moved():
    before = table("abc", "abd", "xyz", "klm", survives=[True, False, None, True])
    after = table("xyz", "abc", "new", survives=[True, False, True])
    found = changes(before, after)
    assert [(p.triple, p.b, p.survives_b) for p in found.gained] == [(("n", "e", "w"), 3, True)]
    assert [("".join(p.triple), p.a, p.survives_a) for p in found.lost] == [("abd", 2, False), ("klm", 4, True)]
    assert [("".join(p.triple), p.a, p.b) for p in found.moved] == [("xyz", 3, 1), ("abc", 1, 2)]
    assert (found.rows_a, found.rows_b, found.shared) == (4, 3, 2)
    assert found.overlap == rank_biased_overlap(["abc", "abd", "xyz", "klm"], ["xyz", "abc", "new"])


def test_a_skip_trigram_of_two_heads_counts_once_at_its_best_rank():
    assert [(p.triple, p.rank) for p in ranked(table("abc", "xyz", "abc"))] == [(tuple("abc"), 1), (tuple("xyz"), 2)]


def test_shuffling_leaves_little_of_a_long_ranking_and_equal_tables_overlap_wholly():
    generator = np.random.default_rng(3)
    rows = ["".join(generator.choice(list("abcdefghij"), 3)) for _ in range(400)]
    found = changes(table(*rows), table(*rows))
    assert found.overlap == pytest.approx(1) and not (found.gained or found.lost or found.moved)
    assert 0 < found.shuffled < 0.2


def test_an_empty_table_lost_everything():
    found = changes(table("abc", "abd"), table("abc").head(0))
    assert (found.overlap, found.shared, len(found.lost)) == (0, 0, 2)
