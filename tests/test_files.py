import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from skiptrace import files
from skiptrace.errors import InputError, described
from skiptrace.seals import MARK


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


def test_every_file_may_be_read_by_whoever_may_read_the_others(tmp_path):
    files.write_tensors(tmp_path / "a.safetensors", {"a": torch.zeros(2)})
    files.write_json(tmp_path / "a.json", {})
    assert len({path.stat().st_mode for path in tmp_path.iterdir()}) == 1


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


SOUND = {
    "a.npy": (lambda p: files.write_array(p, np.arange(30, dtype=np.uint16)), files.read_array),
    "a.parquet": (lambda p: files.write_table(p, pa.table({"a": [1, 2], "b": ["x", "y"]})), files.read_table),
    "a.json": (lambda p: files.write_json(p, {"a": 1.5, "b": ["é"]}, sealed=True), files.read_json),
    "a.safetensors": (lambda p: files.write_tensors(p, {"x": torch.arange(6.0)}), files.read_tensors),
}


@pytest.mark.parametrize("name", SOUND)
def test_no_flipped_bit_is_read_as_another_value(tmp_path, name):
    write, read = SOUND[name]
    path = tmp_path / name
    write(path)
    content, value = path.read_bytes(), repr(read(path))
    noticed = 0
    for bit in range(0, 8 * len(content), 5):  # 5 and 8 have no common factor: all places in a byte
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            assert repr(read(path)) == value
        except InputError as error:
            noticed += 1
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
    # The rest lies in the mark itself, without which a file is read as one of others.
    assert noticed >= 8 / 5 * (len(content) - len(MARK)) - 1


@pytest.mark.parametrize("name", SOUND)
def test_a_damaged_file_says_what_to_do(tmp_path, name):
    write, read = SOUND[name]
    write(tmp_path / name)
    content = bytearray((tmp_path / name).read_bytes())
    content[content.index(MARK) + len(MARK)] ^= 1
    (tmp_path / name).write_bytes(content)
    with pytest.raises(
        InputError, match=rf"{name}: damaged, its checksum .*skiptrace doctor --verify --repair.*dvc rep"
    ):
        read(tmp_path / name)


@given(
    values=st.lists(st.integers(0, 2**16 - 1), max_size=40), burst=st.binary(min_size=1, max_size=64), data=st.data()
)
@settings(deadline=None, max_examples=60)
def test_a_run_of_other_bytes_is_noticed(tmp_path_factory, values, burst, data):
    path = tmp_path_factory.mktemp("burst") / "a.npy"
    files.write_array(path, np.array(values, np.uint16))
    content = path.read_bytes()
    at = data.draw(st.integers(0, len(content) - 1))
    path.write_bytes(content[:at] + burst + content[at + len(burst) :])
    try:
        assert files.read_array(path).tolist() == values
    except InputError:
        assert path.read_bytes() != content


def test_files_of_others_are_read_as_they_are(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(3))
    pq.write_table(pa.table({"a": [1]}), tmp_path / "a.parquet")
    (tmp_path / "a.json").write_text('{"checksum": "theirs"}')
    save_file({"x": torch.zeros(2)}, tmp_path / "a.safetensors")
    assert files.read_array(tmp_path / "a.npy").tolist() == [0, 1, 2]
    assert files.read_table(tmp_path / "a.parquet")["a"].to_pylist() == [1]
    assert files.read_json(tmp_path / "a.json") == {"checksum": "theirs"}
    assert files.read_tensors(tmp_path / "a.safetensors")["x"].tolist() == [0, 0]


def test_others_read_sealed_files(tmp_path):
    for name, (write, _) in SOUND.items():
        write(tmp_path / name)
    assert np.load(tmp_path / "a.npy").tolist() == list(range(30))
    assert json.loads((tmp_path / "a.json").read_text())["a"] == 1.5
    assert load_file(tmp_path / "a.safetensors")["x"].tolist() == [0, 1, 2, 3, 4, 5]
    for read in (pd.read_parquet, pl.read_parquet, lambda path: duckdb.sql(f"from '{path}'").fetchdf()):
        assert list(read(tmp_path / "a.parquet")["b"]) == ["x", "y"]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([0, 1, 7], np.uint16), r"token 2 has the id 7, but the vocabulary has 7 tokens"),
        (np.array([-1, 3], np.int64), r"token 0 has the id -1"),
        (np.array([0.5]), r"expected one row of token ids, found float64 of shape \(1,\)"),
        (np.zeros((2, 2), np.uint16), r"expected one row of token ids, found uint16 of shape \(2, 2\)"),
    ],
)
def test_an_id_beyond_the_vocabulary_is_named(tmp_path, array, message):
    files.write_array(tmp_path / "train.npy", array)
    with pytest.raises(InputError, match=rf"train\.npy: {message}"):
        files.read_tokens(tmp_path / "train.npy", 7)


def test_ids_of_the_vocabulary_are_read(tmp_path):
    files.write_array(tmp_path / "train.npy", np.array([0, 6], np.uint16))
    assert files.read_tokens(tmp_path / "train.npy", 7).tolist() == [0, 6]


def test_a_planted_link_is_not_written_through(tmp_path, monkeypatch):
    victim, path = tmp_path / "victim", tmp_path / "a.txt"
    victim.write_text("mine")
    monkeypatch.setattr(files.secrets, "token_hex", lambda n: "known")
    (tmp_path / ".a.txt.known.partial").symlink_to(victim)
    with pytest.raises(FileExistsError):
        files.write_text(path, "theirs")
    assert victim.read_text() == "mine" and not path.exists()


def test_temporary_names_cannot_be_guessed(tmp_path):
    names = set()
    for _ in range(20):
        with files.atomic(tmp_path / "a") as temporary:
            names.add(temporary.name)
    assert len(names) == 20


def test_a_device_or_pipe_is_written_to_and_stays_what_it_is(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE, text=True) as reader:
        files.write_text(pipe, "through")
        assert reader.communicate()[0] == "through"
    assert pipe.is_fifo() and list(tmp_path.iterdir()) == [pipe]
    files.write_text(Path("/dev/null"), "nowhere")
    assert Path("/dev/null").is_char_device()


def test_a_link_in_dev_is_not_replaced(tmp_path):
    code = "from pathlib import Path; from skiptrace.files import *; write_text(Path('/dev/stdout'), 'shown')"
    with (tmp_path / "out").open("w") as out:
        subprocess.run([sys.executable, "-c", code], stdout=out, check=True)
    assert (tmp_path / "out").read_text() == "shown" and Path("/dev/stdout").is_symlink()


def test_a_result_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(files.os, "fsync", lambda file: done.append(os.readlink(f"/proc/self/fd/{file}")))
    replace = os.replace
    monkeypatch.setattr(files.os, "replace", lambda a, b: (done.append("replace"), replace(a, b)))
    files.write_text(tmp_path / "a", "1")
    assert [Path(step).name[:3] for step in done] == [".a.", "rep", tmp_path.name[:3]]


CHILD = """
import sys, time
from pathlib import Path
from skiptrace.files import *
with temporaries_in(Path("scratch")), atomic_folder(Path("out/one")) as folder:
    with atomic(Path("out/two")) as temporary:
        temporary.write_text("half")
        (folder / "a").write_text("half")
        print("ready", flush=True)
        time.sleep(60)
"""


def test_what_a_killed_process_left_lies_outside_outputs_and_is_removed_by_the_next(tmp_path):
    def start() -> subprocess.Popen:
        child = subprocess.Popen([sys.executable, "-c", CHILD], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
        assert child.stdout.readline() == "ready\n"
        return child

    killed, running = start(), start()
    killed.kill()
    killed.communicate()
    assert list((tmp_path / "out").iterdir()) == []
    with files.temporaries_in(tmp_path / "scratch"):
        assert len(list((tmp_path / "scratch").iterdir())) == 2  # ours, and that of the process that still runs
        files.write_text(tmp_path / "out" / "two", "whole")
    running.kill()
    running.communicate()
    with files.temporaries_in(tmp_path / "scratch"):
        assert len(list((tmp_path / "scratch").iterdir())) == 1
    assert list((tmp_path / "scratch").iterdir()) == []
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["two"]


WRITERS = {
    "text": lambda path: files.write_text(path, "x" * 9000),
    "json": lambda path: files.write_json(path, {"a": "x" * 9000}, sealed=True),
    "array": lambda path: files.write_array(path, np.arange(9000)),
    "stream": lambda path: files.write_stream(path, np.dtype(np.int64), [np.arange(9000)]),
    "table": lambda path: files.write_table(path, pa.table({"a": np.random.default_rng(0).random(9000)})),
    "tensors": lambda path: files.write_tensors(path, {"a": torch.zeros(9000)}),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_full_disk_names_what_could_not_be_written(tmp_path, full_disk, write):
    """Not the temporary file, and not nothing, as the system and libraries in C++ and Rust do."""
    path = tmp_path / "out" / "result"
    with files.temporaries_in(tmp_path / "scratch"), full_disk(), pytest.raises(OSError) as caught:
        write(path)
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(path))
    assert described(caught.value) == f"{path}: File too large; raise the limit on the size of files (ulimit -f)"
    assert list(path.parent.iterdir()) == []


def test_an_error_of_another_file_keeps_its_name(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, files.atomic(tmp_path / "result"):
        (tmp_path / "source").read_text()
    assert caught.value.filename == str(tmp_path / "source")
    with pytest.raises(InputError, match=r"^hub: gone \(os error 2\)$"), files.atomic(tmp_path / "result"):
        raise InputError("hub: gone (os error 2)")


def test_another_disk_has_its_own_temporaries(tmp_path):
    other = Path("/dev/shm")
    if not other.exists() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("one disk only")
    folder = other / tmp_path.name
    with files.temporaries_in(tmp_path / "scratch"), files.atomic(folder / "sub" / "a") as temporary:
        assert temporary.parent == folder / "sub"
    (folder / "sub" / "a").unlink()
    (folder / "sub").rmdir()
    folder.rmdir()
