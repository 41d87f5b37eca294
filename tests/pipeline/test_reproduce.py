"""`make report`'s own `dvc repro`: the same run, with places and times beside the names of stages."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import yaml

from skiptrace.command import reproduce
from skiptrace.command.doctor import Due
from skiptrace.command.reproduce import Plan, lanes
from skiptrace.layout import TIMES
from tests.pipeline.conftest import MODEL, Project


def test_every_stage_that_is_due_says_its_place_and_what_is_left():
    due = [Due("tokens@a", "new", 20.0), Due("train@one", "after tokens@a", None), Due("report", "new", 1.0)]
    lines = [
        "Stage 'corpus@a' didn't change, skipping\n",
        "Running stage 'tokens@a':\n",
        "data/tokens/a: 5 tokens\n",
        "Stage 'train@one' is cached - skipping run, checking out outputs\n",
        "Running stage 'report':\n",
    ]
    assert list(Plan(due, {"train@one": 300.0, "report": 9.0}).annotated(lines)) == [
        lines[0],
        "[1 of 3] tokens@a: takes about 20 s, about 5 min left in all\n",
        lines[2],
        "[2 of 3] train@one: restored from the cache\n",
        "[3 of 3] report: takes about 1 s, about 1 s left in all\n",
    ]


def test_a_stage_that_was_never_timed_says_so_and_so_do_the_stages_before_it():
    due = [Due(stage, "new", seconds) for stage, seconds in [("a", 20.0), ("b", None), ("c", None), ("d", 1.0)]]
    lines = [f"Running stage '{stage}':\n" for stage in "abcd"]
    assert list(Plan(due, {"c": 3.0}).annotated(lines)) == [
        "[1 of 4] a: takes about 20 s, about 24 s left in all, without 1 not timed yet\n",
        "[2 of 4] b: not timed yet, about 4 s left in all, without 1 not timed yet\n",
        "[3 of 4] c: takes about 3 s, about 4 s left in all\n",
        "[4 of 4] d: takes about 1 s, about 1 s left in all\n",
    ]


# b and c need a; d needs nothing; x joins c and d, and y needs x alone. z needs b, and e what is not to run.
GRAPH = {
    "check": set(), "a": {"check"}, "b": {"a"}, "c": {"a"}, "d": {"check"}, "done": set(), "e": {"done"},
    "x": {"c", "d"}, "y": {"x"}, "z": {"b"},
}  # fmt: skip
SECONDS = dict.fromkeys(["a", "b", "c", "x", "y", "z"], 1.0) | {"check": 9.0, "d": 3.0, "e": 2.0}


def test_lanes_share_no_stage_and_what_joins_them_is_left_out():
    assert lanes(GRAPH, SECONDS, 2) == [["a", "b", "c", "z"], ["d", "e"]]
    assert lanes(GRAPH, SECONDS, 3) == [["a", "b", "c", "z"], ["d"], ["e"]]
    assert lanes(GRAPH, SECONDS, 9) == lanes(GRAPH, SECONDS, 3)
    assert lanes(GRAPH, SECONDS, 1) == [["a", "b", "c", "d", "x", "y", "z", "e"]]
    assert lanes(GRAPH, {"check": 1.0, "x": 1.0}, 2) == [["x"]]  # nothing of what it joins is to run
    # What takes no longer than a lane's share is joined: x and y need c and d.
    assert lanes(GRAPH, SECONDS | {"d": 0.1, "e": 5.0}, 2) == [["a", "b", "c", "d", "x", "y", "z"], ["e"]]


def test_what_is_left_is_the_longest_lane_and_what_comes_after():
    due = [Due(stage, "new", seconds) for stage, seconds in [("a", 50.0), ("b", 20.0), ("c", 10.0), ("z", 5.0)]]
    plan = Plan(due, {}, [["a"], ["b", "c"]])
    assert list(plan.annotated(["Running stage 'a':\n", "Running stage 'b':\n"])) == [
        "[1 of 4] a: takes about 50 s, about 55 s left in all\n",
        "[2 of 4] b: takes about 20 s, about 35 s left in all\n",
    ]


def test_lanes_share_the_processors_unless_the_kernels_fix_the_threads(monkeypatch):
    monkeypatch.setattr(reproduce.os, "cpu_count", lambda: 8)
    monkeypatch.delenv("SKIPTRACE_KERNELS", raising=False)
    assert reproduce.threads(1) == {}
    assert [reproduce.threads(count)["OMP_NUM_THREADS"] for count in (2, 3, 9)] == ["4", "2", "1"]
    monkeypatch.setenv("SKIPTRACE_KERNELS", "compatible")
    assert reproduce.threads(2) == {}


def stages(project) -> dict[str, object]:
    return yaml.safe_load((project.path / "dvc.lock").read_text())["stages"]


def test_where_no_times_are_known_lanes_have_as_many_stages():
    found = lanes(GRAPH, dict.fromkeys(SECONDS, 0.0), 2)
    assert found == [["a", "b", "c", "z"], ["d", "e"]]


# A `dvc` that writes for half a second under DVC's lock, or that loses its first interrupt.
DVC = """#!{python} -IS
import fcntl, signal, sys, time
from pathlib import Path
def lose(*_):
    signal.signal(signal.SIGINT, signal.default_int_handler)
if sys.argv[-1] == "loses":
    signal.signal(signal.SIGINT, lose)
with open(".dvc/tmp/lock", "a") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    Path("written").write_text("half")
    time.sleep(0.5)
    Path("written").write_text("whole")
time.sleep(60)
"""


@pytest.fixture
def interrupted(tmp_path, monkeypatch):
    """Run one lane, send so many signals once it has begun to write, and return what was written by its end."""
    dvc = tmp_path / "bin" / "dvc"
    dvc.parent.mkdir()
    dvc.write_text(DVC.format(python=sys.executable))
    dvc.chmod(0o755)
    (tmp_path / ".dvc" / "tmp").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(dvc.parent), prepend=os.pathsep)

    def run(stage: str, number: int, count: int = 1) -> str:
        def send() -> None:
            while not Path("written").exists() or not Path("written").read_text():
                time.sleep(0.01)
            for _ in range(count):
                os.kill(os.getpid(), number)
                time.sleep(0.1)

        before = signal.signal(number, signal.default_int_handler)  # it may be ignored where tests are run
        sender = threading.Thread(target=send)
        sender.start()
        assert reproduce.run([[stage]], Plan([], {})) != 0
        sender.join()
        signal.signal(number, before)
        return Path("written").read_text()

    return run


@pytest.mark.parametrize("number", reproduce.STOPS, ids=lambda number: number.name)
def test_an_interrupt_waits_until_dvc_has_written(interrupted, number):
    assert interrupted("writes", number) == "whole"


def test_a_second_interrupt_does_not_wait(interrupted):
    assert interrupted("writes", signal.SIGINT, 2) == "half"


def test_an_interrupt_that_is_lost_comes_again(interrupted, monkeypatch):
    monkeypatch.setattr(reproduce, "PATIENCE", 1.0)
    assert interrupted("loses", signal.SIGINT) == "whole"


def test_lanes_that_are_stopped_go_on_where_they_were(project):
    """By the plain interpreter: a signal to what forks.py puts in its place reaches no stage."""
    before, plain = stages(project), Project(project.path)
    shutil.rmtree(project.path / TIMES)  # beside other tests a stage may have taken so long that one lane has them all
    for model in ("one", "two"):
        project.set(f"models.{model}.steps", 1_000_000)
    said, started = "", set()
    with subprocess.Popen(
        ["python", "-m", "skiptrace.command.reproduce"], cwd=project.path, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, env=plain.environment(JOBS="2"), start_new_session=True,
    ) as running:  # fmt: skip
        assert running.stdout is not None
        while started != {"one", "two"} and (line := running.stdout.readline()):
            started |= set(re.findall(r"\] train@(one|two): ", line))
            said += line
        below = psutil.Process(running.pid).children(recursive=True)
        os.killpg(running.pid, signal.SIGINT)  # as a terminal does
        said += running.communicate(timeout=120)[0]
    assert started == {"one", "two"} and running.returncode != 0, said
    assert psutil.wait_procs(below, timeout=10)[1] == [], said
    assert project.repair().stderr == ""
    for model in ("one", "two"):
        project.set(f"models.{model}.steps", MODEL["steps"])
    project.repro("summarise")
    assert stages(project) == before


def test_a_lane_that_fails_stops_the_other_and_is_named_last(project):
    project.set("models.one.steps", 3_000)
    (project.path / "data/raw/notes/0.txt").write_bytes(b"\xff\xfe\xfd")
    failed = project.call("python", "-m", "skiptrace.command.reproduce", JOBS="2")
    assert failed.returncode != 0 and "corpora.notes: 0.txt" in failed.stderr
    assert project.call("python", "-m", "skiptrace.command.reproduce", JOBS="many").stderr == (
        "error: JOBS: expected a number from 1 to 99, got 'many'\n"
    )


def test_a_real_run_counts_its_stages_and_ends_as_dvc_does(first_run):
    places = [tuple(map(int, found)) for found in re.findall(r"^\[(\d+) of (\d+)\] ", first_run, re.MULTILINE)]
    assert sorted(places) == [(i, len(places)) for i in range(1, len(places) + 1)] and len(places) > 40
    assert "] document: not timed yet, " in first_run and "left in all" in first_run and "sections" in first_run
