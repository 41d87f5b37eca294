"""What a file holds: what its name promises, and what its first bytes show."""

import codecs
import json
import re
from enum import StrEnum
from pathlib import PurePosixPath

from skiptrace.config.corpora import TextParams
from skiptrace.errors import InputError
from skiptrace.files import pointer


class Format(StrEnum):
    """How texts lie in a file; JSON is lines of values, one value, or an array of them."""

    TEXT = "text"
    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"
    ARROW = "arrow"


PROMISED = {
    ".jsonl": Format.JSON,
    ".ndjson": Format.JSON,
    ".json": Format.JSON,
    ".csv": Format.CSV,
    ".tsv": Format.CSV,
    ".parquet": Format.PARQUET,
    ".pq": Format.PARQUET,
    ".arrow": Format.ARROW,
    ".feather": Format.ARROW,
}
BINARY = {Format.PARQUET: "Parquet", Format.ARROW: "Arrow IPC"}
# The longer mark first: that of UTF-32 begins as that of UTF-16 does.
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
FOREIGN = {
    b"PK\x03\x04": "a zip archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a rar archive",
    b"\xfd7zXZ\x00": "compressed by xz",
    b"\x04\x22\x4d\x18": "compressed by lz4",
    b"\x1f\x8b": "compressed twice",
    b"\x28\xb5\x2f\xfd": "compressed twice",
    b"%PDF-": "a PDF",
    b"\xd0\xcf\x11\xe0": "an Office document",
    b"SQLite format 3\x00": "an SQLite database",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a NumPy array",
    b"Obj\x01": "an Avro file",
    b"PARE": "encrypted Parquet",
    b"\x89PNG": "an image",
    b"\xff\xd8\xff": "an image",
    b"GIF89a": "an image",
    b"\x7fELF": "a program",
}
TAR = slice(257, 262)


class NotText(Exception):
    """What cannot be read as UTF-8 text: the message says what it is, and where."""


def refusal(source: str, error: NotText) -> InputError:
    """The error that names a file which is not text, and the ways out."""
    return InputError(f"{source}: {error}; convert it, exclude it, or set encoding_errors to replace or skip")


def damaged(source: str, error: Exception) -> InputError:
    """The error that names a file whose content cannot be decoded."""
    return InputError(f"{source}: cannot be read ({error}); copy or download it again, or exclude it")


def encoding(head: bytes) -> tuple[str, int]:
    """The encoding that the byte-order mark names, else UTF-8, and the length of the mark."""
    return next(((name, len(mark)) for mark, name in MARKS.items() if head.startswith(mark)), ("utf-8", 0))


def format_of(source: str, name: str, head: bytes, params: TextParams) -> Format:
    """The format of a file from its name, less the suffix of a compression, and its first bytes, decompressed.

    Raises:
        InputError: it is a pointer, or name and content disagree and there is more than one way to read it.
        NotText: it is of no format that holds text.
    """
    if said := pointer(head):
        raise InputError(f"{source}: {said}")
    if head.startswith(b"PAR1"):
        return Format.PARQUET
    if head.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
        return Format.ARROW
    what = next((what for magic, what in FOREIGN.items() if head.startswith(magic)), None)
    if what or head[TAR] == b"ustar":
        raise NotText(f"{what or 'a tar archive'}, not text")
    if params.format != "auto":
        return Format(params.format)
    suffix = PurePosixPath(name).suffix
    promised = PROMISED.get(suffix.lower(), Format.TEXT)
    if promised in BINARY:
        raise InputError(f"{source}: not {BINARY[promised]}, which its name promises; fetch it again, or rename it")
    if promised is Format.TEXT and _is_json(head):
        if not suffix:
            return Format.JSON
        raise InputError(
            f"{source}: holds JSON, which its name does not say; set format: json to read the field "
            f"{params.text_field!r} of each row, or format: text to keep it as it is"
        )
    return promised


def _is_json(head: bytes) -> bool:
    """Whether the first two lines, or the first element of an array, are JSON objects with keys."""
    codec, mark = encoding(head)
    text = head[mark:].decode(codec, "ignore")
    lines = [line for line in text.split("\n", 8)[:8] if line.strip()][:2]
    try:
        if element := re.match(r"\s*\[\s*(?={)", text):
            return bool(json.JSONDecoder().raw_decode(text, element.end())[0])
        values = [json.loads(line) for line in lines if line.lstrip().startswith("{")]
    except (ValueError, RecursionError):
        return False
    return len(values) == 2 and all(isinstance(value, dict) and value for value in values)
