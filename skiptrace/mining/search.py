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
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float, Int

from skiptrace.mining import kernels
from skiptrace.mining.kernels import BLOCK, HEIGHT, Instructions

T = TypeVar("T")

BYTES = 127  # the largest whole number; with 128 added on one side they are unsigned there, as the instruction wants
# Of all products, above which share many are computed again because bytes cannot tell them apart: then 16 bits can.
CROWDED = 1 / 64


class Best(NamedTuple):
    """The k largest products of each row, or of all rows together, largest first, and where they stand.

    `place` is row · m + column, `values` are in double precision; of equal ones the smaller place comes first.
    """

    values: Float[np.ndarray, "rows k"]
    place: Int[np.ndarray, "rows k"]


class Ordered(NamedTuple):
    """Vectors, the places of those that are searched, by falling largest absolute entry, and these entries."""

    vectors: Float[np.ndarray, "all rank"]
    order: Int[np.ndarray, " n"]
    peaks: Float[np.ndarray, " all"]


class Packed(NamedTuple):
    """Vectors, and those of an order as whole numbers; `norm` and `residual` are the largest of a block."""

    vectors: Float[np.ndarray, "all rank"]
    order: Int[np.ndarray, " n"]
    numbers: Int[np.ndarray, "groups steps width words"]
    scale: Float[np.ndarray, " blocks"]
    norm: Float[np.ndarray, " blocks"]
    residual: Float[np.ndarray, " blocks"]


class Threads:
    """So many threads, of which the one that asks is the first."""

    def __init__(self, count: int) -> None:
        self.count = max(1, count)
        self._others = ThreadPoolExecutor(max(1, count - 1))

    def __enter__(self) -> "Threads":
        return self

    def __exit__(self, *_: object) -> None:
        self._others.shutdown()

    def each(self, run: Callable[[int], T]) -> list[T]:
        """What `run` returns in each thread, of which it is given the number."""
        others = [self._others.submit(run, thread) for thread in range(1, self.count)]
        return [run(0), *(other.result() for other in others)]


def best(
    left: Float[np.ndarray, "n rank"], right: Float[np.ndarray, "m rank"], k: int, together: bool, threads: int
) -> Best:
    """The k largest of the products of each vector on the left with all on the right, or of all of them together."""
    m = len(right)
    rows, columns = ordered(left, 0), ordered(right, k)
    small = Instructions.bytes() and left.shape[1] < 2**16
    with Threads(threads) as shared:
        found, crowded = _search(rows, columns, k, together, shared, small=small)
        if crowded:
            found, _ = _search(rows, columns, k, together, shared, small=False)
    # A vector of zeros has the same product with every other: the first ones stand for all.
    zeros = np.flatnonzero(rows.peaks == 0)
    if together:
        first = np.arange(min(k, len(zeros) * m))
        found.append(Best(np.zeros((1, len(first))), (zeros[first // m] * m + first % m)[None]))
        values, place = (np.concatenate(parts, 1) for parts in zip(*found, strict=True))
        order = np.lexsort((place[0], -values[0]))[:k]
        return Best(values[:, order], place[:, order])
    found[0].values[zeros], found[0].place[zeros] = 0.0, zeros[:, None] * m + np.arange(k)
    return found[0]


def ordered(vectors: Float[np.ndarray, "all rank"], zeros: int) -> Ordered:
    """All vectors, so that a scale suits its block; of those of zeros only the first so many, last."""
    peaks = np.empty(len(vectors), np.float32)
    kernels.peaks(vectors.view(np.int32), peaks.view(np.int32))
    others = np.argsort(-peaks)[: np.count_nonzero(peaks)]
    return Ordered(vectors, np.concatenate([others, np.flatnonzero(peaks == 0)[:zeros]]), peaks)


def packed(side: Ordered, rows: bool, small: bool, threads: Threads) -> tuple[Packed, Int[np.ndarray, "groups width"]]:
    """One side, rows or columns, and the sums of the whole numbers of each vector."""
    n, rank = len(side.order), side.vectors.shape[1]
    width, block = (HEIGHT, BLOCK) if rows else (Instructions.columns(), Instructions.columns())
    kind, words = ((np.uint8 if rows else np.int8), 4) if small else (np.int16, 2)
    # Sums of products stay below 2³¹.
    levels = BYTES if small else min(2**15 - 1, math.isqrt((2**31 - 1) // rank))
    raised = BYTES + 1 if small and rows else 0
    blocks, steps = -(-n // block), -(-rank // words)
    numbers = np.empty((blocks * (block // width), steps, width, words), kind)
    scale, norm, residual = (np.empty(blocks) for _ in range(3))
    sums = np.empty((blocks * (block // width), width), np.int32)

    def pack(first: int) -> None:
        one, in_words = np.full(steps * words, raised, kind), numbers.view(np.int32)[..., 0]
        kernels.pack(*side, levels, raised, block, first, threads.count, one, in_words, scale, norm, residual, sums)

    threads.each(pack)
    return Packed(side.vectors, side.order, numbers, scale, norm, residual), sums


def _search(
    left: Ordered, right: Ordered, k: int, together: bool, threads: Threads, small: bool
) -> tuple[list[Best], bool]:
    """What was found, by each thread if `together`, and whether bytes are too few to tell the products apart."""
    n, rank = left.vectors.shape
    rows, _ = packed(left, True, small, threads)
    columns, sums = packed(right, False, small, threads)
    start = -(BYTES + 1) * sums if small else np.zeros_like(sums)
    count = threads.count
    lists = [_empty(1, k) for _ in range(count)] if together else [_empty(n, k)] * count
    limit = int(CROWDED * n * len(right.vectors) / count) + len(rows.order) * 8 * k if small else 2**62

    def search(first: int) -> int:
        return kernels.search(*rows, *columns, start, slack(rank), first, count, limit, together, *lists[first])

    again = threads.each(search)
    return lists if together else lists[:1], max(again) > limit


def slack(rank: int) -> float:
    """What rounding in double precision may add to an error, as a share of ‖x‖‖y‖."""
    return 4 * (rank + 8) * 2.0**-53


def _empty(rows: int, k: int) -> Best:
    return Best(np.full((rows, k), -np.inf), np.full((rows, k), -1, np.int64))
