"""One pass over all entries of a circuit that never holds more of them than a tile.

The product of the thin factors is formed tile by tile in one reused buffer. Maxima of blocks of entries decide
where it is worth looking, and a running k-th best value falls behind fewer of them as the pass goes on. Centring,
token weights and the choice of tokens belong into the factors (`Circuit.centred`, `weighted`, `restricted`).
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from skiptrace.arithmetic import total
from skiptrace.circuits.factored import Circuit
from skiptrace.errors import InputError
from skiptrace.mining import kernels
from skiptrace.mining.accelerated import Best, Largest, tiles
from skiptrace.mining.topk import Entries, Top, row_top

HEIGHT, WIDTH = 512, 1024  # of a tile: small enough for the cache, large enough for the matrix product
MERGED = 8192  # columns whose best entries are merged at once
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
    """The largest entries of a circuit, exact, ties by the smaller token id, and its statistics.

    The pass runs on the circuit's device. `change` maps the entries of a tile to what is ranked instead. The result
    does not depend on `threads`, up to the order in which a column's or the whole matrix's equal entries are found,
    which is sorted out.

    Raises:
        InputError: the circuit is empty, of rank 0 or not finite, or statistics are asked for of changed entries.
    """
    _check(circuit, request, change)
    n, m = circuit.shape
    request = Request(min(request.rows, m), min(request.columns, n), min(request.whole, n * m), request.bins)
    moments = _moments(circuit) if request.bins else None
    left, right = circuit.left.float().contiguous(), circuit.right.float().contiguous()
    if circuit.device.type != "cpu":
        return _accelerated(left.to(circuit.device), right.to(circuit.device), request, change, moments)
    height = -(-n // threads // HEIGHT) * HEIGHT or HEIGHT
    slabs = [_Slab(left, right, range(r, min(r + height, n)), request, change, moments) for r in range(0, n, height)]
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if len(slabs) == 1:
            slabs[0].run()
        else:
            with ThreadPoolExecutor(len(slabs)) as pool:
                list(pool.map(_Slab.run, slabs))
    finally:
        torch.set_num_threads(before)
    return _merge(slabs, request, moments)


def row_tops(circuit: Circuit, k: int, change: Change | None = None) -> Top:
    """The k largest entries of every row, in one pass on one thread."""
    rows = scan(circuit, Request(rows=k), change).rows
    assert rows is not None
    return rows


def _check(circuit: Circuit, request: Request, change: Change | None) -> None:
    n, m = circuit.shape
    if n == 0 or m == 0 or circuit.left.shape[1] == 0:
        raise InputError(f"{circuit.label}: {n} × {m} of rank {circuit.left.shape[1]} has no entries to look at")
    if not (circuit.left.isfinite().all() and circuit.right.isfinite().all()):
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


class _Slab:
    """Consecutive rows, looked at by one thread."""

    def __init__(
        self,
        left: Tensor,
        right: Tensor,
        rows: range,
        request: Request,
        change: Change | None,
        moments: _Moments | None,
    ) -> None:
        self.left, self.right, self.slab, self.request = left, right, rows, request
        self.change, self.moments = change, moments
        self.rows = _empty(len(rows), request.rows)
        self.columns = _empty(right.shape[1], request.columns)
        self.worst = np.full(right.shape[1], -np.inf, np.float32)
        self.whole = (*_empty(request.whole), np.full(request.whole, -1, np.int32))
        self.min, self.max = np.inf, -np.inf
        self.counts = np.zeros((kernels.LANES, request.bins), np.int64)

    def run(self) -> None:
        """Look at every tile, rows of tiles in order and each from left to right."""
        torch.set_num_threads(1)  # of this thread
        width = self.right.shape[1]
        buffer = torch.empty(HEIGHT * WIDTH)
        for row in range(self.slab.start, self.slab.stop, HEIGHT):
            left = self.left[row : min(row + HEIGHT, self.slab.stop)]
            for column in range(0, width, WIDTH):
                right = self.right[:, column : column + WIDTH]
                tile = buffer[: len(left) * right.shape[1]].view(len(left), -1)
                torch.mm(left, right, out=tile)
                if self.change is not None:
                    self.change(tile, row, column)
                self._look(tile, row, column)

    def _look(self, tile: Tensor, row: int, column: int) -> None:
        request, entries = self.request, tile.numpy()
        if request.rows or request.whole:
            across = _block_maxima(tile, 1, kernels.ROW_BLOCK)
        if request.rows:
            here = slice(row - self.slab.start, row - self.slab.start + len(tile))
            kernels.take_rows(entries, across, column, self.rows[0][here], self.rows[1][here])
        if request.whole:
            kernels.take_whole(entries, across, row, column, *self.whole)
        if request.columns:
            here = slice(column, column + tile.shape[1])
            best = (a[here] for a in (self.worst, *self.columns))
            kernels.take_columns(entries, _block_maxima(tile, 0, kernels.COLUMN_BLOCK), row, *best)
        if self.moments is not None:
            low, high = tile.aminmax()
            self.min, self.max = min(self.min, low.item()), max(self.max, high.item())
            per_unit = request.bins / (self.moments.high - self.moments.low)
            kernels.count(entries, np.float32(self.moments.low), np.float32(per_unit), self.counts)


def _empty(*shape: int) -> tuple[np.ndarray, np.ndarray]:
    return np.full(shape, -np.inf, np.float32), np.full(shape, -1, np.int32)


def _block_maxima(tile: Tensor, dim: int, block: int) -> np.ndarray:
    """The maxima of blocks of entries along one dimension; the last block may be shorter."""
    size = tile.shape[dim]
    whole = size - size % block
    parts = []
    if whole:
        parts.append(tile.narrow(dim, 0, whole).unflatten(dim, (-1, block)).amax(dim + 1))
    if whole < size:
        parts.append(tile.narrow(dim, whole, size - whole).amax(dim, keepdim=True))
    return (parts[0] if len(parts) == 1 else torch.cat(parts, dim)).numpy()


def _merge(slabs: list[_Slab], request: Request, moments: _Moments | None) -> Result:
    rows = columns = whole = statistics = None
    if request.rows:
        rows = Top(*(torch.from_numpy(np.concatenate([s.rows[i] for s in slabs])) for i in (0, 1)))
    if request.columns:
        columns = _merge_columns([s.columns for s in slabs], request.columns)
    if request.whole:
        values, at_row, at_column = (torch.from_numpy(np.concatenate([s.whole[i] for s in slabs])) for i in range(3))
        whole = Entries.sorted(values, at_row, at_column, request.whole)
    if moments is not None:
        counts = sum(s.counts.sum(0) for s in slabs)
        extremes = min(s.min for s in slabs), max(s.max for s in slabs)
        statistics = Statistics(moments.mean, moments.variance, *extremes, moments.low, moments.high, counts)
    return Result(rows, columns, whole, statistics)


def _merge_columns(found: list[tuple[np.ndarray, np.ndarray]], k: int) -> Top:
    """The best of each column among those of all slabs, some columns at a time."""
    best = []
    for start in range(0, len(found[0][0]), MERGED):
        here = slice(start, start + MERGED)
        values, index = (torch.from_numpy(np.concatenate([part[i][here] for part in found], 1)) for i in (0, 1))
        # Slabs stand in the order of their rows, so that ties by place are ties by row.
        top = row_top(values, k)
        best.append(Top(top.values, index.gather(1, top.index)))
    return Top(torch.cat([top.values for top in best]), torch.cat([top.index for top in best]))


def _accelerated(
    left: Tensor, right: Tensor, request: Request, change: Change | None, moments: _Moments | None
) -> Result:
    (n, _), (_, m) = left.shape, right.shape
    rows, columns = Best(n, request.rows, left.device), Best(m, request.columns, left.device)
    whole, counts = Largest(request.whole), np.zeros(request.bins, np.int64)
    least, most = np.inf, -np.inf
    for tile in tiles(left, right):
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
