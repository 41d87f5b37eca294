import json
import os
import signal
import subprocess
import sys
import time

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from skiptrace.circuits.factored import Circuit, named, names
from skiptrace.config.expansion import ExpansionParams
from skiptrace.errors import InputError
from skiptrace.expansion import writer
from skiptrace.expansion.layout import partition
from skiptrace.expansion.reader import Tiles, is_whole, read_row
from skiptrace.expansion.writer import refuse_too_much, write
from skiptrace.models import checkpoint

# Neither number of rows divides the vocabulary of 23.
PARAMS = ExpansionParams(
    store="full",
    circuits=["direct", "qk", "ov", "virtual_ov", "k_composition"],
    heads="all",
    virtual_heads=2,
    max_bytes=10**9,
    chunk_rows=9,
    row_group_rows=4,
)


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    monkeypatch.setenv("SKIPTRACE_WORKERS", "1")


def all_circuits(model):
    return [named(model, name) for name in names(model, 2)]


def expand(circuits, folder, params=PARAMS):
    write(circuits, circuits[0].left.shape[0], str(folder), params)


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.parquet")}


def read(folder, circuit):
    found = list(Tiles(folder, circuit.name, circuit.layer, circuit.head))
    assert [t.start for t in found] == np.cumsum([0] + [len(t.values) for t in found[:-1]]).tolist()
    return torch.cat([t.values for t in found])


def test_every_value_equals_the_dense_product_up_to_half_precision(make_model, tmp_path):
    circuits = all_circuits(make_model(2))
    expand(circuits, tmp_path)
    for circuit in circuits:
        dense = (circuit.left @ circuit.right).half().float()
        torch.testing.assert_close(read(tmp_path, circuit), dense, rtol=2e-3, atol=1e-6)


def test_the_layout_of_the_contract(make_model, tmp_path):
    expand(all_circuits(make_model(1)), tmp_path)
    names = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.parquet")}
    assert "circuit=direct/layer=none/head=none/part-00002.parquet" in names
    assert "circuit=ov/layer=0/head=2/part-00000.parquet" in names
    assert len(names) == 3 * (1 + 2 * 3)
    table = pd.read_parquet(tmp_path / "circuit=qk/layer=0/head=1/part-00001.parquet", partitioning=None)
    assert table["token_id"].tolist() == list(range(9, 18))
    assert table["values"].map(len).unique().tolist() == [23]
    np.testing.assert_allclose(table["row_max"], table["values"].map(max).astype(float), rtol=1e-3)
    np.testing.assert_allclose(table["row_min"], table["values"].map(min).astype(float), rtol=1e-3)


READERS = {
    "pyarrow": lambda path: np.array(pq.read_table(path)["values"].to_pylist(), "f4"),
    "pandas": lambda path: np.array(pd.read_parquet(path)["values"].tolist(), "f4"),
    "polars": lambda path: np.array(pl.read_parquet(path)["values"].to_list(), "f4"),
    "duckdb": lambda path: np.array([r[0] for r in duckdb.sql(f"select values from '{path}'").fetchall()], "f4"),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (40, 1), (1, 37), (150, 301)])
def test_the_readers_people_use_read_the_same_numbers(tmp_path, reader, rows, columns):
    g = torch.Generator().manual_seed(0)
    c = circuit(torch.randn(rows, 3, generator=g).tolist(), torch.randn(3, columns, generator=g).tolist())
    expand([c], tmp_path, PARAMS.model_copy(update={"chunk_rows": 200, "row_group_rows": 64}))
    path = tmp_path / partition("ov", "0", "1") / "part-00000.parquet"
    expected = (c.left @ c.right).half().float().numpy()
    np.testing.assert_array_equal(READERS[reader](path), expected)


def test_parts_say_how_their_circuit_was_read(make_model, tmp_path):
    circuit, how = all_circuits(make_model(1))[1], {"embedding": "effective", "layer_norm": "mean over validation text"}
    expand([circuit], tmp_path / "plain")
    write([circuit], 23, str(tmp_path / "read"), PARAMS, how)
    files = [next((tmp_path / name).rglob("part-00000.parquet")) for name in ("plain", "read")]
    plain, told = (pq.read_metadata(file).metadata for file in files)
    assert {key.encode(): value.encode() for key, value in how.items()}.items() <= told.items()
    assert plain.keys() == told.keys() - {b"embedding", b"layer_norm"}
    torch.testing.assert_close(read(tmp_path / "read", circuit), read(tmp_path / "plain", circuit))
    assert pq.read_table(files[1]).equals(pq.read_table(files[0]))


def test_other_readers_find_a_row_by_its_statistics(make_model, tmp_path):
    expand(all_circuits(make_model(1)), tmp_path)
    part = tmp_path / "circuit=qk/layer=0/head=1/part-00001.parquet"
    group = pq.ParquetFile(part).metadata.row_group(1)
    assert (group.column(0).statistics.min, group.column(0).statistics.max) == (13, 16)
    assert group.column(2).statistics.max == pytest.approx(max(pd.read_parquet(part)["row_max"][4:8]))
    found = duckdb.sql(f"select values from '{tmp_path}/circuit=qk/**/*.parquet' where head = 1 and token_id = 14")
    np.testing.assert_array_equal(np.array(found.fetchall()[0][0], "f2"), read_row(tmp_path, "qk", "0", "1", 14))


@pytest.mark.parametrize("token", [0, 3, 4, 8, 9, 17, 22])
def test_one_row_is_read_alone(make_model, tmp_path, token):
    c = all_circuits(make_model(1))[2]
    expand([c], tmp_path)
    np.testing.assert_array_equal(read_row(tmp_path, c.name, c.layer, c.head, token), read(tmp_path, c)[token].half())


def test_a_row_of_files_that_others_rewrote_is_read_too(make_model, tmp_path):
    c = all_circuits(make_model(1))[2]
    expand([c], tmp_path)
    expected = read_row(tmp_path, c.name, c.layer, c.head, 12)
    part = tmp_path / partition(c.name, c.layer, c.head) / "part-00001.parquet"
    pq.write_table(pq.read_table(part, partitioning=None), part, compression="zstd")
    np.testing.assert_array_equal(read_row(tmp_path, c.name, c.layer, c.head, 12), expected)


@pytest.mark.parametrize("token", [23, 27, 900])
def test_a_row_that_is_not_there_is_named(expanded, token):
    with pytest.raises(InputError, match=f"there is no row {token}"):
        read_row(expanded[0], "ov", "0", "1", token)


def test_part_files_do_not_depend_on_what_else_is_written_or_by_whom(make_model, tmp_path, monkeypatch):
    circuits = all_circuits(make_model(1))
    expand(circuits, tmp_path / "all")
    expand(circuits[3:4], tmp_path / "one")
    monkeypatch.delenv("SKIPTRACE_WORKERS")
    expand(circuits, tmp_path / "threads")
    together = contents(tmp_path / "all")
    assert contents(tmp_path / "threads") == together
    assert contents(tmp_path / "one").items() <= together.items()


def test_parts_go_to_any_file_system(make_model, tmp_path):
    import fsspec

    circuits = all_circuits(make_model(1))
    expand(circuits, tmp_path)
    write(circuits, 23, "memory://expansion", PARAMS)
    files = fsspec.filesystem("memory")
    found = {p.removeprefix("/expansion/"): files.cat_file(p) for p in files.find("/expansion") if "parquet" in p}
    assert found == contents(tmp_path)


class Largest(TorchDispatchMode):
    """Watches every tensor that any operation makes."""

    def __init__(self) -> None:
        super().__init__()
        self.entries = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for made in result if isinstance(result, tuple) else (result,):
            if isinstance(made, torch.Tensor):
                self.entries = max(self.entries, made.numel())
        return result


def test_memory_is_one_tile(make_model, tmp_path):
    circuits = all_circuits(make_model(1))
    with Largest() as largest:
        expand(circuits, tmp_path)
    # The factors themselves, of d_model columns, are larger here than a tile.
    assert largest.entries <= max(PARAMS.row_group_rows * 23, 23 * 10)


def circuit(left, right):
    return Circuit("ov", "0", "1", torch.tensor(left), torch.tensor(right))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (circuit([[float("nan")], [1.0]], [[1.0, 2.0]]), r"ov L0H1: an entry is NaN or infinite"),
        (circuit([[1e30], [1.0]], [[1e30, 2.0]]), r"ov L0H1: an entry is NaN or infinite"),
        (circuit([[300.0], [1.0]], [[1.0, 300.0]]), r"ov L0H1: an entry exceeds 65504"),
    ],
    ids=["nan", "overflow", "beyond half"],
)
def test_entries_that_half_precision_cannot_hold_are_refused(tmp_path, bad, message):
    with pytest.raises(InputError, match=message):
        expand([bad], tmp_path)
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


@pytest.fixture
def expanded(make_model, tmp_path):
    expand(all_circuits(make_model(1)), tmp_path)
    return tmp_path, tmp_path / "circuit=ov/layer=0/head=1"


def test_a_truncated_part_is_named(expanded):
    part = expanded[1] / "part-00001.parquet"
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"part-00001\.parquet: damaged"):
        list(Tiles(expanded[0], "ov", "0", "1"))


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        (["part-00000.parquet"], r"part-00001\.parquet: begins at row 9, expected row 0"),
        (["part-00001.parquet"], r"part-00002\.parquet: begins at row 18, expected row 9"),
        (["part-00002.parquet"], r"holds 18 rows of 23; a part is missing"),
        (["part-00000.parquet", "part-00001.parquet", "part-00002.parquet"], "no part files"),
    ],
)
@pytest.mark.parametrize("circuit", [("ov", "0", "1"), ("direct", "none", "none")])
def test_a_missing_part_is_noticed(expanded, circuit, lost, message):
    for name in lost:
        (expanded[0] / partition(*circuit) / name).unlink()
    with pytest.raises(InputError, match=message):
        list(Tiles(expanded[0], *circuit))


WAYS = {
    "tiles": lambda folder: [tile.values.tolist() for tile in Tiles(folder, "ov", "0", "1")],
    "read_row": lambda folder: [read_row(folder, "ov", "0", "1", token).tolist() for token in range(9, 18)],
}


@pytest.mark.parametrize("way", WAYS)
def test_no_flipped_bit_of_a_part_is_read_as_another_value(expanded, way):
    folder, place = expanded
    part = place / "part-00001.parquet"
    content, values = part.read_bytes(), WAYS[way](folder)
    noticed = 0
    for at in range(0, len(content), 4):
        flipped = bytearray(content)
        flipped[at] ^= 1 << at // 4 % 8
        part.write_bytes(flipped)
        try:
            assert WAYS[way](folder) == values
        except InputError as error:
            noticed += 1
            assert "\n" not in str(error)
    # One row of the lookup leaves two row groups unread; the rest is the mark, the name in front and the file's magic.
    assert noticed > (0.4 if way == "row of lookup" else 0.9) * len(content) / 4 - 25


def test_a_damaged_part_says_what_to_do(expanded):
    part = expanded[1] / "part-00001.parquet"
    content = bytearray(part.read_bytes())
    content[pq.ParquetFile(part).metadata.row_group(1).column(3).data_page_offset + 40] ^= 4
    part.write_bytes(content)
    message = r"part-00001\.parquet: damaged, its checksum .*skiptrace doctor --verify --repair.*dvc repro"
    with pytest.raises(InputError, match=message):
        list(Tiles(expanded[0], "ov", "0", "1"))
    with pytest.raises(InputError, match=message):
        read_row(expanded[0], "ov", "0", "1", 14)


def made(folder):
    return {p.relative_to(folder).as_posix(): p.stat().st_mtime_ns for p in folder.rglob("*.parquet")}


@pytest.mark.parametrize("damage", ["none", "truncated", "flipped", "gone", "note gone", "note garbled", "other note"])
def test_finished_parts_are_kept_and_damaged_ones_made_again(make_model, tmp_path, damage):
    circuits = all_circuits(make_model(1))
    expand(circuits, tmp_path)
    whole, before = contents(tmp_path), made(tmp_path)
    part = tmp_path / "circuit=qk/layer=0/head=1/part-00001.parquet"
    note = part.with_name(".part-00001.json")
    if damage == "truncated":
        part.write_bytes(part.read_bytes()[:-7])
    elif damage == "flipped":
        part.write_bytes(part.read_bytes()[:200] + b"?" + part.read_bytes()[201:])
    elif damage == "gone":
        part.unlink()
    elif damage == "note gone":
        note.unlink()
    elif damage == "note garbled":
        note.write_text("[1")
    elif damage == "other note":
        note.write_text(json.dumps(json.loads(note.read_text()) | {"made_of": "something else"}))
    expand(circuits, tmp_path)
    assert contents(tmp_path) == whole
    again = {path for path, time in made(tmp_path).items() if time != before[path]}
    assert again == (set() if damage == "none" else {part.relative_to(tmp_path).as_posix()})


def test_no_part_with_a_flipped_bit_is_whole(expanded):
    part = expanded[1] / "part-00001.parquet"
    content = part.read_bytes()

    def is_kept(changed: bytes) -> bool:
        part.write_bytes(changed)
        with part.open("rb") as file:
            return is_whole(file, part)

    assert is_kept(content)
    for at in [*range(4), *range(4, len(content), 7)]:
        flipped = bytearray(content)
        flipped[at] ^= 1 << at % 8
        assert not is_kept(flipped), at
    for length in range(0, len(content), 50):
        assert not is_kept(content[:length]), length


@pytest.mark.parametrize("other", ["weights", "row_group_rows", "chunk_rows"])
def test_parts_of_another_model_or_other_parameters_are_never_kept(make_model, tmp_path, other):
    expand(all_circuits(make_model(1)), tmp_path / "a")
    params = PARAMS if other == "weights" else PARAMS.model_copy(update={other: 5})
    circuits = all_circuits(make_model(1, seed=1 if other == "weights" else 0))
    expand(circuits, tmp_path / "b", params)
    fresh = contents(tmp_path / "b")
    expand(circuits, tmp_path / "a", params)
    assert {path: content for path, content in contents(tmp_path / "a").items() if path in fresh} == fresh


CHILD = """
import sys
from pathlib import Path
from skiptrace.circuits.factored import named, names
from skiptrace.config.expansion import ExpansionParams
from skiptrace.expansion.writer import Stored, write
from skiptrace.models import checkpoint
folder, out, params = sys.argv[1:]
params = ExpansionParams.model_validate_json(params)
model = checkpoint.load(Path(folder))
stored = [Stored(folder, name) for name in names(model, params.virtual_heads)]
print("ready", flush=True)
write(stored, model.d_vocab, out, params)
"""


def test_killed_at_any_moment_it_ends_with_the_same_bytes(make_model, tmp_path):
    model = make_model(2, d_vocab=600).float()
    checkpoint.save(model, tmp_path / "model")
    params = PARAMS.model_copy(update={"chunk_rows": 30, "row_group_rows": 15})

    def start():
        command = [
            sys.executable,
            "-c",
            CHILD,
            str(tmp_path / "model"),
            str(tmp_path / "out"),
            params.model_dump_json(),
        ]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert child.stdout.readline() == "ready\n"
        return child

    write([writer.Stored(str(tmp_path / "model"), n) for n in names(model, 2)], 600, str(tmp_path / "whole"), params)
    whole, random = contents(tmp_path / "whole"), np.random.default_rng(0)
    seen = [0]
    for _ in range(3):
        child = start()
        while len(list((tmp_path / "out").rglob("part-*.parquet"))) <= seen[-1] and child.poll() is None:
            time.sleep(0.005)
        time.sleep(random.uniform(0, 0.05))
        os.kill(child.pid, signal.SIGKILL)
        child.communicate()
        seen.append(len(contents(tmp_path / "out")))
    child = start()
    _, errors = child.communicate(timeout=120)
    assert child.returncode == 0, errors
    assert contents(tmp_path / "out") == whole
    # Some of the kills came in the middle, and what was there then was kept.
    assert seen == sorted(seen) and any(0 < n < len(whole) for n in seen)


def test_a_full_disk_is_told_in_one_line_and_leaves_finished_parts(make_model, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("only root can mount a small disk")
    try:
        circuits = all_circuits(make_model(1, d_vocab=150))
        params = PARAMS.model_copy(update={"chunk_rows": 50, "row_group_rows": 20})
        expand(circuits, tmp_path / "whole", params)
        with pytest.raises(InputError, match="no space left on the disk; the finished parts are kept"):
            expand(circuits, disk, params)
        finished = contents(disk)
        assert finished and finished.items() <= contents(tmp_path / "whole").items()
        subprocess.run([*mount[:4], "remount,size=4m", *mount[5:]], check=True)
        before = made(disk)
        expand(circuits, disk, params)
        assert contents(disk) == contents(tmp_path / "whole")
        assert {path: made(disk)[path] for path in before} == before
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize(
    ("max_bytes", "d_vocab", "message"),
    [
        (10**6, 50_257, r"9 circuits of 50257 × 50257 need 45\.5 GB, more than expansion\.max_bytes, 0\.0 GB"),
        (10**30, 10**9, "more than what is free on the disk"),
    ],
)
def test_what_does_not_fit_is_not_begun(tmp_path, max_bytes, d_vocab, message):
    params = PARAMS.model_copy(update={"max_bytes": max_bytes})
    with pytest.raises(InputError, match=message + r".*set expansion\.store to none"):
        refuse_too_much(9, d_vocab, params, tmp_path / "not" / "there")
    refuse_too_much(9, 10, params, tmp_path)
