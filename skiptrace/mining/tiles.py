"""A pass over a product with tensor operations alone, tile by tile: for other devices, and for changed entries."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from skiptrace.mining.topk import Entries, Top, row_top

# Height and width of a tile: 128 MB, large enough to keep a device busy; and few enough for the processor's cache.
LARGE, SMALL = (2048, 16384), (256, 2048)


class Tile(NamedTuple):
    """A part of the product, with its first row and column."""

    row: int
    column: int
    values: Float[Tensor, "rows columns"]


def tiles(left: Float[Tensor, "n rank"], right: Float[Tensor, "rank m"], height: int, width: int) -> Iterator[Tile]:
    """The product of two factors in tiles, rows of tiles in order and each from left to right."""
    for row in range(0, left.shape[0], height):
        for column in range(0, right.shape[1], width):
            yield Tile(row, column, left[row : row + height] @ right[:, column : column + width])


class Rows:
    """The largest entries of rows that arrive piece by piece, pieces of a row in ascending order."""

    def __init__(self, rows: int, k: int, device: torch.device) -> None:
        self.k = k
        self.values = torch.full((rows, k), -torch.inf, device=device)
        self.index = torch.full((rows, k), -1, dtype=torch.int64, device=device)

    def add(self, piece: Float[Tensor, "rows columns"], first_row: int, first_column: int) -> None:
        """Take in entries of consecutive rows and columns."""
        here = slice(first_row, first_row + len(piece))
        new = row_top(piece, self.k)
        values = torch.cat([self.values[here], new.values], 1)
        index = torch.cat([self.index[here], new.index + first_column], 1)
        best = row_top(values, self.k)
        self.values[here], self.index[here] = best.values, index.gather(1, best.index)

    def top(self) -> Top:
        """The largest entries of every row, largest first."""
        return Top(self.values.cpu(), self.index.int().cpu())


class Largest:
    """The largest entries of a matrix that arrives in tiles."""

    def __init__(self, k: int) -> None:
        self.k = k
        self.found: list[Entries] = []

    def add(self, tile: Tile) -> None:
        """Take in one tile, keeping every entry that ties with the last one kept."""
        flat = tile.values.flatten()
        threshold = flat.topk(min(self.k, len(flat))).values[-1]
        place = (flat >= threshold).nonzero().squeeze(1)
        width = tile.values.shape[1]
        # In the order of the places, so that the first of equal entries come first.
        place = place[flat[place].argsort(descending=True, stable=True)[: self.k]]
        rows, columns = tile.row + place // width, tile.column + place % width
        self.found = [_best([*self.found, Entries(flat[place].cpu(), rows.int().cpu(), columns.int().cpu())], self.k)]

    def entries(self) -> Entries:
        """The largest entries, largest first; of equal ones the smaller (row, column) first."""
        return self.found[0]


def _best(found: list[Entries], k: int) -> Entries:
    parts = ([getattr(f, part) for f in found] for part in ("values", "rows", "columns"))
    values, rows, columns = (torch.cat(part) for part in parts)
    return Entries.sorted(values, rows, columns, k)
