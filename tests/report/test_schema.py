"""A table of another version is named, with what it lacks, before anything is made of it."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from skiptrace.errors import InputError
from skiptrace.report import schema


def test_a_table_may_hold_more_than_is_needed(tmp_path):
    pq.write_table(pa.table({"a": [1], "b": [2], "c": [3]}), tmp_path / "t.parquet")
    assert list(schema.read(tmp_path / "t.parquet", "c a").columns) == ["a", "b", "c"]


def test_every_missing_column_is_named_with_its_file(tmp_path):
    pq.write_table(pa.table({"a": [1]}), tmp_path / "t.parquet")
    with pytest.raises(InputError, match=r"t\.parquet: b, c missing; .*reproduce its stage"):
        schema.read(tmp_path / "t.parquet", "a b c")


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(InputError, match=r"t\.parquet: not a readable Parquet file"):
        schema.read(tmp_path / "t.parquet", "a")
