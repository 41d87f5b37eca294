"""Parquet files of equally long lists of half-precision numbers, written as fast as their bytes.

General writers store, for every number, how deep in its list it stands, and spend most of their time on that. Where
all lists are equally long, this is known beforehand: one run for the definition levels, two per row for the repetition
levels. Numbers are stored plain and uncompressed (they compress by a tenth at best), so that the last bytes of a column
chunk are the matrix itself. Every page carries its CRC-32, as the format has it; the footer carries those of the whole
column chunks and its own, so that a reader of one row can compare all bytes that it uses. The format is that of
Apache Parquet's `parquet.thrift` and "Encodings"; pyarrow, pandas, Polars and DuckDB read it.
"""

import base64
import struct
import zlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

from skiptrace.expansion.tables import PART
from skiptrace.seals import KEY, UNSEALED, sealed

MAGIC = b"PAR1"
# Of every column chunk, row group by row group: the length of its page header (4 digits, hexadecimal) and the CRC-32
# (8 digits) of the page and then the header, in this order since that of the page is known already.
CHUNKS = "skiptrace.chunks"
# Enumerations of parquet.thrift.
INT32, FLOAT, FIXED_LEN_BYTE_ARRAY = 1, 4, 7
REQUIRED, REPEATED = 0, 2
PLAIN, RLE = 0, 3
UNCOMPRESSED, DATA_PAGE, CONVERTED_LIST = 0, 0, 3


def schema(columns: int) -> pa.Schema:
    """The schema of a part (`PART`), whose lists all have as many entries as there are columns."""
    entry = pa.field("element", pa.float16(), nullable=False)
    kinds = (pa.int32(), pa.float32(), pa.float32(), pa.list_(entry, columns))
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in zip(PART.names, kinds, strict=True)])


@runtime_checkable
class Sink(Protocol):
    """What bytes can be written to."""

    def write(self, piece: bytes | memoryview, /) -> Any:
        """Take the bytes."""


class Rows(NamedTuple):
    """Consecutive rows of a matrix, with statistics of each row."""

    token_id: Int[np.ndarray, " n"]
    row_min: Float[np.ndarray, " n"]
    row_max: Float[np.ndarray, " n"]
    values: Float[np.ndarray, "n columns"]


class Column(NamedTuple):
    """Where the column chunk of a row group went."""

    kind: int
    path: list[str]
    entries: int
    offset: int
    size: int
    checksum: str
    extremes: tuple[bytes, bytes] | None


class Writer:
    """Writes one file, row group by row group; `close` adds the footer without which it is no Parquet file.

    `how` is added to its metadata, as tables say how they were made.
    """

    def __init__(self, file: Sink, columns: int, how: Mapping[str, str] | None = None) -> None:
        self.file, self.columns, self.how = file, columns, how or {}
        self.groups: list[tuple[int, list[Column]]] = []
        self.at = 0
        self._write(MAGIC)

    def write(self, rows: Rows) -> None:
        """Append a row group. `values` is in half precision and contiguous."""
        token_id, low, high = rows.token_id.astype("<i4"), rows.row_min.astype("<f4"), rows.row_max.astype("<f4")
        flat = [(INT32, "token_id", token_id), (FLOAT, "row_min", low), (FLOAT, "row_max", high)]
        chunks = [self._chunk(kind, [name], data, len(data), b"", _extremes(data)) for kind, name, data in flat]
        path = ["values", "list", "element"]
        levels = _levels(len(token_id), self.columns)
        entries = len(token_id) * self.columns
        values = rows.values.astype("<f2", copy=False)
        chunks.append(self._chunk(FIXED_LEN_BYTE_ARRAY, path, values, entries, levels, None))
        self.groups.append((len(token_id), chunks))

    def close(self) -> None:
        """Write the footer."""
        footer = _footer(self.columns, self.groups, self.how)
        self._write(sealed(footer + struct.pack("<i", len(footer)) + MAGIC))

    def _chunk(
        self,
        kind: int,
        path: list[str],
        data: np.ndarray,
        entries: int,
        levels: bytes,
        extremes: tuple[bytes, bytes] | None,
    ) -> Column:
        """A column chunk of a single page."""
        body = np.ascontiguousarray(data).data.cast("B")
        size = len(levels) + len(body)
        crc = zlib.crc32(body, zlib.crc32(levels))
        page = _struct(
            (1, _int(DATA_PAGE)),
            (2, _int(size)),
            (3, _int(size)),
            (4, _int(crc - 2**32 if crc >= 2**31 else crc)),
            (5, _struct((1, _int(entries)), (2, _int(PLAIN)), (3, _int(RLE)), (4, _int(RLE)))),
        ).content
        offset = self.at
        self._write(page, levels, body)
        checksum = f"{len(page):04x}{zlib.crc32(page, crc):08x}"
        return Column(kind, path, entries, offset, self.at - offset, checksum, extremes)

    def _write(self, *pieces: bytes | memoryview) -> None:
        for piece in pieces:
            self.file.write(piece)
            self.at += len(piece)


def is_intact(chunk: bytes, checksum: str) -> bool:
    """Whether the bytes of a column chunk are those that its entry in `CHUNKS` was made of."""
    header = int(checksum[:4], 16)
    with memoryview(chunk) as view:
        return zlib.crc32(view[:header], zlib.crc32(view[header:])) == int(checksum[4:], 16)


def _extremes(data: np.ndarray) -> tuple[bytes, bytes]:
    return data.min().tobytes(), data.max().tobytes()


def _levels(rows: int, columns: int) -> bytes:
    """Repetition levels (0 where a list begins, 1 within it), then definition levels (always 1)."""
    one_row = _varint(1 << 1) + b"\x00"
    if columns > 1:
        one_row += _varint((columns - 1) << 1) + b"\x01"
    runs = (one_row * rows, _varint(rows * columns << 1) + b"\x01")
    return b"".join(struct.pack("<i", len(run)) + run for run in runs)


# Thrift's compact protocol: a value is its type's number and its bytes.
class _Value(NamedTuple):
    kind: int
    content: bytes


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _zigzag(value: int) -> bytes:
    return _varint(value << 1 if value >= 0 else (-value << 1) - 1)


def _int(value: int) -> _Value:
    return _Value(5, _zigzag(value))


def _long(value: int) -> _Value:
    return _Value(6, _zigzag(value))


def _bytes(value: bytes) -> _Value:
    return _Value(8, _varint(len(value)) + value)


def _list(values: Iterable[_Value]) -> _Value:
    items = list(values)
    kind = items[0].kind if items else 12
    head = bytes([len(items) << 4 | kind]) if len(items) < 15 else bytes([0xF0 | kind]) + _varint(len(items))
    return _Value(9, head + b"".join(item.content for item in items))


def _struct(*fields: tuple[int, _Value]) -> _Value:
    """Fields by their numbers, ascending by less than 16."""
    out, before = bytearray(), 0
    for number, value in fields:
        out += bytes([number - before << 4 | value.kind]) + value.content
        before = number
    return _Value(12, bytes(out) + b"\x00")


def _footer(columns: int, groups: list[tuple[int, list[Column]]], how: Mapping[str, str]) -> bytes:
    arrow = base64.b64encode(schema(columns).serialize().to_pybytes())
    checksums = "".join(chunk.checksum for _, chunks in groups for chunk in chunks).encode()
    told = [(key.encode(), value.encode()) for key, value in how.items()]
    # The seal stands last, where it is looked for.
    pairs = [(b"ARROW:schema", arrow), *told, (CHUNKS.encode(), checksums), (KEY.encode(), UNSEALED)]
    return _struct(
        (1, _int(2)),
        (2, _list(_schema_elements())),
        (3, _long(sum(n for n, _ in groups))),
        (4, _list(_row_group(n, chunks) for n, chunks in groups)),
        # How Arrow tells a list of fixed length from one of any length.
        (5, _list(_struct((1, _bytes(key)), (2, _bytes(value))) for key, value in pairs)),
        (6, _bytes(b"skiptrace")),
        # Statistics are ordered as the type says.
        (7, _list(_struct((1, _struct())) for _ in range(4))),
    ).content


def _schema_elements() -> list[_Value]:
    """The tree of columns, depth first."""
    logical_list, logical_half = _struct((3, _struct())), _struct((15, _struct()))
    return [
        _struct((4, _bytes(b"schema")), (5, _int(4))),
        _struct((1, _int(INT32)), (3, _int(REQUIRED)), (4, _bytes(b"token_id"))),
        _struct((1, _int(FLOAT)), (3, _int(REQUIRED)), (4, _bytes(b"row_min"))),
        _struct((1, _int(FLOAT)), (3, _int(REQUIRED)), (4, _bytes(b"row_max"))),
        _struct(
            (3, _int(REQUIRED)), (4, _bytes(b"values")), (5, _int(1)), (6, _int(CONVERTED_LIST)), (10, logical_list)
        ),
        _struct((3, _int(REPEATED)), (4, _bytes(b"list")), (5, _int(1))),
        _struct(
            (1, _int(FIXED_LEN_BYTE_ARRAY)),
            (2, _int(2)),
            (3, _int(REQUIRED)),
            (4, _bytes(b"element")),
            (10, logical_half),
        ),
    ]


def _row_group(rows: int, chunks: list[Column]) -> _Value:
    size = sum(c.size for c in chunks)
    columns = _list(_struct((2, _long(c.offset)), (3, _metadata(c))) for c in chunks)
    return _struct((1, columns), (2, _long(size)), (3, _long(rows)), (5, _long(chunks[0].offset)), (6, _long(size)))


def _metadata(c: Column) -> _Value:
    fields = [
        (1, _int(c.kind)),
        (2, _list([_int(PLAIN), _int(RLE)])),
        (3, _list(_bytes(part.encode()) for part in c.path)),
        (4, _int(UNCOMPRESSED)),
        (5, _long(c.entries)),
        (6, _long(c.size)),
        (7, _long(c.size)),
        (9, _long(c.offset)),
    ]
    if c.extremes is not None:
        low, high = c.extremes
        fields.append((12, _struct((3, _long(0)), (5, _bytes(high)), (6, _bytes(low)))))
    return _struct(*fields)
