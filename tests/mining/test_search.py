import os
import subprocess
import sys

import numpy as np
import pytest

from skiptrace.mining import kernels, search
from skiptrace.mining.search import best

RANKS = (1, 7, 8, 64, 131)


def slow(left: np.ndarray, right: np.ndarray, k: int, together: bool) -> tuple[np.ndarray, np.ndarray]:
    """Every product in double precision, in the order that is promised, sorted."""
    left, right = left.astype(np.float64), right.astype(np.float64)
    rank = left.shape[1]
    values = np.zeros((len(left), len(right), 8))
    for r in range(rank - rank % 8):
        values[:, :, r % 8] += left[:, r, None] * right[None, :, r]
    while values.shape[2] > 1:
        values = values[:, :, : values.shape[2] // 2] + values[:, :, values.shape[2] // 2 :]
    values = values[:, :, 0]
    for r in range(rank - rank % 8, rank):
        values += left[:, r, None] * right[None, :, r]
    rows = values.reshape(1, -1) if together else values
    first = np.argsort(-rows, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(rows, first, 1), first


def factors(kind: str, n: int, m: int, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Two sets of vectors on which a careless bound or order fails."""
    rng = np.random.default_rng([n, m, rank])
    left, right = (rng.standard_normal((rows, rank)).astype(np.float32) for rows in (n, m))
    if kind == "huge norms beside tiny ones":
        left *= np.geomspace(1e-30, 1e37, n, dtype=np.float32)[:, None]
        right *= np.geomspace(1e30, 1e-37, m, dtype=np.float32)[:, None]
    elif kind == "rows that cancel":
        left[:, rank // 2 : 2 * (rank // 2)] = -left[:, : rank // 2]
        right[:, rank // 2 : 2 * (rank // 2)] = right[:, : rank // 2] * np.float32(1 + 1e-6)
    elif kind == "ties":
        left, right = left.round(), right.round()
    elif kind == "the same vectors again":
        left, right = left[rng.integers(0, 1 + n // 9, n)], right[rng.integers(0, 1 + m // 9, m)]
    elif kind == "denormals":
        left, right = left * np.float32(1e-44), right * np.float32(1e-42)
    elif kind == "one dominant direction":
        left[:, 0], right[:, 0] = 1e6, 1e6 + np.arange(m) % 3
    elif kind == "all products negative":
        left, right = np.abs(left), -np.abs(right)
    elif kind == "zeros":
        left[::2], right[::3] = 0, 0
        left[:, ::5] = 0
    elif kind == "nothing but zeros":
        left[:] = 0
    elif kind == "last bits":
        left, right = (np.float32(1) + x * np.float32(2**-23) for x in (left.round(), right.round()))
    return left, right


KINDS = (
    "plain", "huge norms beside tiny ones", "rows that cancel", "ties", "the same vectors again", "denormals",
    "one dominant direction", "all products negative", "zeros", "nothing but zeros", "last bits",
)  # fmt: skip
SHAPES = ((1, 1, 7, 1), (233, 70, 64, 5), (97, 301, 13, 70), (7, 450, 131, 3), (130, 1, 8, 1))


@pytest.mark.parametrize("words", [False, True], ids=["bytes if there are instructions", "16 bits"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_best_is_that_of_all_products_in_double_precision(monkeypatch, kind, words):
    if words:
        monkeypatch.setattr(kernels.Instructions, "bytes", lambda: False)
    for n, m, rank, k in SHAPES:
        left, right = factors(kind, n, m, rank)
        for together in (False, True):
            for threads in (1, 3):
                found = best(left, right, k, together, threads)
                values, place = slow(left, right, k, together)
                rows = 0 if together else np.arange(n)[:, None] * m
                np.testing.assert_array_equal(found.place, place + rows)
                np.testing.assert_array_equal(found.values, values)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("small", [True, False], ids=["bytes", "16 bits"])
def test_no_product_differs_from_that_of_whole_numbers_by_more_than_the_bound(kind, small):
    for n, m, rank, _ in SHAPES:
        left, right = factors(kind, n, m, rank)
        (rows, _), (columns, _) = (
            search.packed(search.ordered(side, len(side)), first, small, search.Threads(2))
            for side, first in ((left, True), (right, False))
        )
        whole = []
        for side, raised in ((rows, search.BYTES + 1 if small else 0), (columns, 0)):
            groups, steps, width, words = side.numbers.shape
            numbers = side.numbers.astype(np.int64).transpose(0, 2, 1, 3).reshape(groups * width, steps * words)
            whole.append(numbers[: len(side.order), :rank] - raised)
        exact = left[rows.order].astype(np.longdouble) @ right[columns.order].astype(np.longdouble).T
        of_row = np.arange(n)[:, None] // (len(rows.numbers) // len(rows.scale) * kernels.HEIGHT)
        of_column = np.arange(m) // columns.numbers.shape[2]
        x, y, lost_x, lost_y = (
            rows.norm[of_row],
            columns.norm[of_column],
            rows.residual[of_row],
            columns.residual[of_column],
        )
        bound = kernels.bound(x, lost_x, y, lost_y, search.slack(rank))
        off = np.abs(exact - (whole[0] @ whole[1].T) * (rows.scale[of_row] * columns.scale[of_column]))
        assert (off <= bound).all()
        assert np.abs(whole[0]).max() <= (search.BYTES if small else 2**15 - 1)


def test_crowded_products_are_told_apart_by_more_bits(monkeypatch):
    if not kernels.Instructions.bytes():
        pytest.skip("this processor has no instruction for bytes")
    left, right = factors("plain", 300, 2000, 64)
    right = 10 + right / 100  # all products of a row are close together, compared with what rounding to bytes loses
    asked = []
    whole = search._search
    monkeypatch.setattr(search, "_search", lambda *a, small: asked.append(small) or whole(*a, small=small))
    found = best(left, right, 5, False, 2)
    assert asked == [True, False]
    np.testing.assert_array_equal(found.place, slow(left, right, 5, False)[1] + np.arange(300)[:, None] * 2000)


OLDER = (
    "+64bit,+avx,+avx2,+bmi,+bmi2,+cmov,+cx16,+f16c,+fma,+fxsr,+lzcnt,+popcnt,+sse,+sse2,+sse3,+sse4.1,+sse4.2,+ssse3"
)
CODE = """
import hashlib, numpy as np
from skiptrace.mining.kernels import Instructions
from skiptrace.mining.search import best
rng = np.random.default_rng(0)
left, right = (rng.standard_normal((n, 37)).astype(np.float32) for n in (500, 300))
found = [best(left, right, 5, together, 2) for together in (False, True)]
print(Instructions.bytes(), hashlib.sha256(b"".join(a.tobytes() for f in found for a in f)).hexdigest())
"""


@pytest.mark.skipif("avx2" not in kernels.Instructions.features(), reason="needs a processor with AVX2")
def test_a_processor_of_2013_finds_the_same_bytes():
    said = []
    for older in ({}, {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": OLDER}):
        done = subprocess.run(
            [sys.executable, "-c", CODE], env=os.environ | older, text=True, capture_output=True, check=True
        )
        said.append(done.stdout.split())
    assert said[0][1] == said[1][1]
    assert said[1][0] == "False"


@pytest.mark.parametrize("count", [1, 5, 8, 23, 64])
def test_a_row_entered_at_once_is_that_of_one_offer_after_the_other(count):
    rng = np.random.default_rng(count)
    found, at, rank = np.zeros(72), np.zeros(72, np.int64), np.empty(72, np.int64)
    found[:count], at[:count] = rng.integers(-2, 3, count), rng.permutation(count)  # most are equal to another
    tables = [(np.full((3, 4), -np.inf), np.full((3, 4), -1)) for _ in range(2)]
    for c in range(count):
        kernels.offer(*tables[0], 1, found[c], at[c])
    kernels._enter(*tables[1], 1, found, at, count, rank)
    np.testing.assert_array_equal(tables[1], tables[0])
