"""Expanded circuits read back tile by tile."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Float
from torch import Tensor

from skiptrace.errors import InputError
from skiptrace.expansion.layout import partition


class Tile(NamedTuple):
    """Consecutive rows of a circuit: the first row's token id, and the entries in float32."""

    start: int
    values: Float[Tensor, "rows columns"]


class Tiles:
    """The rows of one circuit in order, one row group at a time, as often as they are asked for.

    Raises, on iteration:
        InputError: a part is missing, truncated or out of order; names the file.
    """

    def __init__(self, folder: Path, circuit: str, layer: str, head: str) -> None:
        self._place = folder / partition(circuit, layer, head)

    def __iter__(self) -> Iterator[Tile]:
        parts = sorted(self._place.glob("part-*.parquet"))
        if not parts:
            raise InputError(f"{self._place}: no part files; reproduce the expand stage")
        expected, columns = 0, 0
        for part in parts:
            for tile in _read_part(part):
                columns = tile.values.shape[1]
                if tile.start != expected:
                    raise InputError(f"{part}: begins at row {tile.start}, expected row {expected}; reproduce it")
                expected += len(tile.values)
                yield tile
        if expected != columns:
            raise InputError(f"{self._place}: holds {expected} rows of {columns}; a part is missing")


def _read_part(path: Path) -> Iterator[Tile]:
    try:
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns=["token_id", "values"])
                entries = table["values"].combine_chunks()
                values = entries.flatten().to_numpy().reshape(len(entries), -1)
                yield Tile(table["token_id"][0].as_py(), torch.from_numpy(values.copy()).float())
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise InputError(f"{path}: not a readable part file ({error}); reproduce the expand stage") from None
