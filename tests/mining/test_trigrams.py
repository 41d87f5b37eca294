import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skiptrace.circuits.factored import Circuit
from skiptrace.mining import trigrams
from skiptrace.mining.trigrams import largest


def circuits(v: int, w: int, rank: int, seed: int, most: int) -> tuple[Circuit, Circuit]:
    g = torch.Generator().manual_seed(seed)

    def whole(*shape):
        return torch.randint(-most, most + 1, shape, generator=g).float()

    return (
        Circuit("qk", "0", "0", whole(w, rank), whole(rank, v)),
        Circuit("ov", "0", "0", whole(v, rank), whole(rank, w + 1)),
    )


def slow(qk: Circuit, ov: Circuit, k: int) -> list[tuple[float, int, int, int]]:
    QK, OV = (qk.left @ qk.right).tolist(), (ov.left @ ov.right).tolist()
    scores = [
        (-QK[b][a] * OV[a][c], a, b, c)
        for a, b, c in itertools.product(range(len(OV)), range(len(QK)), range(len(OV[0])))
        if QK[b][a] > 0 and OV[a][c] > 0
    ]
    return sorted(scores)[:k]


@settings(max_examples=60, deadline=None)
@given(
    v=st.integers(1, 12),
    w=st.integers(1, 14),
    rank=st.integers(1, 3),
    seed=st.integers(0, 99),
    most=st.sampled_from([1, 2, 7]),
    k=st.sampled_from([1, 2, 5, 30, 5000]),
    depth=st.sampled_from([1, 2, 8]),
)
def test_the_largest_of_all_triples_equal_a_triple_loop(v, w, rank, seed, most, k, depth):
    qk, ov = circuits(v, w, rank, seed, most)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trigrams, "FIRST", depth)
        patch.setattr(trigrams, "DEEPER", 2)
        found = largest(qk, ov, k)
    expected = slow(qk, ov, k)
    assert list(zip((-found.score).tolist(), *(c.tolist() for c in found[:3]), strict=True)) == expected


def test_one_source_that_holds_all_the_largest_is_looked_at_deeply():
    v, k = 40, 300
    qk, ov = (Circuit(n, "0", "0", torch.ones(v, 1), torch.ones(1, v)) for n in ("qk", "ov"))
    qk.right[0, 7] = 50
    ov.left[7] = 9
    found = largest(qk, ov, k)
    assert set(found.source.tolist()) == {7}
    assert found.destination.tolist() == [i // v for i in range(k)] and found.out.tolist() == [i % v for i in range(k)]
