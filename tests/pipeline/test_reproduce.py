"""`make report`'s own `dvc repro`: the same run, with places and times beside the names of stages."""

import re

from skiptrace.command.doctor import Due
from skiptrace.command.reproduce import annotated


def test_every_stage_that_is_due_says_its_place_and_what_is_left():
    due = [Due("tokens@a", "new", 20.0), Due("train@one", "after tokens@a", None), Due("report", "new", 1.0)]
    lines = [
        "Stage 'corpus@a' didn't change, skipping\n",
        "Running stage 'tokens@a':\n",
        "data/tokens/a: 5 tokens\n",
        "Stage 'train@one' is cached - skipping run, checking out outputs\n",
        "Running stage 'report':\n",
    ]
    assert list(annotated(lines, due, {"train@one": 300.0, "report": 9.0})) == [
        lines[0],
        "[1 of 3] tokens@a: takes about 20 s, about 5 min left in all\n",
        lines[2],
        "[2 of 3] train@one: restored from the cache\n",
        "[3 of 3] report: takes about 1 s, about 1 s left in all\n",
    ]


def test_a_real_run_counts_its_stages_and_ends_as_dvc_does(project):
    project.set("report.bigrams", 7)
    said = project.call("python", "-m", "skiptrace.command.reproduce")
    assert said.returncode == 0, said.stderr
    places = [tuple(map(int, found)) for found in re.findall(r"^\[(\d+) of (\d+)\] ", said.stdout, re.MULTILINE)]
    assert places == [(i, len(places)) for i in range(1, len(places) + 1)] and places
    assert "] document: takes about" in said.stdout and "left in all" in said.stdout and "sections" in said.stdout
    project.set("report.bigrams", 8)
    (project.path / "data/raw/notes/0.txt").write_bytes(b"\xff\xfe\xfd")
    failed = project.call("python", "-m", "skiptrace.command.reproduce")
    assert failed.returncode != 0 and "corpora.notes: 0.txt" in failed.stderr
