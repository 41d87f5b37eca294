"""Circuits expanded to Parquet, part by part, each by whichever worker is free.

A part is finished when a note lies beside it that says what it was made of. An expansion that is begun again keeps the
parts whose notes are true of it and which agree with their own checksums, and makes the others.
"""

import errno
import functools
import hashlib
import json
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import fsspec
import numpy as np
import torch

from skiptrace.circuits.factored import Circuit, Name, named
from skiptrace.config.expansion import ExpansionParams
from skiptrace.devices import CPU
from skiptrace.errors import InputError
from skiptrace.expansion.layout import partition
from skiptrace.expansion.parquet import Rows, Sink, Writer
from skiptrace.expansion.reader import is_whole
from skiptrace.models.loaded import loaded, version
from skiptrace.workers import side_by_side, source_hash

LARGEST_HALF = float(np.finfo(np.float16).max)
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Stored(NamedTuple):
    """A circuit of a model that lies in a folder; any worker that sees the folder can form its factors."""

    folder: str
    name: Name
    device: torch.device = CPU

    def load(self) -> tuple[Circuit, str]:
        """The circuit, and a hash of its factors."""
        return _load(self, version(Path(self.folder) / "model.safetensors"))


class Part(NamedTuple):
    """Consecutive row tokens of a circuit, half open, and the file they go to, inside the expansion."""

    start: int
    stop: int
    path: str


def cut(n_rows: int, size: int, start: int = 0) -> Iterator[tuple[int, int]]:
    """Consecutive half-open ranges of at most `size` rows, from `start` up to `n_rows`."""
    for first in range(start, n_rows, size):
        yield first, min(first + size, n_rows)


def parts(name: Name, n_rows: int, params: ExpansionParams) -> list[Part]:
    """The parts of a circuit; their boundaries depend on the parameters alone."""
    place = partition(*name).as_posix()
    ranges = enumerate(cut(n_rows, params.chunk_rows))
    return [Part(*rows, f"{place}/part-{index:05d}.parquet") for index, rows in ranges]


def estimate(circuits: int, d_vocab: int) -> int:
    """Bytes of so many circuits in Parquet: two per entry, and twelve per row."""
    return circuits * d_vocab * (2 * d_vocab + 12)


def refuse_too_much(circuits: int, d_vocab: int, params: ExpansionParams, folder: Path) -> None:
    """Do nothing where an expansion fits.

    Raises:
        InputError: it needs more than `expansion.max_bytes`, or than is free on the disk of `folder`.
    """
    needed = estimate(circuits, d_vocab)
    there = next(place for place in (folder, *folder.resolve().parents) if place.exists())
    begun = sum(file.stat().st_size for file in folder.rglob("part-*.parquet")) if folder.exists() else 0
    free = shutil.disk_usage(there).free + begun
    limit, name = min((params.max_bytes, "expansion.max_bytes"), (free, "what is free on the disk"))
    if needed > limit:
        raise InputError(
            f"{circuits} circuits of {d_vocab} × {d_vocab} need {_gigabytes(needed)}, more than {name}, "
            f"{_gigabytes(limit)}; name fewer expansion.circuits or expansion.heads, or set expansion.store to none, "
            "which mines the same tables without storing an entry"
        )


def write(
    circuits: Sequence[Circuit | Stored],
    n_rows: int,
    folder: str,
    params: ExpansionParams,
    how: Mapping[str, str] | None = None,
) -> None:
    """Expand every circuit under `folder`, a path or a URL that all workers see.

    `how` they were made (`ModelConfig.readings`) is part of the metadata of every file.

    Raises:
        InputError: a factor is not finite, an entry exceeds what half precision holds, or the disk is full.
    """
    jobs = [
        (circuit, part, folder, params, dict(how or {}))
        for circuit in circuits
        for part in parts(_name(circuit), n_rows, params)
    ]
    side_by_side(write_part, jobs, "expanding circuits", threads=True)


def write_part(
    source: Circuit | Stored, part: Part, folder: str, params: ExpansionParams, how: Mapping[str, str] | None = None
) -> None:
    """Write one part and the note beside it, unless they are there already and true."""
    circuit, factors = source.load() if isinstance(source, Stored) else (source, _hash(source))
    files, root = fsspec.core.url_to_fs(folder)
    path = f"{root}/{part.path}"
    how = how or {}
    made_of = _made_of(factors, part, params, circuit.device, how)
    if _finished(files, path, made_of):
        return
    # Another worker may be writing the same part, if the cluster lost sight of it.
    temporary = _hidden(f"{path}.{uuid.uuid4().hex[:8]}.partial")
    try:
        files.makedirs(path.rpartition("/")[0], exist_ok=True)
        with files.open(temporary, "wb") as file:
            _fill(circuit, part, file, params, how)
        files.mv(temporary, path)
        with files.open(temporary, "wb") as file:
            file.write(json.dumps({"made_of": made_of}).encode())
        files.mv(temporary, _note(path))
    except OSError as error:
        if error.errno in FULL:
            raise InputError(
                f"{path}: no space left on the disk; the finished parts are kept, so free some and run it again"
            ) from None
        if error.filename is None:
            raise OSError(error.errno, error.strerror or str(error), path) from error
        raise
    finally:
        if files.exists(temporary):
            files.rm(temporary)


def _fill(circuit: Circuit, part: Part, file: Sink, params: ExpansionParams, how: Mapping[str, str]) -> None:
    where = circuit.device
    left, right = circuit.left.float().to(where), circuit.right.float().to(where)
    columns, height = right.shape[1], min(params.row_group_rows, part.stop - part.start)
    tile = torch.empty(height, columns, device=where)
    half = torch.empty(height, columns, device=where, dtype=torch.float16)
    writer = Writer(file, columns, how)
    for start, stop in cut(part.stop, height, part.start):
        values, narrow = tile[: stop - start], half[: stop - start]
        torch.mm(left[start:stop], right, out=values)
        low, high = values.amin(1).cpu(), values.amax(1).cpu()
        _refuse_what_half_cannot_hold(circuit, low, high)
        narrow.copy_(values)
        writer.write(Rows(np.arange(start, stop, dtype=np.int32), low.numpy(), high.numpy(), narrow.cpu().numpy()))
    writer.close()


def _refuse_what_half_cannot_hold(circuit: Circuit, low: torch.Tensor, high: torch.Tensor) -> None:
    if not (low.isfinite() & high.isfinite()).all():
        raise InputError(f"{circuit.label}: an entry is NaN or infinite; the weights of its model are not usable")
    if max(-low.min().item(), high.max().item()) > LARGEST_HALF:
        raise InputError(f"{circuit.label}: an entry exceeds {LARGEST_HALF:.0f}, the largest half-precision number")


def _finished(files: fsspec.AbstractFileSystem, path: str, made_of: str) -> bool:
    """Whether the part is there as it was written, and its note says that it is of these factors."""
    try:
        if json.loads(files.cat_file(_note(path)))["made_of"] != made_of:
            return False
        with files.open(path, "rb") as file:
            return is_whole(file, Path(path))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _note(path: str) -> str:
    return _hidden(path.removesuffix(".parquet") + ".json")


def _hidden(path: str) -> str:
    """A name that those who read a whole folder of Parquet files pass over."""
    folder, _, name = path.rpartition("/")
    return f"{folder}/.{name}"


def _made_of(factors: str, part: Part, params: ExpansionParams, device: torch.device, how: Mapping[str, str]) -> str:
    """A hash of all that a part's bytes depend on."""
    settings = [
        factors,
        part,
        params.chunk_rows,
        params.row_group_rows,
        torch.__version__,
        device.type,
        source_hash(),
        *sorted(how.items()),
    ]
    return hashlib.sha256(json.dumps(settings).encode()).hexdigest()


def _hash(circuit: Circuit) -> str:
    digest = hashlib.sha256()
    for factor in (circuit.left, circuit.right):
        digest.update(str(tuple(factor.shape)).encode() + factor.contiguous().numpy().tobytes())
    return digest.hexdigest()


# Workers stay alive between tasks; the version keeps them from expanding a model that has changed since.
@functools.lru_cache(maxsize=1)
def _load(source: Stored, version: tuple[int, ...]) -> tuple[Circuit, str]:
    circuit = named(loaded(Path(source.folder)), source.name).on(source.device)
    return circuit, _hash(circuit)


def _name(circuit: Circuit | Stored) -> Name:
    return circuit.name if isinstance(circuit, Stored) else Name(circuit.name, circuit.layer, circuit.head)


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
