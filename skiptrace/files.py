"""Files that are either whole or absent, checked when they are read, and fingerprints of what a result depends on."""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Integer

from skiptrace.errors import InputError
from skiptrace.seals import KEY, MARK, UNSEALED, damaged, seal, verify

if TYPE_CHECKING:
    from torch import Tensor

_temporaries: Path | None = None  # where temporary files go, if not beside what they will replace

POINTERS = {
    b"version https://git-lfs.github.com/spec/": "a pointer of git-lfs, not the file; run git lfs pull",
    b"/annex/objects/": "a pointer of git-annex, not the file; run git annex get",
}


@contextlib.contextmanager
def temporaries_in(folder: Path) -> Iterator[None]:
    """Keep temporary files in `folder`, where it is on the same disk, and remove what killed processes left there.

    Each process has a folder of its own in it, locked for as long as the process lives.
    """
    global _temporaries
    folder.mkdir(parents=True, exist_ok=True)
    own = folder / secrets.token_hex(8)
    with _locked(folder, wait=True):
        for left in folder.iterdir():
            with contextlib.suppress(OSError), _locked(left, wait=False):
                shutil.rmtree(left)
        own.mkdir()
        lock = contextlib.ExitStack()
        lock.enter_context(_locked(own, wait=False))
    before, _temporaries = _temporaries, own
    try:
        with lock:
            yield
    finally:
        _temporaries = before
        shutil.rmtree(own, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path, wait: bool) -> Iterator[None]:
    file = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(file)


def _temporary(path: Path) -> Path:
    """A name that nobody can guess and nothing has yet."""
    folder = path.parent
    if _temporaries is not None and _temporaries.stat().st_dev == folder.stat().st_dev:
        folder = _temporaries
    return folder / f".{path.name[:80]}.{secrets.token_hex(8)}.partial"


@contextlib.contextmanager
def atomic(path: Path, sealed: bool = False) -> Iterator[Path]:
    """Yield a temporary name that replaces `path` only if the block succeeds, once its bytes are on the disk.

    A device, a pipe or a terminal is yielded itself. `sealed` says that the block writes `UNSEALED` for the checksum.
    """
    if path.exists() and (not path.is_file() or Path("/dev") in path.absolute().parents):
        with _naming(path, path):
            yield path
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    with _naming(path, temporary):
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666))
        mode = temporary.stat().st_mode
        try:
            yield temporary
            temporary.chmod(mode)  # safetensors replaces the file by one that nobody else may read
            if sealed:
                seal(temporary)
            _sync(temporary)
            os.replace(temporary, path)
            _sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _naming(path: Path, temporary: Path) -> Iterator[None]:
    """Give the name of what is written to errors of the system that have none, or that of the temporary file."""
    try:
        yield
    except OSError as error:
        if error.filename not in (None, str(temporary), temporary):
            raise
        said = os.strerror(error.errno) if error.errno else str(error)  # Arrow has a sentence of its own there
        raise OSError(error.errno, said, str(path)) from error
    except InputError:
        raise
    except Exception as error:
        # Libraries in Rust have errors of their own, which end in the number.
        if (found := re.search(r"\(os error (\d+)\)", str(error))) is None:
            raise
        raise OSError(int(found[1]), os.strerror(int(found[1])), str(path)) from error


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder that replaces `path` only if the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    with _naming(path, temporary):
        temporary.mkdir()
    try:
        yield temporary
        shutil.rmtree(path, ignore_errors=True)
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 `text` to `path`, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any, sealed: bool = False) -> None:
    """Write `value` as indented JSON; NaN is refused, since JSON has none. A `sealed` mapping carries its checksum."""
    content = value | {KEY: UNSEALED.decode()} if sealed else value
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with atomic(path, sealed) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def read_json(path: Path) -> Any:
    """Read a JSON file, without the key of its checksum.

    Raises:
        InputError: the file is missing, is not JSON or is damaged.
    """
    verify(path)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not readable as JSON ({error})") from None
    if isinstance(value, dict) and KEY in value and not str(value.pop(KEY)).startswith(UNSEALED[:-8].decode()):
        raise damaged(path)
    return value


def write_array(path: Path, array: np.ndarray) -> None:
    """Write one NumPy array to `path` (.npy), whole or not at all."""
    array = np.ascontiguousarray(array)
    with atomic(path, sealed=True) as temporary, temporary.open("wb") as file:
        # As NumPy does, whose own writing says no more of an error than how much was written.
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        file.write(array.tobytes())
        file.write(UNSEALED)


def write_stream(path: Path, dtype: np.dtype, parts: Iterable[np.ndarray]) -> int:
    """Write arrays one after the other as one array `[n]` (.npy), whole or not at all; return n.

    The bytes are those of `write_array` of their concatenation.
    """
    with atomic(path, sealed=True) as temporary, temporary.open("wb") as file:

        def head(length: int) -> None:
            # NumPy leaves room in the header, so that its size is the same for every length.
            header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (length,)}
            np.lib.format.write_array_header_1_0(file, header)

        head(0)
        length = 0
        for part in parts:
            file.write(part.astype(dtype, copy=False).tobytes())
            length += len(part)
        file.write(UNSEALED)
        file.seek(0)
        head(length)
    return length


def read_array(path: Path) -> np.ndarray:
    """Memory-map one NumPy array; nothing is unpickled.

    Raises:
        InputError: the file is missing, truncated, damaged or not a .npy file.
    """
    verify(path)
    try:
        array = np.lib.format.open_memmap(path, mode="r")
        left = path.stat().st_size - array.offset - array.nbytes
    except Exception as error:  # a damaged header fails anywhere in the parser of Python's literals
        raise InputError(f"{path}: not a readable array ({error}); reproduce its stage") from None
    # A checksum whose mark is damaged too would be taken for none.
    with path.open("rb") as file:
        file.seek(-left, os.SEEK_END)
        if left and (left != len(UNSEALED) or not file.read().startswith(MARK)):
            raise damaged(path)
    return array


def read_tokens(path: Path, d_vocab: int) -> Integer[np.ndarray, " n"]:
    """Memory-map a stream of token ids.

    Raises:
        InputError: the file is not readable, or holds something other than ids below `d_vocab`.
    """
    stream = read_array(path)
    if stream.ndim != 1 or stream.dtype.kind not in "iu":
        raise InputError(f"{path}: expected one row of token ids, found {stream.dtype} of shape {stream.shape}")
    if len(stream) and not 0 <= int(stream.min()) <= int(stream.max()) < d_vocab:
        at = int(((stream < 0) | (stream >= d_vocab)).argmax())
        raise InputError(
            f"{path}: token {at} has the id {stream[at]}, but the vocabulary has {d_vocab} tokens; it belongs to "
            "another tokenizer: reproduce the tokens stage"
        )
    return stream


@contextlib.contextmanager
def table_writer(path: Path, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """Write a Parquet file piece by piece, whole or not at all."""
    with (
        atomic(path, sealed=True) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd", write_page_checksum=True) as writer,
    ):
        yield writer
        writer.add_key_value_metadata({KEY: UNSEALED.decode()})


def write_table(path: Path, table: pa.Table) -> None:
    """Write an Arrow table as Parquet, whole or not at all."""
    with table_writer(path, table.schema) as writer:
        writer.write_table(table)


def open_table(path: Path) -> pq.ParquetFile:
    """Open a Parquet file.

    Raises:
        InputError: the file is missing, truncated or damaged.
    """
    verify(path)
    try:
        return pq.ParquetFile(path, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: not a readable Parquet file ({error}); reproduce its stage") from None


def read_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    """Read a Parquet file.

    Raises:
        InputError: the file is missing, truncated, damaged, or lacks a column.
    """
    try:
        with open_table(path) as file:
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


def fetched_by(path: Path) -> str:
    """The step that fetches what is missing at a path, as an end of a message; empty where no `dvc add` has kept it."""
    places = [place for place in (path, *path.parents) if place.name]
    return "; dvc pull fetches it" if any(os.path.isfile(f"{place}.dvc") for place in places) else ""


def write_tensors(path: Path, tensors: "dict[str, Tensor]") -> None:
    """Write tensors as safetensors, whole or not at all."""
    from safetensors.torch import save_file  # imports torch, which the stages before training do without

    with atomic(path, sealed=True) as temporary:
        save_file({k: t.contiguous() for k, t in tensors.items()}, temporary, {KEY: UNSEALED.decode()})


def read_tensors(path: Path) -> "dict[str, Tensor]":
    """Read all tensors of a safetensors file.

    Raises:
        InputError: the file is missing, truncated or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    verify(path)
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: not a readable safetensors file ({error}); reproduce its stage") from None


def refuse_stub(path: Path) -> None:
    """Refuse a file that only stands for another.

    Raises:
        InputError: it is empty, or a pointer; names the command that fetches the content.
    """
    if said := pointer(path):
        raise InputError(f"{path}: {said}")
    if not path.stat().st_size:
        raise InputError(
            f"{path}: empty; copy it again from where it came from (git lfs pull, if that is a repository)"
        )


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
