"""A lock that survives signals: DVC empties dvc.lock and its rwlock before it writes them."""

import signal
import subprocess

import pytest
import yaml
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from hypothesis import given, settings
from hypothesis import strategies as st
from voluptuous import Invalid

from skiptrace.command.repair import is_sound
from tests.pipeline.conftest import ROOT

LOCK = (ROOT / "dvc.lock").read_bytes()


def killed_while_it_writes(project, number: int) -> None:
    """Signal a real `dvc repro` at the moment at which dvc.lock is empty or half written."""
    lock = project.path / "dvc.lock"
    whole = lock.stat().st_size
    params = project.path / "params.yaml"
    params.write_text(params.read_text() + "\n# touched\n")
    command = ["dvc", "repro", "--single-item", "check"]
    running = subprocess.Popen(
        command, cwd=project.path, env=project.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while lock.stat().st_size >= whole - 100:
        assert running.poll() is None, "dvc ended before it could be killed"
    running.send_signal(number)
    running.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["SIGINT", "SIGKILL"])
def test_a_lock_that_was_being_written_is_restored(project, number):
    before = yaml.safe_load((project.path / "dvc.lock").read_text())
    project.stage("ngrams", "--corpus", "notes")  # any stage keeps a copy
    killed_while_it_writes(project, number)
    assert project.call("dvc", "status").returncode != 0
    done = project.repair()
    assert done.returncode == 0 and done.stderr.count("\n") >= 1
    assert "dvc.lock is empty: restored from data/scratch/sound.lock" in done.stderr
    assert yaml.safe_load((project.path / "dvc.lock").read_text()) == before
    assert project.repro("ngrams@notes") <= {"check"}


def spoil(project, lock: bytes, rwlock: bytes | None = None) -> None:
    (project.path / "dvc.lock").write_bytes(lock)
    if rwlock is not None:
        (project.path / ".dvc" / "tmp" / "rwlock").write_bytes(rwlock)


def test_without_a_copy_the_lock_comes_from_git_and_else_from_the_run_cache(project):
    lock = (project.path / "dvc.lock").read_bytes()
    copy = project.path / "data" / "scratch" / "sound.lock"
    copy.unlink()
    spoil(project, lock[: len(lock) // 2], b"")
    done = project.repair()
    assert "dvc.lock is not complete, as an interrupted DVC leaves it: restored from git's HEAD" in done.stderr
    assert ".dvc/tmp/rwlock is empty: removed" in done.stderr
    assert (project.path / "dvc.lock").read_bytes() == lock
    assert copy.read_bytes() == lock
    copy.unlink()
    project.call("git", "rm", "--cached", "--quiet", "dvc.lock")
    project.call("git", "commit", "--quiet", "--message", "without")
    spoil(project, b"")
    assert "removed, DVC's run cache fills it again" in project.repair().stderr
    assert project.repro("mine@one") == {"check"}  # all else is restored
    assert project.repair().stderr == ""


def test_the_check_before_any_work_repairs_too(project):
    spoil(project, b"", b"{")
    done = project.stage("check")
    assert done.returncode == 0
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == [
        "dvc.lock is empty",
        ".dvc/tmp/rwlock is not complete, as an interrupted DVC leaves it",
    ]
    assert project.call("dvc", "status").returncode == 0


def test_nothing_is_touched_while_dvc_runs(project):
    code = (
        "import time; from dvc.repo import Repo\nwith Repo('.') as r, r.lock: print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        ["python3", "-c", code], cwd=project.path, env=project.environment(), stdout=subprocess.PIPE, text=True
    ) as holder:
        try:
            assert holder.stdout.readline() == "held\n"
            spoil(project, b"")
            done = project.repair()
        finally:
            holder.kill()
    assert done.returncode == 1
    assert done.stderr == "error: dvc.lock is empty, but another dvc runs here; wait for it to end\n"
    assert (project.path / "dvc.lock").read_bytes() == b""


def dvc_reads(lock: bytes) -> bool:
    try:
        COMPILED_LOCKFILE_SCHEMA(yaml.load(lock, yaml.CSafeLoader))
        return True
    except (yaml.YAMLError, Invalid, ValueError):
        return False


SMALL = LOCK[: LOCK.index(b"  corpus@planted:")]  # two stages


@given(st.integers(0, len(SMALL)))
@settings(deadline=None, max_examples=200)
def test_what_is_sound_dvc_reads(length):
    cut = SMALL[:length]
    assert not is_sound(cut) or dvc_reads(cut)


def test_the_whole_lock_is_sound_and_no_other_text_is():
    assert is_sound(LOCK) and is_sound(SMALL)
    for text in (b"", b"schema: '2.0'\nstages:", b"\0" * 4096, b"[]\n", b"stages: {}\n", b"schema: '2.0'\nstages: 3\n"):
        assert not is_sound(text), text
    assert not is_sound(LOCK.replace(b"cmd: python", b"cmt: python", 1))
