"""Circuits expanded to Parquet, one tile in memory at a time."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tqdm import tqdm

from skiptrace.circuits.factored import Circuit
from skiptrace.config.expansion import ExpansionParams
from skiptrace.errors import InputError
from skiptrace.expansion.layout import partition
from skiptrace.files import atomic

LARGEST_HALF = float(np.finfo(np.float16).max)


class Rows(NamedTuple):
    """A half-open range of row tokens."""

    start: int
    stop: int


def cut(n_rows: int, size: int, start: int = 0) -> Iterator[Rows]:
    """Consecutive ranges of at most `size` rows, from `start` up to `n_rows`."""
    for first in range(start, n_rows, size):
        yield Rows(first, min(first + size, n_rows))


def schema(columns: int) -> pa.Schema:
    """One row per row token: its id, its smallest and largest entry, and all its entries."""
    return pa.schema(
        [
            ("token_id", pa.int32()),
            ("row_min", pa.float32()),
            ("row_max", pa.float32()),
            ("values", pa.list_(pa.float16(), columns)),
        ]
    )


def write(circuits: list[Circuit], folder: Path, params: ExpansionParams) -> None:
    """Expand every circuit under `folder`; part boundaries depend on the parameters alone.

    Raises:
        InputError: a factor is not finite, or an entry exceeds what half precision holds.
    """
    jobs = [(c, rows) for c in circuits for rows in cut(c.left.shape[0], params.chunk_rows)]
    for circuit, rows in tqdm(jobs, "expanding circuits", disable=None):
        place = folder / partition(circuit.name, circuit.layer, circuit.head)
        _write_part(circuit, rows, place / f"part-{rows.start // params.chunk_rows:05d}.parquet", params)


def _write_part(circuit: Circuit, rows: Rows, path: Path, params: ExpansionParams) -> None:
    columns = circuit.right.shape[1]
    height = min(params.row_group_rows, rows.stop - rows.start)
    tile = torch.empty(height, columns, dtype=circuit.left.dtype)
    # Statistics of single entries would cost half of the writing time and prune nothing.
    options = {"compression": "zstd", "write_statistics": ["token_id", "row_min", "row_max"]}
    with atomic(path) as temporary, pq.ParquetWriter(temporary, schema(columns), **options) as writer:
        for group in cut(rows.stop, height, rows.start):
            values = tile[: group.stop - group.start]
            torch.mm(circuit.left[group.start : group.stop], circuit.right, out=values)
            writer.write_table(_to_table(circuit, group, values))


def _to_table(circuit: Circuit, rows: Rows, values: torch.Tensor) -> pa.Table:
    low, high = values.amin(1), values.amax(1)
    if not (low.isfinite() & high.isfinite()).all():
        raise InputError(f"{circuit.label}: an entry is NaN or infinite; the weights of its model are not usable")
    if max(-low.min().item(), high.max().item()) > LARGEST_HALF:
        raise InputError(f"{circuit.label}: an entry exceeds {LARGEST_HALF:.0f}, the largest half-precision number")
    flat = pa.array(values.half().numpy().reshape(-1))
    token_ids = pa.array(np.arange(rows.start, rows.stop, dtype=np.int32))
    lists = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
    return pa.table(
        [token_ids, pa.array(low.float().numpy()), pa.array(high.float().numpy()), lists],
        schema=schema(values.shape[1]),
    )
