"""What a declaration of a table promises: of what is written, of what is read, and of the message where they differ."""

from types import ModuleType

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from skiptrace.errors import InputError
from skiptrace.models.config import ModelConfig
from skiptrace.tables import RANK, Column, Table, chance, declared, made, token, write_all

NESTS = Table(
    "tables/<m>/nests",
    "Nests; a row is a nest.",
    [
        RANK,
        Column("bird", "string", "who built it"),
        Column("eggs", "int64", "how many, null where nobody looked", "eggs", nulls=True),
        Column("height", "float64", "above the ground", "m"),
        Column("found", "bool", "whether somebody looked"),
        Column("days", "list<int32>", "days of visits"),
    ],
)
ROWS = [(1, "wren", 6, 0.5, True, [3, 5]), (2, "swift", None, np.nan, False, [])]


def test_what_is_written_is_read_with_the_declared_types(tmp_path):
    frame = NESTS.frame(ROWS)
    NESTS.write(tmp_path, frame)
    found = NESTS.read(tmp_path)
    assert found.dtypes.astype(str).to_dict() == frame.dtypes.astype(str).to_dict() == NESTS.dtypes
    assert [list(days) for days in found.pop("days")] == [[3, 5], []]
    pd.testing.assert_frame_equal(found, frame.drop(columns="days"))
    assert list(NESTS.read(tmp_path, ["height", "bird"]).columns) == ["height", "bird"]


def test_a_table_without_rows_has_the_same_types(tmp_path):
    NESTS.write(tmp_path, NESTS.frame())
    assert NESTS.read(tmp_path).dtypes.astype(str).to_dict() == NESTS.dtypes
    assert pq.read_schema(NESTS.file(tmp_path)).equals(NESTS.schema)


def test_other_programs_find_the_meaning_of_a_column_in_the_file(tmp_path):
    NESTS.write(tmp_path, NESTS.frame(ROWS))
    schema = pq.read_schema(tmp_path / "nests.parquet")
    assert schema.metadata[b"description"] == b"Nests; a row is a nest."
    field = schema.field("height")
    assert (field.metadata[b"description"], field.metadata[b"unit"]) == (b"above the ground", b"m")
    assert schema.field("height").nullable and not schema.field("bird").nullable


def test_rows_of_a_frame_and_of_arrow_are_written_alike(tmp_path):
    columns = [list(column) for column in zip(*ROWS, strict=True)]
    columns[3] = [0.5, None]
    plain = pa.table(columns, NESTS.names)
    NESTS.write(tmp_path / "arrow", plain)
    NESTS.write(tmp_path / "frame", NESTS.frame(ROWS)[NESTS.names[::-1]])
    assert NESTS.file(tmp_path / "arrow").read_bytes() == NESTS.file(tmp_path / "frame").read_bytes()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"weight": 1.0}, "differ: weight"),
        ({"found": None}, "nests: column found has nulls"),
        ({"bird": [None, "wren"]}, "bird"),
        ({"rank": [1.5, 2.0]}, "column rank holds double, expected int32"),
        ({"height": ["low", "high"]}, "column height holds .*string, expected double"),
    ],
    ids=["not declared", "null", "null text", "fraction", "text"],
)
def test_what_is_not_declared_is_not_written(tmp_path, change, named):
    frame = NESTS.frame(ROWS).assign(**change)
    with pytest.raises(ValueError, match=named):
        NESTS.write(tmp_path, frame)
    with pytest.raises(ValueError, match=named):
        NESTS.write(tmp_path, pa.Table.from_pandas(frame, preserve_index=False))
    assert not NESTS.file(tmp_path).exists()


def test_a_lacking_column_is_named_when_it_is_written(tmp_path):
    with pytest.raises(ValueError, match="tables/<m>/nests: declared and written columns differ: eggs"):
        NESTS.write(tmp_path, NESTS.frame(ROWS).drop(columns="eggs"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop_columns("bird"), r"nests\.parquet: column bird is missing; reproduce its stage"),
        (lambda t: t.set_column(1, "bird", pa.array([1, 2])), r"nests\.parquet: column bird holds int64, expected str"),
        (lambda t: t.set_column(0, "rank", pa.array(["1", "2"])), r"column rank holds string, expected int32"),
        (lambda t: t.set_column(0, "rank", pa.array([1.0, 2.5])), r"column rank holds double, expected int32"),
        (lambda t: t.set_column(0, "rank", pa.array([1, 2**40])), r"column rank holds int64, expected int32"),
        (lambda t: t.set_column(5, "days", pa.array([1, 2])), r"column days holds int64, expected list<item: int32>"),
        (lambda t: t.set_column(0, "rank", pa.array([1, None], pa.int32())), r"nests\.parquet: column rank has nulls"),
    ],
    ids=["missing", "number for text", "text for number", "fraction", "too large", "no list", "null"],
)
def test_a_file_that_is_not_what_is_declared_is_named_with_its_column(tmp_path, change, message):
    plain = NESTS.arrow(NESTS.frame(ROWS)).cast(pa.schema([f.with_nullable(True) for f in NESTS.schema]))
    pq.write_table(change(plain), NESTS.file(tmp_path))
    with pytest.raises(InputError, match=message) as raised:
        NESTS.read(tmp_path)
    assert "\n" not in str(raised.value)


def test_what_is_not_asked_for_is_not_checked(tmp_path):
    pq.write_table(pa.table({"bird": ["wren"], "rank": ["first"], "song": ["loud"]}), NESTS.file(tmp_path))
    assert NESTS.read(tmp_path, ["bird"]).to_dict("list") == {"bird": ["wren"]}


def test_tables_that_other_programs_wrote_again_are_read(tmp_path):
    NESTS.write(tmp_path, NESTS.frame(ROWS))
    pd.read_parquet(NESTS.file(tmp_path)).to_parquet(tmp_path / "again.parquet")
    pd.testing.assert_frame_equal(NESTS.read_file(tmp_path / "again.parquet"), NESTS.read(tmp_path))


def test_a_damaged_table_is_refused(tmp_path):
    NESTS.write(tmp_path, NESTS.frame(ROWS))
    whole = NESTS.file(tmp_path).read_bytes()
    for place in (8, len(whole) // 2, len(whole) - 20):
        NESTS.file(tmp_path).write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(InputError, match=r"nests\.parquet: "):
            NESTS.read(tmp_path)
    with pytest.raises(InputError, match=r"nests\.parquet: not a readable Parquet file"):
        NESTS.read(tmp_path / "elsewhere")


def test_parts_of_a_declaration():
    assert [c.name for c in NESTS.without("eggs", "days")] == ["rank", "bird", "height", "found"]
    assert [c.name for c in (*token("out", "the output token"), *chance("copying", "of random heads"))] == [
        "out_id",
        "out",
        "copying_null_mean",
        "copying_null_sd",
    ]
    assert NESTS["height"].unit == "m"


def test_a_room_writes_all_that_it_declares_and_nothing_else(tmp_path):
    room = ModuleType("room")
    room.NESTS = room.SAME = NESTS
    assert declared(room) == [NESTS]
    write_all(tmp_path, room, {"nests": NESTS.frame(ROWS)})
    assert len(NESTS.read(tmp_path)) == 2
    for contents in ({}, {"nests": NESTS.frame(ROWS), "eggs": NESTS.frame(ROWS)}):
        with pytest.raises(ValueError, match=r"room: declared and written tables differ: (nests|eggs)"):
            write_all(tmp_path, room, contents)


def test_tables_say_how_circuits_read_the_model_that_they_are_made_with(tmp_path):
    """An imported model's do; of one that was trained here they say nothing, and stay the same bytes."""
    sizes = {"n_layers": 1, "n_heads": 1, "d_model": 8, "d_head": 4, "n_ctx": 5, "d_vocab": 7}
    norm = {"normalization_type": "RMSPre", "eps": 1e-5, "d_normed": 8}
    mlp = {"attn_only": False, "d_mlp": 3, "act_fn": "relu", "embedding": "effective", "norm_scales": [1.0, 2.0]}
    theirs, ours = ModelConfig(**sizes, **norm, **mlp, imported_from="gpt2"), ModelConfig(**sizes)
    NESTS.write(tmp_path / "plain", NESTS.frame(ROWS))
    try:
        made(**theirs.readings)
        NESTS.write(tmp_path / "theirs", NESTS.frame(ROWS))
        made(**ours.readings)
        NESTS.write(tmp_path / "ours", NESTS.frame(ROWS))
    finally:
        made()
    said = pq.read_schema(NESTS.file(tmp_path / "theirs")).metadata
    assert (said[b"embedding"], said[b"layer_norm"]) == (b"effective", b"mean over validation text")
    assert said[b"description"] == NESTS.meaning.encode()
    files = [NESTS.file(tmp_path / name).read_bytes() for name in ("plain", "ours")]
    assert files[0] == files[1]
