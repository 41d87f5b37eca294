"""Expanded circuits read back tile by tile."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
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


def read_row(folder: Path, circuit: str, layer: str, head: str, token_id: int) -> Float[np.ndarray, " columns"]:
    """One row of a circuit in half precision, without reading the others.

    Raises:
        InputError: the circuit was not stored, a part is unreadable, or there is no such row.
    """
    place = folder / partition(circuit, layer, head)
    first = place / "part-00000.parquet"
    with _open(first) as file:
        rows = file.metadata.num_rows
    path = place / f"part-{token_id // rows:05d}.parquet"
    if not path.exists():
        raise InputError(f"{place}: there is no row {token_id}")
    with _open(path) as file:
        left = token_id % rows
        for group in range(file.num_row_groups):
            about = file.metadata.row_group(group)
            if left < about.num_rows:
                return _row_of_group(file, path, group, left)
            left -= about.num_rows
    raise InputError(f"{place}: there is no row {token_id}")


def _row_of_group(file: pq.ParquetFile, path: Path, group: int, row: int) -> np.ndarray:
    about = file.metadata.row_group(group)
    chunk = about.column(about.num_columns - 1)
    columns = chunk.num_values // about.num_rows
    if chunk.compression != "UNCOMPRESSED" or set(chunk.encodings) != {"PLAIN", "RLE"}:
        return file.read_row_group(group, columns=["values"])["values"].combine_chunks()[row].values.to_numpy()
    # Plain numbers end the column chunk: the matrix lies there as it is.
    start = chunk.data_page_offset + chunk.total_compressed_size - 2 * columns * (about.num_rows - row)
    return np.fromfile(path, "<f2", columns, offset=start)


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: not a readable part file ({error}); reproduce the expand stage") from None


def _read_part(path: Path) -> Iterator[Tile]:
    try:
        with _open(path) as file:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns=["token_id", "values"])
                entries = table["values"].combine_chunks()
                values = entries.flatten().to_numpy().reshape(len(entries), -1)
                yield Tile(table["token_id"][0].as_py(), torch.from_numpy(values.copy()).float())
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise InputError(f"{path}: not a readable part file ({error}); reproduce the expand stage") from None
