import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from skiptrace import files
from skiptrace.errors import InputError


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    files.write_text(path, "old")
    with pytest.raises(RuntimeError), files.atomic(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_nan_is_no_json(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert not list(tmp_path.iterdir())


def test_arrays_and_tables_survive(tmp_path):
    array = np.arange(6, dtype=np.uint16)
    files.write_array(tmp_path / "a.npy", array)
    assert (files.read_array(tmp_path / "a.npy") == array).all()
    table = pa.table({"a": [1, 2]})
    files.write_table(tmp_path / "t.parquet", table)
    assert files.read_table(tmp_path / "t.parquet").equals(table)


@pytest.mark.parametrize("content", [None, b"", b"junk", b"\x93NUMPY\x01\x00\x06\x00"])
@pytest.mark.parametrize("read", [files.read_array, files.read_table, files.read_json])
def test_an_unreadable_file_is_named(tmp_path, content, read):
    path = tmp_path / "broken.bin"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"broken\.bin: not (a )?readable"):
        read(path)


def test_nothing_is_unpickled(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"a\.npy"):
        files.read_array(path)


def test_a_fingerprint_tells_values_and_files_apart(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_text("1")
    b.write_text("2")
    prints = [files.fingerprint(v, f) for v, f in (([1], [a]), ([2], [a]), ([1], [b]), ([1], [a, b]), ([1], [b, a]))]
    assert len(set(prints)) == 5
    assert files.fingerprint([1], [a]) == prints[0]


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        ("InputError('params.yaml: models.one:\\n wrong')", "error: params.yaml: models.one: wrong\n"),
        ("ValueError('odd')", "error: ValueError: odd (SKIPTRACE_DEBUG=1 shows where)\n"),
    ],
)
def test_a_failure_is_one_line_and_exit_code_1(raised, told):
    code = f"from skiptrace.errors import *\ndef main(): raise {raised}\nrun(main)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={})
    assert (done.returncode, done.stderr, done.stdout) == (1, told, "")


def test_debug_shows_the_traceback():
    code = "from skiptrace.errors import *\ndef main(): raise InputError('x')\nrun(main)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={"SKIPTRACE_DEBUG": "1"})
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_json_is_written_for_people(tmp_path):
    files.write_json(tmp_path / "a.json", {"é": 1})
    assert (tmp_path / "a.json").read_text() == '{\n  "é": 1\n}\n'
    assert json.loads((tmp_path / "a.json").read_text()) == {"é": 1}


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    folder = tmp_path / "out"
    with files.atomic_folder(folder) as temporary:
        (temporary / "a").write_text("1")
    with pytest.raises(RuntimeError), files.atomic_folder(folder) as temporary:
        (temporary / "b").write_text("2")
        raise RuntimeError
    assert [p.name for p in folder.iterdir()] == ["a"]
    with files.atomic_folder(folder) as temporary:
        (temporary / "c").write_text("3")
    assert [p.name for p in folder.iterdir()] == ["c"]
    assert list(tmp_path.iterdir()) == [folder]


def test_a_missing_column_is_named(tmp_path):
    files.write_table(tmp_path / "t.parquet", pa.table({"a": [1]}))
    with pytest.raises(InputError, match=r"t\.parquet: column b is missing"):
        files.read_table(tmp_path / "t.parquet", ["a", "b"])


@pytest.mark.parametrize("lengths", [[], [0], [3], [5, 0, 70_000]])
def test_a_stream_of_arrays_has_the_bytes_of_one(tmp_path, lengths):
    parts = [np.arange(n).astype("<u2") for n in lengths]
    whole = np.concatenate([np.zeros(0, "<u2"), *parts])
    assert files.write_stream(tmp_path / "parts.npy", whole.dtype, iter(parts)) == len(whole)
    files.write_array(tmp_path / "whole.npy", whole)
    assert (tmp_path / "parts.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()
