"""From the bytes of one file to the texts in it: plain text, JSON lines, Parquet; compressed or not."""

import ast
import codecs
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import pyarrow as pa
import pyarrow.parquet as pq

from skiptrace.config.corpora import TextParams
from skiptrace.corpora.card import Notes
from skiptrace.corpora.documents import Document
from skiptrace.errors import InputError

BLOCK = 2**20  # bytes read at once
LARGEST = 2**28  # characters of a document that is read whole
ROWS = 1024  # Parquet rows read at once


@runtime_checkable
class Bytes(Protocol):
    """A file of bytes, compressed or not, near or far."""

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes, at most `size`."""

    def seekable(self) -> bool:
        """Whether it can be read out of order."""


class NotUTF8(Exception):
    """Bytes that are no UTF-8, at a place in a file."""

    def __init__(self, place: str) -> None:
        super().__init__(place)


def documents(source: str, file: Bytes, params: TextParams, notes: Notes) -> Iterator[Document]:
    """Yield the documents of one open file; its name says what it holds (.jsonl, .parquet; .gz and .zst around it).

    Rows are named `<source>#<number>`, counted from 1, and so are the pieces of text that is cut.

    Raises:
        InputError: the file is damaged, is not UTF-8, or lacks the field of its text; names it and the line.
    """
    try:
        inner, name = _decompressed(source, file)
        if name.endswith(".parquet"):
            found = _parquet(source, inner, params)
        elif name.endswith(".jsonl"):
            found = _json_lines(source, inner, params, notes)
        else:
            found = _text(source, name, inner, params, notes)
        for document in found:
            yield Document(document.source, _replaced(document.text, params))
    except NotUTF8 as error:
        if params.encoding_errors == "refuse":
            told = "convert it, exclude it, or set encoding_errors to replace or skip"
            raise InputError(f"{source}: not UTF-8 at {error}; {told}") from None
        notes.add(source, skipped=True)
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        raise InputError(f"{source}: cannot be read ({error})") from None


def _decompressed(source: str, file: Bytes) -> tuple[Bytes, str]:
    if source.endswith(".gz"):
        # It is declared to ask for more of a file than it uses.
        return gzip.GzipFile(fileobj=file), source.removesuffix(".gz")  # type: ignore[call-overload]
    if source.endswith(".zst"):
        return pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd"), source.removesuffix(".zst")
    return file, source


def _replaced(text: str, params: TextParams) -> str:
    return text.translate({ord(k): v for k, v in params.replace.items()}) if params.replace else text


def _decoded(source: str, file: Bytes, params: TextParams, notes: Notes) -> Iterator[str]:
    """Text in blocks, its line ends made line feeds."""
    decoder = codecs.getincrementaldecoder("utf-8")("strict")
    newlines = io.IncrementalNewlineDecoder(None, translate=True)
    replacing, place = False, 0
    while True:
        block = file.read(BLOCK)
        pending = len(decoder.getstate()[0])
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            if params.encoding_errors != "replace":
                raise NotUTF8(f"byte {place - pending + error.start}") from None
            if not replacing:
                notes.add(source, skipped=False)
            replacing, before = True, decoder.getstate()
            decoder = codecs.getincrementaldecoder("utf-8")("replace")
            decoder.setstate(before)
            text = decoder.decode(block, final=not block)
        place += len(block)
        yield newlines.decode(text, final=not block)
        if not block:
            return


def _text(source: str, name: str, file: Bytes, params: TextParams, notes: Notes) -> Iterator[Document]:
    blocks = _decoded(source, file, params, notes)
    if params.extract == "strings" and name.endswith((".json", ".py")):
        blocks = iter([_strings(source, name, _whole(source, blocks))])
    if params.cut is None:
        yield Document(source, _whole(source, blocks))
        return
    number, kept = 1, ""
    for block in blocks:
        kept += block
        while (end := _end(kept, params.cut)) is not None:
            yield Document(f"{source}#{number:09d}", kept[:end])
            number, kept = number + 1, kept[end:]
    yield Document(f"{source}#{number:09d}", kept)


def _end(text: str, cut: int) -> int | None:
    """Where a document ends: after the first line end beyond `cut`, or, in text that has none, at ten times that."""
    line = text.find("\n", cut - 1)
    if line >= 0:
        return min(line + 1, 10 * cut)
    return 10 * cut if len(text) > 10 * cut else None


def _whole(source: str, blocks: Iterator[str]) -> str:
    kept, size = [], 0
    for block in blocks:
        kept.append(block)
        size += len(block)
        if size > LARGEST:
            raise InputError(f"{source}: one document of more than {LARGEST:,} characters; set cut to divide it")
    return "".join(kept)


def _strings(source: str, name: str, text: str) -> str:
    """The string values of JSON, or the string literals of Python, one below the other; nothing is executed."""
    try:
        if name.endswith(".json"):
            return "\n".join(_values(json.loads(text)))
        literals = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant))
        return "\n".join(node.value for node in literals if isinstance(node.value, str))
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        raise InputError(f"{source}: no strings can be taken from it ({error})") from None


def _values(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _values(item)


def _json_lines(source: str, file: Bytes, params: TextParams, notes: Notes) -> Iterator[Document]:
    number, kept = 0, ""
    for block in _decoded(source, file, params, notes):
        *lines, kept = (kept + block).split("\n")
        if len(kept) > LARGEST:
            raise InputError(f"{source}: line {number + len(lines) + 1} has more than {LARGEST:,} characters")
        for line in lines:
            number += 1
            if line.strip():
                yield Document(f"{source}#{number:09d}", _field(f"{source}: line {number}", line, params))
    if kept.strip():
        yield Document(f"{source}#{number + 1:09d}", _field(f"{source}: line {number + 1}", kept, params))


def _field(place: str, line: str, params: TextParams) -> str:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place} is not JSON ({error})") from None
    if not isinstance(row, dict) or not isinstance(row.get(params.text_field), str):
        raise InputError(f"{place} has no text in the field {params.text_field!r}; set text_field")
    text: str = row[params.text_field]
    if any("\ud800" <= c <= "\udfff" for c in text):
        if params.encoding_errors == "refuse":
            raise InputError(f"{place} spells half a character (a lone surrogate); set encoding_errors to replace")
        text = text.encode("utf-8", "replace").decode()
    return text


def _parquet(source: str, file: Bytes, params: TextParams) -> Iterator[Document]:
    if not file.seekable():
        raise InputError(f"{source}: Parquet is compressed already; decompress the file around it")
    try:
        table = pq.ParquetFile(file)
    except ValueError as error:
        raise InputError(f"{source}: cannot be read ({error})") from None
    kind = dict(zip(table.schema_arrow.names, table.schema_arrow.types, strict=True)).get(params.text_field)
    if kind is None or not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        there = ", ".join(table.schema_arrow.names)
        raise InputError(f"{source}: has no column of text {params.text_field!r}; set text_field; there is {there}")
    number = 0
    for batch in table.iter_batches(ROWS, columns=[params.text_field]):
        try:
            found = batch.column(0).to_pylist()
        except UnicodeDecodeError:
            raise NotUTF8(f"rows {number + 1} to {number + len(batch)}") from None
        for text in found:
            number += 1
            yield Document(f"{source}#{number:09d}", text or "")
