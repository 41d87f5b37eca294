"""The largest products of two sets of vectors, exact: found by whole numbers of few bits, decided in double precision.

Each block of vectors is written as a scale times whole numbers, x = s·a + δ and y = t·b + ε. What a product differs
by from the one of the whole numbers is bounded by Cauchy and Schwarz:

    |x·y − st·(a·b)| = |s·a·ε + δ·y| ≤ (‖x‖ + ‖δ‖)‖ε‖ + ‖δ‖‖y‖

a·b has no error of its own, since sums of whole numbers are exact in any order. Norms are computed in double
precision, and so is every product that is kept; with u = 2⁻⁵³, their rounding is less than (rank + 8)·u·‖x‖‖y‖ in all,
of which four times as much is added to the bound. Whatever it cannot put below the k-th best is computed again, in
double precision, where products of two single-precision numbers are exact and sums are in one order. So the result is
that of all products computed so: it does not depend on the processor, on blocks or on threads.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from skiptrace.mining import kernels
from skiptrace.mining.kernels import HEIGHT, Instructions

BLOCK = 16 * HEIGHT  # rows that share a scale, and whose maxima are held at once
BYTES = 127  # the largest whole number; with 128 added on one side they are unsigned there, as the instruction wants
# Of all products, above which share many are computed again because bytes cannot tell them apart: then 16 bits can.
CROWDED = 1 / 64


class Best(NamedTuple):
    """The k largest products of each row, or of all rows together, largest first, and where they stand.

    `place` is row · m + column, `values` are in double precision; of equal ones the smaller place comes first.
    """

    values: Float[np.ndarray, "rows k"]
    place: Int[np.ndarray, "rows k"]


class Packed(NamedTuple):
    """Vectors, and those of an order as whole numbers; `norm` and `residual` are the largest of a block."""

    vectors: Float[np.ndarray, "all rank"]
    order: Int[np.ndarray, " n"]
    numbers: Int[np.ndarray, "groups steps width words"]
    scale: Float[np.ndarray, " blocks"]
    norm: Float[np.ndarray, " blocks"]
    residual: Float[np.ndarray, " blocks"]


def best(
    left: Float[np.ndarray, "n rank"], right: Float[np.ndarray, "m rank"], k: int, together: bool, threads: int
) -> Best:
    """The k largest of the products of each vector on the left with all on the right, or of all of them together."""
    m = len(right)
    orders = [_order(left, 0), _order(right, k)]
    small = Instructions.bytes() and left.shape[1] < 2**16
    found, crowded = _search(left, right, orders, k, together, threads, small=small)
    if crowded:
        found, _ = _search(left, right, orders, k, together, threads, small=False)
    # A vector of zeros has the same product with every other: the first ones stand for all.
    zeros = np.flatnonzero(~left.any(1))
    if together:
        first = np.arange(min(k, len(zeros) * m))
        found.append(Best(np.zeros((1, len(first))), (zeros[first // m] * m + first % m)[None]))
        values, place = (np.concatenate(parts, 1) for parts in zip(*found, strict=True))
        order = np.lexsort((place[0], -values[0]))[:k]
        return Best(values[:, order], place[:, order])
    found[0].values[zeros], found[0].place[zeros] = 0.0, zeros[:, None] * m + np.arange(k)
    return found[0]


def _order(vectors: np.ndarray, zeros: int) -> np.ndarray:
    """Places by falling largest entry, so that a scale suits its block; of vectors of zeros only the first so many."""
    peaks = np.empty(len(vectors), np.float32)
    kernels.peaks(vectors, peaks)
    return np.argsort(-peaks, kind="stable")[: np.count_nonzero(peaks) + zeros]


def _packed(vectors: np.ndarray, order: np.ndarray, rows: bool, small: bool) -> tuple[Packed, np.ndarray]:
    """One side, and the sums of the whole numbers of each vector."""
    n, rank = len(order), vectors.shape[1]
    width, block = (HEIGHT, BLOCK) if rows else (Instructions.columns(), Instructions.columns())
    kind, words = ((np.uint8 if rows else np.int8), 4) if small else (np.int16, 2)
    # Sums of products stay below 2³¹.
    levels = BYTES if small else min(2**15 - 1, math.isqrt((2**31 - 1) // rank))
    blocks = -(-n // block)
    numbers = np.empty((blocks * (block // width), -(-rank // words), width, words), kind)
    scale, norm, residual = (np.empty(blocks) for _ in range(3))
    sums = np.zeros((blocks * (block // width), width), np.int32)
    kernels.pack(
        vectors, order, levels, BYTES + 1 if small and rows else 0, block, numbers, scale, norm, residual, sums
    )
    return Packed(vectors, order, numbers, scale, norm, residual), sums


def _search(
    left: np.ndarray,
    right: np.ndarray,
    orders: list[np.ndarray],
    k: int,
    together: bool,
    threads: int,
    small: bool,
) -> tuple[list[Best], bool]:
    """What was found, by each thread if `together`, and whether bytes are too few to tell the products apart."""
    n, rank = left.shape
    rows, _ = _packed(left, orders[0], rows=True, small=small)
    columns, sums = _packed(right, orders[1], rows=False, small=small)
    start = -(BYTES + 1) * sums if small else np.zeros_like(sums)
    threads = min(threads, len(rows.scale))
    lists = [_empty(1, k) for _ in range(threads)] if together else [_empty(n, k)] * max(1, threads)
    limit = int(CROWDED * n * len(right) / max(1, threads)) + len(rows.order) * 8 * k if small else 2**62

    def run(first: int) -> int:
        into = lists[first]
        return kernels.search(*rows, *columns, start, slack(rank), first, threads, limit, together, *into)

    if threads < 2:
        again = [run(first) for first in range(threads)]
    else:
        with ThreadPoolExecutor(threads) as pool:
            again = list(pool.map(run, range(threads)))
    return lists if together else lists[:1], max(again, default=0) > limit


def slack(rank: int) -> float:
    """What rounding in double precision may add to an error, as a share of ‖x‖‖y‖."""
    return 4 * (rank + 8) * 2.0**-53


def _empty(rows: int, k: int) -> Best:
    return Best(np.full((rows, k), -np.inf), np.full((rows, k), -1, np.int64))
