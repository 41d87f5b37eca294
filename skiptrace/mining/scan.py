"""Passes over all entries of a circuit that never hold more of them than a tile.

The largest entries come from `search`, statistics and changed entries from the product of the thin factors, formed tile
by tile. Centring, token weights and the choice of tokens belong into the factors (`Circuit.centred`, `weighted`,
`restricted`).
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from skiptrace.arithmetic import on_one_thread, total
from skiptrace.circuits.factored import Circuit
from skiptrace.errors import InputError
from skiptrace.mining import kernels
from skiptrace.mining.search import Best, best
from skiptrace.mining.tiles import LARGE, SMALL, Largest, Rows, tiles
from skiptrace.mining.topk import Entries, Top

HEIGHT, WIDTH = 512, 1024  # of a tile: small enough for the cache, large enough for the matrix product
SPREAD = 8.0  # the histogram spans this many standard deviations on both sides of the mean


class Request(NamedTuple):
    """How many of the largest entries are asked for: of every row, every column, the whole; bins of a histogram.

    More than there are means all there are.
    """

    rows: int = 0
    columns: int = 0
    whole: int = 0
    bins: int = 0


@dataclass(frozen=True)
class Statistics:
    """All entries of a circuit in few numbers, in its units.

    `counts` has bins of equal width between `low` and `high`; what lies beyond is counted at the ends.
    """

    mean: float
    variance: float
    min: float
    max: float
    low: float
    high: float
    counts: Int[np.ndarray, " bins"]


@dataclass(frozen=True)
class Result:
    """What one pass found; None for what was not asked for. `columns` has the columns of the circuit as its rows."""

    rows: Top | None
    columns: Top | None
    whole: Entries | None
    statistics: Statistics | None


# Changes a tile in place, on the device of the tile; it is given the tile's first row and first column.
Change = Callable[[Float[Tensor, "rows columns"], int, int], None]


def scan(circuit: Circuit, request: Request, change: Change | None = None, threads: int = 1) -> Result:
    """The largest entries of a circuit, ties by the smaller token id, and its statistics.

    Entries of the factors in single precision are computed in double precision, ordered, and then rounded to single
    precision, so that the result does not depend on the processor or on `threads` (`search`). `change` maps a tile of
    entries to what is ranked instead. Changed entries, those on another device than the CPU, and those whose extremes
    and histogram are asked for, are computed in single precision.

    Raises:
        InputError: the circuit is empty, of rank 0 or not finite, or statistics are asked for of changed entries.
    """
    _check(circuit, request, change)
    n, m = circuit.shape
    request = Request(min(request.rows, m), min(request.columns, n), min(request.whole, n * m), request.bins)
    moments = _moments(circuit) if request.bins else None
    left, right = circuit.left.float(), circuit.right.float()
    if change is not None or circuit.device.type != "cpu":
        return _tiled(left.to(circuit.device), right.to(circuit.device), request, change, moments)
    statistics = _statistics(left, right, request.bins, moments, threads) if moments else None
    down, across = (side.contiguous().numpy() for side in (left, right.T))
    rows = columns = whole = None
    if request.rows:
        found = best(down, across, request.rows, False, threads)
        rows = _top(found, m)
        if request.rows >= request.whole > 0:  # the largest of all are among the largest of their rows
            whole = _first(found, request.whole, m)
        del found
    if request.whole and whole is None:
        whole = _first(best(down, across, request.whole, True, threads), request.whole, m)
    if request.columns:
        columns = _top(best(across, down, request.columns, False, threads), n)
    return Result(rows, columns, whole, statistics)


def _top(found: Best, columns: int) -> Top:
    index = found.place - np.arange(len(found.place))[:, None] * columns
    return Top(torch.from_numpy(_single(found.values)), torch.from_numpy(index.astype(np.int32)))


def _first(found: Best, k: int, columns: int) -> Entries:
    values, place, heads = found.values.ravel(), found.place.ravel(), found.values[:, 0]
    # The largest of k rows are k entries, so that none of the k largest is below all of them.
    among = np.flatnonzero(values >= np.partition(heads, -k)[-k]) if k <= len(heads) else np.arange(len(values))
    order = among[np.lexsort((place[among], -values[among]))[:k]]
    rows, columns_ = np.divmod(place[order], columns)
    return Entries(
        *(torch.from_numpy(a) for a in (_single(values[order]), rows.astype(np.int32), columns_.astype(np.int32)))
    )


def _single(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # an entry that single precision cannot hold is infinite there
        return values.astype(np.float32)


def row_tops(circuit: Circuit, k: int, change: Change | None = None) -> Top:
    """The k largest entries of every row, in one pass on one thread."""
    rows = scan(circuit, Request(rows=k), change).rows
    assert rows is not None
    return rows


def _check(circuit: Circuit, request: Request, change: Change | None) -> None:
    n, m = circuit.shape
    if n == 0 or m == 0 or circuit.left.shape[1] == 0:
        raise InputError(f"{circuit.label}: {n} × {m} of rank {circuit.left.shape[1]} has no entries to look at")
    # The extremes of a tensor are NaN where one of its entries is; on one thread, as waking others takes longer.
    extremes = [extreme for side in (circuit.left, circuit.right) for extreme in on_one_thread(side.aminmax)]
    if not torch.stack(extremes).isfinite().all():
        raise InputError(f"{circuit.label}: an entry is NaN or infinite; the weights of its model are not usable")
    if request.bins and change is not None:
        raise InputError(f"{circuit.label}: statistics are of the circuit's own entries, not of changed ones")


class _Moments(NamedTuple):
    mean: float
    variance: float
    low: float
    high: float


def _moments(circuit: Circuit) -> _Moments:
    """Mean and variance of all entries from rank × rank matrices alone: Σ LR = (1ᵀL)(R1), Σ (LR)² = tr(LᵀL RRᵀ)."""
    left, right = circuit.left.double(), circuit.right.double()
    entries = left.shape[0] * right.shape[1]
    mean = float(left.sum(0) @ right.sum(1)) / entries
    variance = max(float(total((left.T @ left) * (right @ right.T))) / entries - mean**2, 0.0)
    half = SPREAD * variance**0.5 or 1.0
    return _Moments(mean, variance, mean - half, mean + half)


def _statistics(left: Tensor, right: Tensor, bins: int, moments: _Moments, threads: int) -> Statistics:
    """The statistics of all entries, in single precision, formed in tiles that stay in the processor's cache."""
    left, right = left.contiguous(), right.contiguous()
    per_unit = np.float32(bins / (moments.high - moments.low))

    def count(first: int) -> tuple[np.ndarray, float, float]:
        torch.set_num_threads(1)  # of this thread
        counts = np.zeros((bins + 1, bins + 1 if bins <= kernels.PAIRED else 1), np.int64)
        low, high = np.full(WIDTH, np.inf, np.float32), np.full(WIDTH, -np.inf, np.float32)
        buffer = torch.empty(HEIGHT * WIDTH)
        for row in range(first * HEIGHT, len(left), threads * HEIGHT):
            for column in range(0, right.shape[1], WIDTH):
                parts = left[row : row + HEIGHT], right[:, column : column + WIDTH]
                tile = buffer[: len(parts[0]) * parts[1].shape[1]].view(len(parts[0]), -1)
                torch.mm(*parts, out=tile)
                kernels.count(tile.numpy(), np.float32(moments.low), per_unit, bins, counts, low, high)
        # Each entry has added to a place of its own bin, in the first or in the second direction.
        both = counts[:bins].sum(1) + (counts[:, :bins].sum(0) if bins <= kernels.PAIRED else 0)
        return both, low.min().item(), high.max().item()

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if threads == 1:
            found = [count(0)]
        else:
            with ThreadPoolExecutor(threads) as pool:
                found = list(pool.map(count, range(threads)))
    finally:
        torch.set_num_threads(before)
    counts, low, high = zip(*found, strict=True)
    return Statistics(moments.mean, moments.variance, min(low), max(high), moments.low, moments.high, np.sum(counts, 0))


def _tiled(left: Tensor, right: Tensor, request: Request, change: Change | None, moments: _Moments | None) -> Result:
    (n, _), (_, m) = left.shape, right.shape
    rows, columns = Rows(n, request.rows, left.device), Rows(m, request.columns, left.device)
    whole, counts = Largest(request.whole), np.zeros(request.bins, np.int64)
    least, most = np.inf, -np.inf
    for tile in tiles(left, right, *(SMALL if left.device.type == "cpu" else LARGE)):
        if change is not None:
            change(tile.values, tile.row, tile.column)
        if request.rows:
            rows.add(tile.values, tile.row, tile.column)
        if request.columns:
            columns.add(tile.values.T, tile.column, tile.row)
        if request.whole:
            whole.add(tile)
        if moments is not None:
            low, high = tile.values.aminmax()
            least, most = min(least, low.item()), max(most, high.item())
            inside = tile.values.clamp(moments.low, moments.high)
            counts += torch.histc(inside, request.bins, moments.low, moments.high).cpu().numpy().astype(np.int64)
    statistics = None
    if moments is not None:
        statistics = Statistics(moments.mean, moments.variance, least, most, moments.low, moments.high, counts)
    return Result(
        rows.top() if request.rows else None,
        columns.top() if request.columns else None,
        whole.entries() if request.whole else None,
        statistics,
    )
