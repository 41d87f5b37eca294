"""Files are what they contain: names and contents in every combination that people meet."""

import bz2
import gzip
import io
import json
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from skiptrace.config.corpora import FilesCorpus
from skiptrace.corpora import compression, readers, rows
from skiptrace.corpora.card import Notes, Tally
from skiptrace.corpora.compression import zstd
from skiptrace.errors import InputError

TEXTS = ["first text", "naïve café ∑\nline two", 'third; with, "quotes"\tand tabs']
LINES = "".join(json.dumps({"id": i, "text": t}) + "\n" for i, t in enumerate(TEXTS)).encode()


def files(path: Path, **changed: object) -> FilesCorpus:
    return FilesCorpus(**{"kind": "files", "path": str(path), "include": ["**/*"], "valid_share": 0.3} | changed)


def read(path: Path, notes: Notes | None = None, **changed: object) -> list[str]:
    return [d.text for d in readers.read(files(path, **changed), "mine", Notes() if notes is None else notes)]


def delimited(delimiter: str) -> bytes:
    import csv

    out = io.StringIO()
    csv.writer(out, delimiter=delimiter).writerows([("id", "text"), *enumerate(TEXTS)])
    return out.getvalue().encode()


def arrow(file: bool) -> bytes:
    table, out = pa.table({"id": range(3), "text": TEXTS}), io.BytesIO()
    with (pa.ipc.new_file if file else pa.ipc.new_stream)(out, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return out.getvalue()


def parquet() -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"id": range(3), "text": TEXTS}), out, row_group_size=2)
    return out.getvalue()


def long_window(content: bytes) -> bytes:
    parameters = zstd.CompressionParameter
    options = {parameters.window_log: 31, parameters.enable_long_distance_matching: 1}
    compressor = zstd.ZstdCompressor(options=options)
    return compressor.compress(content) + compressor.flush()


ROWS = [{"id": i, "text": t} for i, t in enumerate(TEXTS)]
SKIPPED_FRAME = b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("c4-train.00000-of-01024.json.gz", gzip.compress(LINES, mtime=0)),
        ("a.json", LINES),
        ("a.ndjson", LINES),
        ("A.JSONL", LINES),
        ("A.JSON.GZ", gzip.compress(LINES, mtime=0)),
        ("part-00000", LINES),
        ("part-00000.gz", gzip.compress(LINES, mtime=0)),
        ("unnamed", gzip.compress(LINES, mtime=0)),
        ("fetched.jsonl.gz", LINES),
        ("a.jsonl.bz2", bz2.compress(LINES)),
        ("a.jsonl.zst", long_window(LINES)),
        ("a.jsonl.zst", SKIPPED_FRAME + zstd.compress(LINES)),
        ("a.jsonl", b"\xef\xbb\xbf" + LINES),
        ("a.jsonl", b"\n\n" + LINES.replace(b"\n", b"\r\n")),
        ("a.json", json.dumps(ROWS).encode()),
        ("a.json", json.dumps(ROWS, indent=2).encode()),
        ("a.jsonl", json.dumps(ROWS).encode()),
        ("a.json", json.dumps(TEXTS).encode()),
        ("a.json", b"".join(json.dumps(row, indent=1).encode() + b"\n" for row in ROWS)),
        ("a.json", LINES.decode().encode("utf-16")),
        ("a.csv", delimited(",")),
        ("a.csv", delimited(";")),
        ("a.csv", b"\xef\xbb\xbf" + delimited(",")),
        ("A.TSV", delimited("\t")),
        ("a.csv.gz", gzip.compress(delimited(","), mtime=0)),
        ("a.arrow", arrow(True)),
        ("a.feather", arrow(True)),
        ("data-00000-of-00001.arrow", arrow(False)),
        ("a.parquet", parquet()),
        ("a.pq", parquet()),
        ("named.txt", parquet()),
    ],
    ids=lambda value: value if isinstance(value, str) else value[:4].hex(),
)
@pytest.mark.parametrize("single", [True, False], ids=["a file", "in a folder"])
def test_rows_are_read_whatever_the_file_is_called(tmp_path, name, content, single):
    (tmp_path / name).write_bytes(content)
    assert read(tmp_path / name if single else tmp_path) == TEXTS


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
def test_byte_order_marks_are_obeyed_and_removed(tmp_path, codec):
    mark = "\ufeff" if codec.endswith(("-le", "-be")) else ""
    (tmp_path / "a.txt").write_bytes((mark + "naïve ∑ 𝄞\r\nline two").encode(codec))
    assert read(tmp_path) == ["naïve ∑ 𝄞\nline two"]


def archive(kind: str) -> bytes:
    out = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(out, "w") as file:
            file.writestr("a.txt", "text")
    else:
        with tarfile.open(fileobj=out, mode=kind) as file:
            file.addfile(tarfile.TarInfo("a.txt"))
    return out.getvalue()


def array() -> bytes:
    out = io.BytesIO()
    np.save(out, np.arange(3))
    return out.getvalue()


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
UNREADABLE = [
    (archive("zip"), "a zip archive, not text"),
    (archive("w"), "a tar archive, not text"),
    (archive("w:gz"), "a tar archive, not text"),
    (archive("w:xz"), "compressed by xz, not text"),
    (gzip.compress(gzip.compress(b"x")), "compressed twice, not text"),
    (array(), "a NumPy array, not text"),
    (b"%PDF-1.7\n", "a PDF, not text"),
    ("no mark".encode("utf-16-le"), "NUL characters, as binary files and UTF-16 without a byte-order mark do"),
    (b"x" * 2**21 + b"\0", "binary files and UTF-16 without a byte-order mark do"),
    (b"caf\xe9", "not UTF-8 at byte 3"),
    (b"\xff\xfea\x00\x00\xd8b\x00", "not UTF-16-LE at byte 4"),
]


@pytest.mark.parametrize(("content", "what"), UNREADABLE, ids=[what for _, what in UNREADABLE])
def test_what_is_no_text_is_named_or_left_out_and_counted(tmp_path, content, what):
    (tmp_path / "a.txt").write_bytes(content)
    (tmp_path / "b.txt").write_text("text")
    with pytest.raises(
        InputError, match=rf"^corpora\.mine: a\.txt: .*{what}; convert it, exclude it, or set encoding_errors"
    ):
        read(tmp_path)
    notes = Notes()
    assert read(tmp_path, notes, encoding_errors="skip") == ["text"]
    assert notes.skipped == Tally(1, ["a.txt"])


@pytest.mark.parametrize("policy", ["refuse", "replace", "skip"])
@pytest.mark.parametrize(
    ("pointer", "cure"), [(POINTER, "git-lfs.*git lfs pull"), (b"/annex/objects/MD5E-s1--a.txt\n", "git annex get")]
)
def test_a_pointer_is_never_text(tmp_path, policy, pointer, cure):
    (tmp_path / "a.txt").write_bytes(pointer)
    with pytest.raises(InputError, match=rf"^corpora\.mine: a\.txt: a pointer of .*{cure}"):
        read(tmp_path, encoding_errors=policy)


@pytest.mark.parametrize("content", [LINES, json.dumps(ROWS).encode(), json.dumps(ROWS, indent=2).encode()])
def test_json_under_a_name_of_text_is_the_users_choice(tmp_path, content):
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.txt: holds JSON, which its name does not say; set format: json"):
        read(tmp_path)
    assert read(tmp_path, format="json") == TEXTS
    assert read(tmp_path, format="text") == [content.decode()]
    (tmp_path / "a.txt").write_bytes(delimited(","))
    assert read(tmp_path, format="csv") == TEXTS


def test_a_name_of_rows_can_be_read_as_text(tmp_path):
    for name in ("a.csv", "b.json"):
        (tmp_path / name).write_text('{"some": "thing"}')
    assert read(tmp_path, format="text") == ['{"some": "thing"}'] * 2
    with pytest.raises(InputError, match=r"b\.json: no row has the field 'text'; .*format: text to keep JSON as it is"):
        read(tmp_path, include=["b.json"])


def test_braces_are_not_yet_json(tmp_path):
    for i, content in enumerate(["{}\n{}\n", "{a}\n{b}\n", '{"a": 1}\nthen\n', "{\n", "[1]\n[2]\n"]):
        (tmp_path / f"{i}.txt").write_text(content)
    assert len(read(tmp_path)) == 5


# Every kind of column that Arrow has for text.
KINDS = [
    pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string()),
    pa.dictionary(pa.int8(), pa.large_string()), pa.binary(), pa.large_binary(), pa.binary_view(),
]  # fmt: skip


@pytest.mark.parametrize("kind", [*KINDS, pa.run_end_encoded(pa.int32(), pa.string())], ids=str)
@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_text_of_every_arrow_kind_is_text(tmp_path, kind, form):
    plain = pa.array([*TEXTS, None, ""])
    encoded = pa.types.is_run_end_encoded(kind)
    table = pa.table({"text": pa.compute.run_end_encode(plain) if encoded else plain.cast(kind)})
    path = tmp_path / f"a.{form}"
    if form == "arrow":
        with pa.ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table)
    elif encoded:
        pytest.skip("Parquet has no such column")
    else:
        pq.write_table(table, path)
    assert read(tmp_path) == [*TEXTS, "", ""]


LONG = "a" * 10**6
BOMBS = {
    "compressed values": pa.array([LONG] * 20),
    "a dictionary": pa.DictionaryArray.from_arrays(pa.array([0] * 20, pa.int32()), [LONG]),
    "runs": pa.RunEndEncodedArray.from_arrays(pa.array([10**9], pa.int32()), [""]),
    "rows without text": pa.nulls(10**7, pa.string()),
}


@pytest.mark.parametrize("what", BOMBS)
@pytest.mark.parametrize("form", ["parquet", "arrow", "arrows"])
def test_columns_that_unfold_without_end_stop_at_a_limit(tmp_path, monkeypatch, what, form):
    monkeypatch.setattr(compression, "FREE", 10**6)
    table, path = pa.table({"text": BOMBS[what]}), tmp_path / f"a.{form.removesuffix('s')}"
    if form == "parquet" and what == "runs":
        pytest.skip("Parquet has no such column")
    if form == "parquet":
        pq.write_table(table, path, compression="zstd", use_dictionary=what == "a dictionary")
    else:
        make = pa.ipc.new_file if form == "arrow" else pa.ipc.new_stream
        with make(str(path), table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
            writer.write_table(table)
    assert path.stat().st_size < 40_000
    with pytest.raises(InputError, match=r"a\.\w+: unfolds to more than 200 times its size.*store it without"):
        read(tmp_path)
    monkeypatch.setattr(compression, "FREE", 2**40)
    if what in ("compressed values", "a dictionary"):
        assert read(tmp_path) == [LONG] * 20


# A column, numbers that stand in its file one after the other, and damaged ones.
ASTRAY = {
    "offsets": (pa.array(["a" * 301, "b" * 402, "c"]), "i", (0, 301, 703, 704), (0, 301, 2**30, 704)),
    "offsets that fall": (pa.array(["a" * 301, "b" * 402, "c"]), "i", (0, 301, 703, 704), (0, 301, -703, 704)),
    "large offsets": (pa.array(["a" * 301, "b"], pa.large_string()), "q", (0, 301, 302), (0, 2**62, 302)),
    "places": (pa.DictionaryArray.from_arrays(pa.array([1, 0, 1, 1], pa.int32()), ["a", "b"]), "i",
               (1, 0, 1, 1), (1, 0, 512, 1)),
    "places before the first": (pa.DictionaryArray.from_arrays(pa.array([1, 0, 1, 1], pa.int32()), ["a", "b"]), "i",
                                (1, 0, 1, 1), (1, 0, -5, 1)),
    "runs": (pa.RunEndEncodedArray.from_arrays(pa.array([303, 404, 505], pa.int32()), ["a", "b", "c"]), "i",
             (303, 404, 505), (303, 202, 505)),
}  # fmt: skip


@pytest.mark.parametrize("what", ASTRAY)
def test_what_leads_out_of_an_arrow_column_is_damage(tmp_path, what):
    """Arrow follows it and reads what is not the file's, or dies."""
    column, form, sound, damaged = ASTRAY[what]
    table, path = pa.table({"text": column}), tmp_path / "a.arrow"
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table)
    before, after = (struct.pack(f"<{len(each)}{form}", *each) for each in (sound, damaged))
    content = path.read_bytes()
    assert content.count(before) == 1 and len(read(tmp_path)) == len(column)
    path.write_bytes(content.replace(before, after))
    with pytest.raises(InputError, match=r"a\.arrow: cannot be read \(.*\); copy or download it again, or exclude it"):
        read(tmp_path)


def test_compressed_columns_are_read(tmp_path):
    table = pa.table({"text": [str(i) for i in range(3000)], "id": range(3000)})
    for codec in ("lz4", "zstd"):
        options = pa.ipc.IpcWriteOptions(compression=codec)
        with pa.ipc.new_file(str(tmp_path / "a.arrow"), table.schema, options=options) as writer:
            writer.write_table(table, max_chunksize=1000)
        assert read(tmp_path) == table["text"].to_pylist()


@pytest.mark.parametrize("kind", [pa.string(), pa.dictionary(pa.int32(), pa.string()), pa.binary()], ids=str)
def test_columns_that_are_not_utf8_follow_the_same_key(tmp_path, kind):
    bad = pa.array([b"good", b"caf\xe9"])
    if pa.types.is_dictionary(kind):
        bad = pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int32()), _unchecked(bad))
    elif pa.types.is_string(kind):
        bad = _unchecked(bad)
    pq.write_table(pa.table({"text": bad}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"a\.parquet: not UTF-8 in rows 1 to 2"):
        read(tmp_path)
    notes = Notes()
    assert read(tmp_path, notes, encoding_errors="replace") == ["good", "caf\ufffd"]
    assert notes.replaced.count == 1
    assert read(tmp_path, notes, encoding_errors="skip") == [] and notes.skipped == Tally(1, ["a.parquet"])


def _unchecked(array: pa.Array) -> pa.Array:
    return pa.Array.from_buffers(pa.string(), len(array), array.buffers())


def write_nulls(folder: Path, form: str) -> None:
    values = ["one", None, "two"]
    if form == "jsonl":
        (folder / "a.jsonl").write_text('{"text": "one"}\n{"text": null}\n{"id": 3}\n{"text": "two"}\n')
    elif form == "json":
        (folder / "a.json").write_text('[{"id": 3}, {"text": "one"}, {"text": null}, null, {"text": "two"}]')
    elif form == "csv":
        (folder / "a.csv").write_text("id,text\n1,one\n\n2,\n3,two\n")
    elif form == "parquet":
        pq.write_table(pa.table({"text": values}), folder / "a.parquet")
    elif form == "arrow":
        with pa.ipc.new_file(str(folder / "a.arrow"), pa.schema([("text", pa.string())])) as writer:
            writer.write_table(pa.table({"text": values}))


@pytest.mark.parametrize("form", ["jsonl", "json", "csv", "parquet", "arrow"])
def test_nulls_are_documents_without_text_everywhere(tmp_path, form):
    from skiptrace.corpora import documents

    (tmp_path / "in").mkdir()
    write_nulls(tmp_path / "in", form)
    found = list(readers.read(files(tmp_path / "in"), "mine", Notes()))
    assert [d.text for d in found if d.text] == ["one", "two"]
    found += [documents.Document(f"{i}", f"text {i}") for i in range(9)]
    card = documents.write(found, 0.5, "mine", Notes(), tmp_path / "documents.parquet")
    assert card.empty == len([d for d in found if not d.text]) > 0


def test_rows_without_the_field_are_known_before_the_end(tmp_path):
    row = '{"body": "x"}\n'
    (tmp_path / "a.jsonl").write_text(row * rows.PATIENCE + "not JSON")
    with pytest.raises(InputError, match=r"no row has the field 'text'; .*; there is body"):
        read(tmp_path)


def test_a_column_that_is_no_text_names_the_others(tmp_path):
    pq.write_table(pa.table({"text": [{"inner": "x"}], "body": ["x"]}), tmp_path / "a.parquet")
    with pytest.raises(
        InputError,
        match=r"has no column of text 'text'; set text_field; there is text \(struct<inner: string>\), body \(string\)",
    ):
        read(tmp_path)


def test_half_characters_follow_encoding_errors(tmp_path):
    (tmp_path / "a.py").write_text("x = '\\ud83d', '\\ud83d\\ude00'")
    (tmp_path / "b.jsonl").write_text('{"text": "\\ud83d"}\n{"text": "\\ud83d\\ude00"}\n')
    with pytest.raises(InputError, match=r"a\.py: spells half a character .*set encoding_errors to replace or skip"):
        read(tmp_path, extract="strings")
    notes = Notes()
    assert read(tmp_path, notes, extract="all", include=["*.jsonl"], encoding_errors="skip") == ["😀"]
    assert notes.skipped == Tally(1, ["b.jsonl#000000001"])
    assert read(tmp_path, notes, extract="strings", encoding_errors="replace") == ["�\n��", "�", "😀"]
    assert notes.replaced.count == 2


def test_escapes_that_do_not_exist_are_no_warning(tmp_path):
    (tmp_path / "a.py").write_text(r"x = '\d'")
    assert read(tmp_path, extract="strings") == [r"\d"]


def test_strings_of_json_lines_are_a_document_for_each(tmp_path):
    (tmp_path / "a.json").write_bytes(LINES)
    assert read(tmp_path, extract="strings") == TEXTS
