"""Expanded circuits read back tile by tile or row by row; every byte that is used is compared with its checksum."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Float
from torch import Tensor

from skiptrace.errors import InputError
from skiptrace.expansion.layout import partition
from skiptrace.expansion.parquet import CHUNKS, MAGIC, is_intact
from skiptrace.seals import MARK, REMEDY, damaged, intact

END = 512  # bytes at the end of a part among which the mark of its footer's checksum stands


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
    """One row of a circuit in half precision, reading its row group alone.

    Raises:
        InputError: the circuit was not stored, a part is unreadable or damaged, or there is no such row.
    """
    place = folder / partition(circuit, layer, head)
    rows = _open(place / "part-00000.parquet").num_rows
    path = place / f"part-{token_id // rows:05d}.parquet"
    if token_id < 0 or not path.exists():
        raise InputError(f"{place}: there is no row {token_id}, or its part is missing; reproduce the expand stage")
    footer, left = _open(path), token_id % rows
    for group in range(footer.num_row_groups):
        about = footer.row_group(group)
        if left < about.num_rows:
            start, values = _read_group(path, footer, group)
            if start + left != token_id:
                raise InputError(f"{path}: row group {group} begins at row {start}; {REMEDY}")
            return values[left].copy()
        left -= about.num_rows
    raise InputError(f"{place}: there is no row {token_id}")


def verify_part(path: Path) -> None:
    """Compare a part with its checksums.

    Raises:
        InputError: it is unreadable or damaged.
    """
    for _ in _read_part(path):
        pass


def is_whole(file: BinaryIO, path: Path) -> bool:
    """Whether an open part has, byte for byte, what was written: the last bytes hold checksums of all before them."""
    try:
        footer, is_sealed = _footer(file, path)
        checksums = _checksums(footer)
        file.seek(0)
        if not is_sealed or not checksums or file.read(len(MAGIC)) != MAGIC:
            return False
        for group in range(footer.num_row_groups):
            for column in range(footer.num_columns):
                _chunk(file, path, footer, checksums, group, column)
    except (InputError, OSError, pa.ArrowException):
        return False
    return True


def _read_part(path: Path) -> Iterator[Tile]:
    footer = _open(path)
    for group in range(footer.num_row_groups):
        start, values = _read_group(path, footer, group)
        yield Tile(start, torch.from_numpy(values.astype(np.float32)))


def _open(path: Path) -> pq.FileMetaData:
    try:
        with path.open("rb") as file:
            return _footer(file, path)[0]
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: not a readable part file ({error}); reproduce the expand stage") from None


def _footer(file: BinaryIO, path: Path) -> tuple[pq.FileMetaData, bool]:
    """The footer of a part, and whether it has a checksum; a damaged footer can abort the process that parses it."""
    size = file.seek(0, os.SEEK_END)
    file.seek(-min(size, END), os.SEEK_END)
    end = file.read()
    length = int.from_bytes(end[-8:-4], "little") + 8
    file.seek(-min(size, length), os.SEEK_END)
    if (is_sealed := MARK in end) and not intact(file.read()):
        raise damaged(path)
    return pq.read_metadata(file), is_sealed


def _read_group(path: Path, footer: pq.FileMetaData, group: int) -> tuple[int, np.ndarray]:
    """The token id of the first row, and the rows `[rows, columns]` in half precision."""
    about = footer.row_group(group)
    checksums = _checksums(footer)
    if not checksums:
        return _read_group_of_others(path, group)
    with path.open("rb") as file:
        ids, values = (_chunk(file, path, footer, checksums, group, column) for column in (0, about.num_columns - 1))
    # Plain numbers end a column chunk: the matrix lies there as it is.
    rows, columns = about.num_rows, about.column(about.num_columns - 1).num_values // about.num_rows
    start = np.frombuffer(ids, "<i4", rows, len(ids) - 4 * rows)[0]
    matrix = np.frombuffer(values, "<f2", rows * columns, len(values) - 2 * rows * columns)
    return int(start), matrix.reshape(rows, columns)


def _checksums(footer: pq.FileMetaData) -> str:
    return (footer.metadata or {}).get(CHUNKS.encode(), b"").decode()


def _chunk(file: BinaryIO, path: Path, footer: pq.FileMetaData, checksums: str, group: int, column: int) -> bytes:
    about = footer.row_group(group)
    chunk, index = about.column(column), 12 * (group * about.num_columns + column)
    file.seek(chunk.data_page_offset)
    content = file.read(chunk.total_compressed_size)
    if len(content) != chunk.total_compressed_size or not is_intact(content, checksums[index : index + 12]):
        raise damaged(path)
    return content


def _read_group_of_others(path: Path, group: int) -> tuple[int, np.ndarray]:
    """The same of a part that another program wrote."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            table = file.read_row_group(group, columns=["token_id", "values"])
            entries = table["values"].combine_chunks()
            return table["token_id"][0].as_py(), entries.flatten().to_numpy().reshape(len(entries), -1)
    except (OSError, KeyError, ValueError, IndexError, TypeError, pa.ArrowException) as error:
        raise InputError(f"{path}: not a readable part file ({error}); reproduce the expand stage") from None
