"""Files that are either whole or absent, and fingerprints of what a result depends on."""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from skiptrace.errors import InputError

POINTERS = {
    b"version https://git-lfs.github.com/spec/": "a pointer of git-lfs, not the file; run git lfs pull",
    b"/annex/objects/": "a pointer of git-annex, not the file; run git annex get",
}


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path` that replaces it only if the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path` that replaces it only if the block succeeds."""
    temporary = path.with_name(f".{path.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        shutil.rmtree(path, ignore_errors=True)
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 `text` to `path`, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON; NaN is refused, since JSON has none."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not readable as JSON ({error})") from None


def write_array(path: Path, array: np.ndarray) -> None:
    """Write one NumPy array to `path` (.npy), whole or not at all."""
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def write_stream(path: Path, dtype: np.dtype, parts: Iterable[np.ndarray]) -> int:
    """Write arrays one after the other as one array `[n]` (.npy), whole or not at all; return n.

    The bytes are those of `write_array` of their concatenation.
    """
    with atomic(path) as temporary, temporary.open("wb") as file:

        def head(length: int) -> None:
            # NumPy leaves room in the header, so that its size is the same for every length.
            header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (length,)}
            np.lib.format.write_array_header_1_0(file, header)

        head(0)
        length = 0
        for part in parts:
            file.write(part.astype(dtype, copy=False).tobytes())
            length += len(part)
        file.seek(0)
        head(length)
    return length


def read_array(path: Path) -> np.ndarray:
    """Memory-map one NumPy array; nothing is unpickled.

    Raises:
        InputError: the file is missing, truncated or not a .npy file.
    """
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a damaged header fails anywhere in the parser of Python's literals
        raise InputError(f"{path}: not a readable array ({error}); reproduce its stage") from None


def write_table(path: Path, table: pa.Table) -> None:
    """Write an Arrow table as Parquet, whole or not at all."""
    with atomic(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    """Read a Parquet file.

    Raises:
        InputError: the file is missing, truncated, or lacks a column.
    """
    try:
        with pq.ParquetFile(path) as file:
            table = file.read(columns=columns)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: not a readable Parquet file ({error}); reproduce its stage") from None
    for column in columns or ():
        if column not in table.column_names:
            raise InputError(f"{path}: column {column} is missing; reproduce its stage")
    return table


def pointer(file: Path | bytes) -> str | None:
    """What a file, or its first bytes, is that only stands for another, and the command that fetches that one."""
    if isinstance(file, bytes):
        return next((said for magic, said in POINTERS.items() if file.startswith(magic)), None)
    with file.open("rb") as opened:
        return pointer(opened.read(64))


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(values: Iterable[Any], files: Iterable[Path]) -> str:
    """A short hash of JSON-able `values` and of the bytes of `files`, in the order given."""
    digest = hashlib.sha256(json.dumps(list(values), sort_keys=True).encode())
    for path in files:
        digest.update(sha256(path).encode())
    return digest.hexdigest()[:16]
