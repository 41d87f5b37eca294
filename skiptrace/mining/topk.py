"""Exact selection of the largest entries, ties broken by the smaller index."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Top:
    """The k largest entries of every row, largest first, and where they stand."""

    values: Float[Tensor, "rows k"]
    index: Int[Tensor, "rows k"]


@dataclass(frozen=True)
class Entries:
    """Entries of a matrix, largest first; of equal ones the smaller (row, column) first."""

    values: Float[Tensor, " k"]
    rows: Int[Tensor, " k"]
    columns: Int[Tensor, " k"]

    @classmethod
    def sorted(cls, values: Tensor, rows: Tensor, columns: Tensor, k: int) -> "Entries":
        """The k first of entries that stand in any order."""
        order = torch.from_numpy(np.lexsort((columns.numpy(), rows.numpy(), -values.numpy()))[:k])
        return cls(values[order], rows[order], columns[order])


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
    first = torch.searchsorted(row, torch.arange(len(matrix), device=row.device))
    kept = order[first[:, None] + torch.arange(k, device=row.device)]
    return Top(value[kept], column[kept])


def order(score: Float[Tensor, " n"]) -> Int[Tensor, " n"]:
    """Positions by descending score, equal scores in their present order."""
    return score.argsort(descending=True, stable=True)
