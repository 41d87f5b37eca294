"""Exact selection of the largest entries, ties broken by the smaller index."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Top:
    """The k largest entries of every row, largest first, and where they stand."""

    values: Float[Tensor, "rows k"]
    index: Int[Tensor, "rows k"]


def row_top(matrix: Float[Tensor, "rows columns"], k: int) -> Top:
    """The k largest entries of every row; of equal entries the one in the smaller column first.

    Half-precision circuits are full of equal entries, and `torch.topk` does not say which it takes.
    """
    k = min(k, matrix.shape[1])
    threshold = matrix.topk(k, dim=1).values[:, -1:]
    row, column = (matrix >= threshold).nonzero(as_tuple=True)
    value = matrix[row, column]
    # nonzero lists columns in order, so stable sorts by value and then by row keep that order.
    order = value.argsort(descending=True, stable=True)
    order = order[row[order].argsort(stable=True)]
    first = torch.searchsorted(row, torch.arange(len(matrix)))
    kept = order[first[:, None] + torch.arange(k)]
    return Top(value[kept], column[kept])


class ColumnTop:
    """The k largest entries of every column of a matrix that arrives in tiles of rows."""

    def __init__(self, k: int) -> None:
        self.k = k
        self._top: Top | None = None

    def add(self, start: int, tile: Float[Tensor, "rows columns"]) -> None:
        """Take in the rows `start`, `start + 1`, …; tiles come in ascending order."""
        new = row_top(tile.T, self.k)
        new = Top(new.values, new.index + start)
        if self._top is not None:
            values = torch.cat([self._top.values, new.values], 1)
            index = torch.cat([self._top.index, new.index], 1)
            best = row_top(values, self.k)
            new = Top(best.values, index.gather(1, best.index))
        self._top = new

    def result(self) -> Top:
        """The entries `[columns, k]` and their rows, largest first; ties by the smaller row."""
        assert self._top is not None, "no tile was added"
        return self._top


def order(score: Float[Tensor, " n"]) -> Int[Tensor, " n"]:
    """Positions by descending score, equal scores in their present order."""
    return score.argsort(descending=True, stable=True)
