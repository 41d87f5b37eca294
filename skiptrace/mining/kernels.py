"""The loops over a tile that tensor libraries lack, compiled; they run while the tile is in the processor's cache.

Each looks only at blocks whose maximum beats the k-th best value so far. All run without the interpreter's lock.
"""

import contextlib
from collections.abc import Callable
from typing import Any, no_type_check

import numpy as np
from numba import njit
from numba.core.caching import FunctionCache

ROW_BLOCK, COLUMN_BLOCK = 64, 16  # entries of a row, and of a column, that one maximum stands for
LANES = 8  # copies of the histogram, so that neighbours that fall in one bin do not wait for each other


class _Cache(FunctionCache):
    """Numba's cache on disk, which raises what pickle raises if one of its files was cut short."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled function, or None, which compiles it anew."""
        try:
            return super().load_overload(sig, target_context)
        except Exception:
            self.flush()
            return None


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a loop, without the interpreter's lock, and once for all runs where there is a folder to keep it in.

    That is `NUMBA_CACHE_DIR`, the one beside this file, or the user's cache; where none can be written, every run
    compiles anew. A damaged file there is compiled anew too.
    """

    def compile_lazily(function: Callable[..., Any]) -> Any:
        dispatcher = njit(nogil=True, **options)(function)
        with contextlib.suppress(RuntimeError):  # no folder
            dispatcher._cache = _Cache(function)  # what `cache=True` does with Numba's own
        return dispatcher

    return compile_lazily


@compiled()
@no_type_check
def take_rows(tile, maxima, first_column, values, index):
    """Enter a tile [n, m] into the best of each row, values and index [n, k]; maxima [n, ⌈m/ROW_BLOCK⌉].

    Tiles come with ascending columns, so an equal entry that comes later has the larger column and stays out.
    """
    n, m = tile.shape
    last = values.shape[1] - 1
    for i in range(n):
        best, place = values[i], index[i]
        for block in range(maxima.shape[1]):
            if maxima[i, block] <= best[last]:
                continue
            for j in range(block * ROW_BLOCK, min(m, (block + 1) * ROW_BLOCK)):
                value = tile[i, j]
                if value > best[last]:
                    p = last
                    while p > 0 and best[p - 1] < value:
                        best[p], place[p] = best[p - 1], place[p - 1]
                        p -= 1
                    best[p], place[p] = value, first_column + j


@compiled()
@no_type_check
def take_columns(tile, maxima, first_row, worst, values, index):
    """Enter a tile [n, m] into the best of each column, values and index [m, k]; maxima [⌈n/COLUMN_BLOCK⌉, m].

    `worst` [m] repeats the last column of `values`, which is compared with every maximum, without gaps.
    """
    n, m = tile.shape
    last = values.shape[1] - 1
    for block in range(maxima.shape[0]):
        for j in range(m):
            if maxima[block, j] <= worst[j]:
                continue
            best, place = values[j], index[j]
            for i in range(block * COLUMN_BLOCK, min(n, (block + 1) * COLUMN_BLOCK)):
                value = tile[i, j]
                if value > best[last]:
                    p = last
                    while p > 0 and best[p - 1] < value:
                        best[p], place[p] = best[p - 1], place[p - 1]
                        p -= 1
                    best[p], place[p] = value, first_row + i
            worst[j] = best[last]


@compiled()
@no_type_check
def take_whole(tile, maxima, first_row, first_column, values, rows, columns):
    """Enter a tile into the best of the whole matrix, [k] each; of equal entries the smaller (row, column) first.

    Tiles come in no order of both, so that equal entries have to be compared by their places.
    """
    n, m = tile.shape
    last = len(values) - 1
    for i in range(n):
        row = first_row + i
        for block in range(maxima.shape[1]):
            if maxima[i, block] < values[last]:
                continue
            for j in range(block * ROW_BLOCK, min(m, (block + 1) * ROW_BLOCK)):
                value, column = tile[i, j], first_column + j
                if not _before(value, row, column, values[last], rows[last], columns[last]):
                    continue
                p = last
                while p > 0 and _before(value, row, column, values[p - 1], rows[p - 1], columns[p - 1]):
                    values[p], rows[p], columns[p] = values[p - 1], rows[p - 1], columns[p - 1]
                    p -= 1
                values[p], rows[p], columns[p] = value, row, column


@compiled(inline="always")
@no_type_check
def _before(value, row, column, other, other_row, other_column):
    if value != other:
        return value > other
    return row < other_row or (row == other_row and column < other_column)


@compiled(fastmath=True)
@no_type_check
def count(tile, low, per_unit, counts):
    """Add a tile's entries to a histogram, counts [LANES, bins], that begins at `low`; its ends take the rest."""
    n, m = tile.shape
    top = np.float32(counts.shape[1] - 1)
    bins = np.empty(m, np.int32)
    for i in range(n):
        for j in range(m):
            bins[j] = np.int32(min(max((tile[i, j] - low) * per_unit, np.float32(0)), top))
        for j in range(m):
            counts[j % LANES, bins[j]] += 1
