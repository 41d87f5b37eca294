"""Files that carry their own checksum, so that a damaged one is noticed wherever it is read.

A sealed file holds its CRC-32 after `MARK`, computed as if its eight digits were zeros, at a place that the readers of
its format pass over: the metadata of Parquet and safetensors, a key of JSON, behind the array of .npy. A file without a
mark was written by something else and is read as it is.
"""

import mmap
import zlib
from pathlib import Path

from skiptrace.errors import InputError, is_out_of_memory

MARK = b"skiptrace.crc32="
UNSEALED = MARK + b"00000000"  # what a writer puts where the checksum will stand
KEY = "skiptrace"  # what holds it in formats that have keys
REMEDY = "remove what is damaged with `skiptrace doctor --verify --repair`, then `dvc repro` makes it again"
Content = bytes | mmap.mmap


def seal(path: Path) -> None:
    """Replace the zeros of `UNSEALED` in a file by the checksum."""
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as content:
        at = _place(content)
        if at is None:
            raise ValueError(f"{path}: no place for a checksum")
        content[at : at + 8] = b"%08x" % _crc(content, at)


def sealed(content: bytes) -> bytes:
    """Bytes with the checksum in the place of the zeros of `UNSEALED`."""
    at = _place(content)
    if at is None:
        raise ValueError("no place for a checksum")
    return b"%b%08x%b" % (content[:at], _crc(content, at), content[at + 8 :])


def intact(content: Content) -> bool | None:
    """Whether bytes have the checksum that they carry; None if they carry none."""
    at = _place(content)
    return None if at is None else content[at : at + 8] == b"%08x" % _crc(content, at)


def verify(path: Path) -> None:
    """Compare a file with the checksum that it carries; do nothing if it carries none or cannot be opened.

    Raises:
        InputError: they differ.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            found = intact(content)
    except (OSError, ValueError) as error:  # missing or empty, which the reader that follows names
        if is_out_of_memory(error):
            raise
        return
    if found is False:
        raise damaged(path)


def damaged(path: Path) -> InputError:
    """The error of a file whose content is not what was written."""
    return InputError(f"{path}: damaged, its checksum is not that of its content; {REMEDY}")


def _place(content: Content) -> int | None:
    """Where the digits stand: after the mark in the header of safetensors, after the last mark of other formats."""
    header = int.from_bytes(content[:8], "little") + 8 if content[8:9] == b"{" else 0
    at = content.find(MARK, 0, header) if 0 < header <= len(content) else content.rfind(MARK)
    return None if at < 0 else at + len(MARK)


def _crc(content: Content, at: int) -> int:
    """The CRC-32 of the bytes with zeros for the eight digits at `at`."""
    with memoryview(content) as view, view[:at] as before, view[at + 8 :] as after:
        return zlib.crc32(after, zlib.crc32(b"00000000", zlib.crc32(before)))
