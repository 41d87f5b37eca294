"""Tables declared once: from a declaration come the Parquet schema, reading, writing, checking and docs/tables.md.

The declarations of a room stand in its `tables.py`, which imports none of its algorithms: what reads a table then does
not depend on the code that computes it.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pandas as pd
import pyarrow as pa

from skiptrace.errors import InputError
from skiptrace.files import open_table, read_table, write_table

# What tables say of how they were made, in their metadata, beside what they mean.
_MADE: ContextVar[Mapping[str, str] | None] = ContextVar("_MADE", default=None)


def made(**how: str) -> None:
    """What tables say that are written from now on, and nothing else, as `embedding="effective"`."""
    _MADE.set(how)


class Column(NamedTuple):
    """A column: its type under Arrow's name ("int32", "string", "list<float32>"), one sentence, and its unit.

    `nulls` says whether it may hold nulls; by default only floats may, which are null where they are undefined.
    """

    name: str
    type: str
    meaning: str
    unit: str = ""
    nulls: bool | None = None

    @property
    def may_be_null(self) -> bool:
        """Whether nulls are allowed."""
        return self.type.startswith("float") if self.nulls is None else self.nulls

    @property
    def arrow(self) -> pa.DataType:
        """Its type in Arrow."""
        if self.type.startswith("list<"):
            return pa.list_(pa.type_for_alias(self.type[5:-1]))
        return pa.type_for_alias(self.type)

    @property
    def field(self) -> pa.Field:
        """Its field in an Arrow schema, with sentence and unit as metadata."""
        said = {"description": self.meaning} | ({"unit": self.unit} if self.unit else {})
        return pa.field(self.name, self.arrow, self.may_be_null, said)


@dataclass(frozen=True, eq=False)
class Table:
    """A table: its place below data/ without the ending, as "tables/<m>/heads", what a row is, and its columns."""

    place: str
    meaning: str
    columns: Sequence[Column]

    @property
    def name(self) -> str:
        """The last part of its place."""
        return self.place.rpartition("/")[2]

    @cached_property
    def names(self) -> list[str]:
        """The names of its columns, in order."""
        return [column.name for column in self.columns]

    @cached_property
    def schema(self) -> pa.Schema:
        """Its Arrow schema, with what tables and columns mean in the metadata."""
        return pa.schema([column.field for column in self.columns], {"description": self.meaning})

    @cached_property
    def dtypes(self) -> dict[str, str]:
        """The pandas types of its columns; integers that may be null are floats there."""
        kinds = {name: str(kind) for name, kind in self.schema.empty_table().to_pandas().dtypes.items()}
        return kinds | {c.name: "float64" for c in self.columns if c.may_be_null and c.type.startswith("int")}

    def __getitem__(self, name: str) -> Column:
        """The column of that name."""
        return self.columns[self.names.index(name)]

    def without(self, *names: str) -> list[Column]:
        """Its columns but those named."""
        return [column for column in self.columns if column.name not in names]

    def file(self, folder: Path) -> Path:
        """The file of the table in a folder."""
        return folder / f"{self.name}.parquet"

    def frame(self, rows: "Iterable[object] | pd.DataFrame" = ()) -> pd.DataFrame:
        """Rows (mappings, tuples or a frame) as a frame with the declared columns and types.

        Raises:
            KeyError: a frame lacks a column.
        """
        if isinstance(rows, pd.DataFrame):
            return rows[self.names].astype(self.dtypes)
        return pd.DataFrame(list(rows), columns=self.names).astype(self.dtypes)

    def arrow(self, content: "pd.DataFrame | pa.Table") -> pa.Table:
        """The content under the schema.

        Raises:
            ValueError: a column is missing or not declared, or has another type or nulls.
        """
        names = list(content.columns if isinstance(content, pd.DataFrame) else content.column_names)
        if wrong := sorted(set(names) ^ set(self.names)):
            raise ValueError(f"{self.place}: declared and written columns differ: {', '.join(wrong)}")
        if isinstance(content, pd.DataFrame):
            content = pa.Table.from_pandas(content, preserve_index=False)
        try:
            return pa.table([_cast(c, content[c.name]) for c in self.columns], self.schema)
        except ValueError as error:
            raise ValueError(f"{self.place}: {error}") from None

    def write(self, folder: Path, content: "pd.DataFrame | pa.Table") -> None:
        """Write its file in a folder, whole or not at all.

        Raises:
            ValueError: the content is not what is declared.
        """
        table = self.arrow(content)
        write_table(self.file(folder), table.replace_schema_metadata({**self.schema.metadata, **(_MADE.get() or {})}))

    def read(self, folder: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Read its file in a folder, all columns or some.

        Raises:
            InputError: the file is missing or damaged, or a column is missing or is not what is declared; names both.
        """
        return self.read_file(self.file(folder), columns)

    def size(self, path: Path) -> int:
        """How many rows a file of this table has.

        Raises:
            InputError: the file is missing or damaged.
        """
        with open_table(path) as file:
            return int(file.metadata.num_rows)

    def read_file(self, path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Read a file of this table that lies elsewhere.

        Raises:
            InputError: as `read`.
        """
        asked = [self[name] for name in (self.names if columns is None else columns)]
        table = read_table(path, [column.name for column in asked])
        try:
            arrays = [_cast(column, table[column.name]) for column in asked]
        except ValueError as error:
            raise InputError(f"{path}: {error}; it is of another version: reproduce its stage") from None
        frame = pa.table(arrays, [column.name for column in asked]).to_pandas()
        return frame.astype({c.name: self.dtypes[c.name] for c in asked if c.may_be_null})


def _cast(column: Column, found: pa.ChunkedArray) -> pa.ChunkedArray:
    """The values of a column under its declared type, if nothing is lost by that."""
    if found.null_count and not column.may_be_null:
        raise ValueError(f"column {column.name} has nulls")
    try:
        if _is_text(found.type) == _is_text(column.arrow) or pa.types.is_null(found.type):
            return found.cast(column.arrow)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        pass
    raise ValueError(f"column {column.name} holds {found.type}, expected {column.arrow}")


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def declared(*rooms: ModuleType) -> list[Table]:
    """The tables that modules declare, each once, in their order."""
    found = [value for room in rooms for value in vars(room).values() if isinstance(value, Table)]
    return list(dict.fromkeys(found))


def write_all(folder: Path, room: ModuleType, contents: Mapping[str, pd.DataFrame]) -> None:
    """Write every table that a module declares, each from the rows under its name.

    Raises:
        ValueError: rows of a table are lacking, or belong to none, or are not what is declared.
    """
    tables = {table.name: table for table in declared(room)}
    if wrong := sorted(tables.keys() ^ contents.keys()):
        raise ValueError(f"{room.__name__}: declared and written tables differ: {', '.join(wrong)}")
    for name, rows in contents.items():
        tables[name].write(folder, rows)


LAYER = Column("layer", "int32", "the layer of the head, from 0")
HEAD = Column("head", "int32", "the head in its layer, from 0")
RANK = Column("rank", "int32", "the place in the order of the table, from 1")


def token(role: str, said: str) -> tuple[Column, Column]:
    """The id of a token and its text, as columns `<role>_id` and `<role>`; `said` names it, as "the source token"."""
    return Column(f"{role}_id", "int32", f"id of {said}"), Column(role, "string", f"text of {said}")


def chance(score: str, said: str, unit: str = "") -> tuple[Column, Column]:
    """The mean and standard deviation of a score under its null, as columns `<score>_null_mean` and `_null_sd`."""
    return (
        Column(f"{score}_null_mean", "float64", f"mean of {score} {said}", unit),
        Column(f"{score}_null_sd", "float64", f"standard deviation of {score} {said}", unit),
    )
