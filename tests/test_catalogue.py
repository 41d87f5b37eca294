"""Every declaration is listed, says something, and is found by the place of its file."""

from pathlib import PurePath

import pytest

from skiptrace import catalogue
from tests.pipeline.conftest import ROOT


def test_every_room_with_tables_is_listed():
    rooms = {path.parent.name for path in (ROOT / "skiptrace").glob("*/tables.py")}
    assert rooms == {room.__name__.split(".")[1] for room in catalogue.ROOMS}


@pytest.mark.parametrize("table", catalogue.TABLES, ids=lambda table: table.place)
def test_a_declaration_says_what_a_row_and_each_column_is(table):
    assert "row is" in table.meaning and table.meaning.endswith(".") and len(table.meaning) <= 120
    assert len(set(table.names)) == len(table.names)
    for column in table.columns:
        assert column.meaning and not column.meaning.endswith(".") and len(column.meaning) <= 100, column.name
        assert column.meaning.casefold() != column.name.replace("_", " ")
    assert [field.metadata[b"description"].decode() for field in table.schema] == [c.meaning for c in table.columns]


@pytest.mark.parametrize(
    ("path", "places"),
    [
        ("tables/one/heads.parquet", ["tables/<m>/heads"]),
        ("dictionary/toy/sweep.parquet", ["dictionary/<d>/sweep"] * 2),
        ("superposition/five.parquet", ["superposition/five"]),
        ("circuits/two/circuit=k_composition/layer=0-1/head=1-2/part-00001.parquet", ["circuits/<m>"]),
        ("tables/one/tails.parquet", []),
        ("tables/heads.parquet", []),
        ("circuits/two/circuit=ov/layer=0/1/part-00001.parquet", []),
    ],
)
def test_a_file_is_found_by_its_place(path, places):
    found = [table.place for table in catalogue.of(PurePath(path))]
    assert len(found) == len(places) and all(a.startswith(b) for a, b in zip(found, places, strict=True))
