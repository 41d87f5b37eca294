import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skiptrace.circuits.factored import Circuit
from skiptrace.errors import InputError
from skiptrace.mining import kernels
from skiptrace.mining import scan as scanning
from skiptrace.mining.heads import statistics_of
from skiptrace.mining.scan import Request, Result, scan


@pytest.fixture(autouse=True, scope="module")
def small_tiles():
    """Tiles whose edges fall inside the matrices of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("HEIGHT", 96), ("WIDTH", 80), ("SMALL", (70, 50))):
            patch.setattr(scanning, name, value)
        yield


def circuit(n: int, m: int, rank: int, seed: int, largest: int = 3) -> Circuit:
    """Small whole numbers: every product is exact in any order, and equal entries are the rule."""
    g = torch.Generator().manual_seed(seed)
    left, right = (torch.randint(-largest, largest + 1, shape, generator=g).float() for shape in ((n, rank), (rank, m)))
    return Circuit("ov", "0", "1", left, right)


def slow_rows(matrix: torch.Tensor, k: int) -> list[list[int]]:
    return [sorted(range(len(row)), key=lambda j: (-row[j], j))[:k] for row in matrix.tolist()]


def slow_whole(matrix: torch.Tensor, k: int) -> list[tuple[int, int]]:
    places = [(i, j) for i in range(matrix.shape[0]) for j in range(matrix.shape[1])]
    return sorted(places, key=lambda p: (-matrix[p].item(), p))[:k]


SIZES = st.integers(1, 230)


@pytest.mark.parametrize("way", ["searched", "tiled"])
@settings(max_examples=25, deadline=None)
@given(
    n=SIZES, m=SIZES, rank=st.integers(1, 3), k=st.integers(1, 70), threads=st.integers(1, 3), seed=st.integers(0, 9)
)
def test_every_kind_of_top_equals_sorting_the_dense_matrix(way, n, m, rank, k, threads, seed):
    c = circuit(n, m, rank, seed)
    dense = c.left @ c.right
    request = Request(rows=k, columns=k + 1, whole=2 * k)
    if way == "searched":
        found = scan(c, request, threads=threads)
    else:
        found = scanning._tiled(c.left, c.right, Request(min(k, m), min(k + 1, n), min(2 * k, n * m)), None, None)
    assert found.rows.index.tolist() == slow_rows(dense, k)
    assert torch.equal(found.rows.values, dense.gather(1, found.rows.index.long()))
    assert found.columns.index.tolist() == slow_rows(dense.T, k + 1)
    assert torch.equal(found.columns.values, dense.T.gather(1, found.columns.index.long()))
    whole = found.whole
    assert list(zip(whole.rows.tolist(), whole.columns.tolist(), strict=True)) == slow_whole(dense, 2 * k)
    assert torch.equal(whole.values, dense[whole.rows.long(), whole.columns.long()])
    assert found.statistics is None


def test_each_request_alone_finds_what_all_together_find():
    c = circuit(200, 170, 3, 0, largest=9)
    together = scan(c, Request(7, 5, 11, 16))
    assert torch.equal(scan(c, Request(rows=7)).rows.index, together.rows.index)
    assert torch.equal(scan(c, Request(columns=5)).columns.index, together.columns.index)
    assert torch.equal(scan(c, Request(whole=11)).whole.columns, together.whole.columns)
    assert scan(c, Request(bins=16)).statistics.counts.tolist() == together.statistics.counts.tolist()


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("way", ["searched", "tiled"])
def test_statistics_equal_those_of_the_dense_matrix(threads, way):
    c = circuit(190, 210, 4, 1, largest=5)
    dense = (c.left @ c.right).double()
    request = Request(bins=31)
    if way == "searched":
        s = scan(c, request, threads=threads).statistics
    else:
        s = scanning._tiled(c.left, c.right, request, None, scanning._moments(c)).statistics
    assert s.mean == pytest.approx(dense.mean().item(), abs=1e-9)
    assert s.variance == pytest.approx(dense.var(correction=0).item())
    assert (s.min, s.max) == (dense.min().item(), dense.max().item())
    assert s.low == pytest.approx(s.mean - 8 * s.variance**0.5) and s.high == pytest.approx(
        s.mean + 8 * s.variance**0.5
    )
    assert s.counts.tolist() == np.histogram(dense.clamp(s.low, s.high), 31, (s.low, s.high))[0].tolist()


@pytest.mark.parametrize("bins", [1, 16, 255, 256, 257, 1000])
@pytest.mark.parametrize("columns", [1, 2, 81, 163])
def test_every_entry_is_counted_once_however_many_bins_and_columns(bins, columns):
    c = circuit(99, columns, 3, columns, largest=20)
    dense = (c.left @ c.right).double()
    s = scan(c, Request(bins=bins), threads=2).statistics
    assert s.counts.tolist() == np.histogram(dense.clamp(s.low, s.high), bins, (s.low, s.high))[0].tolist()


def test_what_lies_beyond_the_histogram_is_counted_at_its_ends():
    left = torch.zeros(200, 1)
    left[0], left[1] = 1000, -1000
    s = scan(Circuit("ov", "0", "0", left, torch.ones(1, 3)), Request(bins=4)).statistics
    assert s.counts.tolist() == [3, 0, 594, 3] and s.max == 1000


def test_a_change_is_ranked_instead_of_the_entries():
    c = circuit(150, 160, 3, 2)
    weight = torch.arange(1, 161).float()

    def negative_weighted(tile, row, column):
        tile.neg_().mul_(weight[column : column + tile.shape[1]])

    found = scan(c, Request(rows=4, whole=9), negative_weighted, threads=2)
    dense = -(c.left @ c.right) * weight
    assert found.rows.index.tolist() == slow_rows(dense, 4)
    assert list(zip(found.whole.rows.tolist(), found.whole.columns.tolist(), strict=True)) == slow_whole(dense, 9)


def test_centring_weights_and_choice_of_tokens_stand_in_the_factors():
    g = torch.Generator().manual_seed(3)
    c = Circuit("qk", "0", "0", torch.randn(30, 4, generator=g).double(), torch.randn(4, 20, generator=g).double())
    dense, p, w = c.left @ c.right, torch.rand(20, generator=g).double(), torch.rand(30, generator=g).double()
    p /= p.sum()
    rows, columns = torch.tensor([7, 2, 29]), torch.tensor([19, 0, 4, 5])
    changed = c.centred(p).weighted(w).restricted(rows, columns)
    expected = ((dense - (dense @ p)[:, None]) * w[:, None])[rows][:, columns]
    torch.testing.assert_close(changed.left @ changed.right, expected)
    torch.testing.assert_close((c.centred().left @ c.centred().right).mean(1), torch.zeros(30).double())
    assert torch.equal(c.transposed().left @ c.transposed().right, dense.T)
    torch.testing.assert_close(c.entries(rows, columns[:3]), dense[rows, columns[:3]])


@pytest.mark.parametrize(
    ("left", "right", "message"),
    [
        (torch.zeros(3, 0), torch.zeros(0, 4), "ov L0H1: 3 × 4 of rank 0"),
        (torch.zeros(0, 2), torch.zeros(2, 4), "ov L0H1: 0 × 4 of rank 2"),
        (torch.tensor([[float("nan")]]), torch.ones(1, 1), "ov L0H1: an entry is NaN or infinite"),
        (torch.ones(1, 1), torch.tensor([[float("inf")]]), "ov L0H1: an entry is NaN or infinite"),
    ],
)
def test_what_has_no_largest_entry_is_refused(left, right, message):
    with pytest.raises(InputError, match=message):
        scan(Circuit("ov", "0", "1", left, right), Request(rows=1))


def test_a_vocabulary_of_one_and_more_than_there_is():
    found = scan(Circuit("ov", "0", "1", torch.tensor([[2.0]]), torch.tensor([[3.0]])), Request(9, 9, 9, 2))
    assert found.rows.values.tolist() == found.columns.values.tolist() == [[6.0]]
    assert found.whole.values.tolist() == [6.0] and found.statistics.counts.sum() == 1


def test_nothing_asked_for_is_nothing_looked_at():
    circuit = Circuit("ov", "0", "0", torch.ones(5, 2), torch.ones(2, 7))
    assert scan(circuit, Request()) == Result(None, None, None, None)
    assert statistics_of(circuit, 0) == []
    assert statistics_of(circuit, 3, threads=2)[0]["mean"] == 2


def test_where_no_cache_can_be_written_the_loops_are_compiled_each_time(tmp_path):
    source = Path(kernels.__file__)
    (tmp_path / "kernels.py").write_text(source.read_text())
    (tmp_path / "__pycache__").write_text("no folder")
    code = (
        "import numpy as np, kernels; v, i = np.full((1, 1), -np.inf), np.full((1, 1), -1);"
        "kernels.offer(v, i, 0, 3.0, 6); print(v, i)"
    )
    nowhere = {"HOME": "/dev/null", "XDG_CACHE_HOME": "/dev/null", "PYTHONDONTWRITEBYTECODE": "1"}
    environment = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"} | nowhere
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, text=True, capture_output=True, check=False
    )
    assert (done.stdout, done.stderr) == ("[[3.]] [[6]]\n", "")
