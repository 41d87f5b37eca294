"""Files of many texts that are columns: Parquet and Arrow, within bounds.

Both are compressed inside. What they unfold to is bounded before it is decompressed where the file says how much it is,
and counted where a few bytes stand for many rows (dictionaries, runs).
"""

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from skiptrace.config.corpora import TextParams
from skiptrace.corpora.card import Notes
from skiptrace.corpora.compression import bound
from skiptrace.corpora.formats import Format, NotText
from skiptrace.corpora.rows import Row
from skiptrace.errors import InputError

ROWS = 1024  # Parquet rows read at once
BYTES = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary(), pa.string_view(): pa.binary_view()}
FILE = b"ARROW1"  # begins Arrow's file format, and is followed by two zeros and its stream format


def arrow_texts(source: str, file: Any, kind: Format, params: TextParams, notes: Notes) -> Iterator[Row]:
    """The texts of a column of Parquet or Arrow IPC, of any type that holds strings, or their bytes.

    Raises:
        InputError: there is no such column, or the file unfolds beyond all proportion.
        NotText: a text is not UTF-8.
    """
    number, replacing = 0, False
    for column in _columns(source, file, kind, params.text_field):
        try:
            texts = _decoded(column.to_pylist())
        except UnicodeDecodeError:
            if params.encoding_errors != "replace":
                raise NotText(f"not UTF-8 in rows {number + 1} to {number + len(column)}") from None
            if not replacing:
                notes.replaced.add(source)
            replacing = True
            plain = column.dictionary_decode() if isinstance(column, pa.DictionaryArray) else column
            texts = _decoded(plain.cast(pa.large_binary()).to_pylist(), "replace")
        for text in texts:
            number += 1
            yield number, text


def _columns(source: str, file: Any, kind: Format, field: str) -> Iterator[pa.Array]:
    """The column in pieces, as it is stored: dictionaries and runs are not unfolded."""
    size = file.seek(0, 2)
    given = 0
    try:
        batches = (_parquet if kind is Format.PARQUET else _arrow)(source, file, field, size)
    except ValueError as error:
        raise InputError(f"{source}: cannot be read ({error})") from None
    except MemoryError:  # what is read so far is no longer than the file, but for a length in it that is damaged
        raise InputError(f"{source}: cannot be read (it says to be longer than memory)") from None
    for batch in batches:
        column = batch.column(field)
        column = column.storage if isinstance(column, pa.ExtensionArray) else column
        _validate(column)
        given += _unfolded(column)
        bound(source, given, size)
        yield column


def _parquet(source: str, file: Any, field: str, size: int) -> Iterator[pa.RecordBatch]:
    file.seek(0)
    schema = pq.ParquetFile(file).schema_arrow
    _check_column(source, schema, field)
    # A value that is repeated is not unfolded before it is counted.
    opened = pq.ParquetFile(file, read_dictionary=[field])
    about = opened.metadata
    groups = (about.row_group(i) for i in range(about.num_row_groups))
    columns = (group.column(i) for group in groups for i in range(group.num_columns))
    declared = sum(column.total_uncompressed_size for column in columns if column.path_in_schema == field)
    bound(source, about.num_rows + declared, size)
    batches: Iterator[pa.RecordBatch] = opened.iter_batches(ROWS, columns=[field])
    return batches


def _arrow(source: str, file: Any, field: str, size: int) -> Iterator[pa.RecordBatch]:
    file.seek(0)
    start = len(FILE) + 2 if file.read(len(FILE)) == FILE else 0
    file.seek(0)
    many = pa.ipc.open_file(file).num_record_batches if start else None  # it has to be whole, its last bytes included
    file.seek(start)
    unfolded = found = 0
    for message in pa.ipc.MessageReader.open_stream(file):
        if message.type in ("record batch", "dictionary"):
            unfolded += _declared(message)
            bound(source, unfolded, size)
            found += message.type == "record batch"
    if many is not None and found != many:
        raise ValueError(f"its list of contents has {many} batches, of which {found} are there")
    file.seek(start)
    opened = pa.ipc.open_stream(file)
    _check_column(source, opened.schema, field)
    batches: Iterator[pa.RecordBatch] = iter(opened)
    return batches


def _declared(message: pa.Message) -> int:
    """Bytes that the buffers of a message unfold to, as it says.

    Where they are compressed, each begins with that number, or −1 if it is stored as it is (Arrow columnar format,
    "Compression"). The message is a FlatBuffers table, whose fields are found through a list of their offsets.
    """
    content, body = memoryview(message.metadata), memoryview(message.body)

    def number(form: str, at: int, of: memoryview = content) -> int:
        return int(struct.unpack_from(f"<{form}", of, at)[0])

    def field(table: int, which: int) -> int | None:
        offsets = table - number("i", table)
        place = 4 + 2 * which
        offset = number("H", offsets + place) if place < number("H", offsets) else 0
        return table + offset if offset else None

    def inside(at: int | None) -> int:
        if at is None:
            raise ValueError("a message has no content")
        return at + number("I", at)

    try:
        batch = inside(field(number("I", 0), 2))
        if message.type == "dictionary":
            batch = inside(field(batch, 1))
        if field(batch, 3) is None:  # not compressed
            return len(body)
        buffers = inside(field(batch, 2))
        total = 0
        for at in range(buffers + 4, buffers + 4 + 16 * number("I", buffers), 16):
            offset, length = number("q", at), number("q", at + 8)
            total += max(number("q", offset, body), length) if length else 0
    except struct.error as error:
        raise ValueError(f"a message is cut off: {error}") from None
    return total


def _validate(column: pa.Array) -> None:
    """Compare what leads from one place to another with the places there are, which Arrow does not when it reads.

    Whether bytes are UTF-8 is asked later, since a key says what is done with those that are not.

    Raises:
        ArrowInvalid: something leads out of the column.
    """
    column.validate()  # lengths and the sizes of buffers, of a dictionary too
    if isinstance(column, pa.RunEndEncodedArray):
        ends = column.run_ends.to_numpy(zero_copy_only=False)
        if (np.diff(ends, prepend=0) <= 0).any() or (len(ends) and ends[-1] < len(column) + column.offset):
            raise pa.ArrowInvalid("runs do not end one after the other")
        _validate(column.values)
    elif isinstance(column, pa.DictionaryArray):
        places = column.indices.drop_null().to_numpy(zero_copy_only=False)
        if len(places) and not 0 <= places.min() <= places.max() < len(column.dictionary):
            raise pa.ArrowInvalid(f"a row has a text beyond the {len(column.dictionary)} of its dictionary")
        _validate(column.dictionary)
    else:
        column.view(BYTES.get(column.type, column.type)).validate(full=True)


def _unfolded(column: pa.Array) -> int:
    """Bytes that a column takes when each of its rows has a text of its own, and one for each row."""
    if isinstance(column, pa.RunEndEncodedArray):
        runs = np.diff(column.run_ends.to_numpy(zero_copy_only=False), prepend=0)
        return len(column) + int(runs @ _lengths(column.values))
    if isinstance(column, pa.DictionaryArray):
        places = column.indices.drop_null().to_numpy(zero_copy_only=False)
        return len(column) + int(_lengths(column.dictionary)[places].sum())
    return len(column) + int(_lengths(column).sum())


def _lengths(values: pa.Array) -> np.ndarray:
    if pa.types.is_null(values.type):
        return np.zeros(len(values), np.int64)
    if values.type in (pa.string_view(), pa.binary_view()):
        values = values.cast(pa.large_binary())
    return pc.binary_length(values).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)


def _check_column(source: str, schema: pa.Schema, field: str) -> None:
    kind = schema.field(field).type if schema.names.count(field) == 1 else None
    while kind is not None and hasattr(kind, "storage_type"):
        kind = kind.storage_type
    if kind is not None and (pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind)):
        kind = kind.value_type
    fits = (
        pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null,
        pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view,
    )  # fmt: skip
    if kind is None or not any(fit(kind) for fit in fits):
        there = ", ".join(f"{column.name} ({column.type})" for column in schema)
        raise InputError(f"{source}: has no column of text {field!r}; set text_field; there is {there}")


def _decoded(values: list[str | bytes | None], errors: str = "strict") -> list[str | None]:
    return [value.decode("utf-8", errors) if isinstance(value, bytes) else value for value in values]
