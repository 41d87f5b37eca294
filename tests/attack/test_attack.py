"""A few attempts of every attack that `make attack` repeats by the hundred."""

import sys

import pytest
import torch
import yaml

from skiptrace.config.pipeline import load_pipeline
from tests.attack import flips, inputs, limits, processes
from tests.attack.__main__ import main
from tests.attack.outcome import Attempt, Outcome, failures, reading, table
from tests.pipeline.conftest import tiny_params


@pytest.fixture(autouse=True)
def one_thread():
    """Models of a few tokens gain nothing from more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("part", flips.PARTS, ids=lambda part: part.name)
def test_a_flipped_bit_is_never_silently_wrong(part):
    found = list(part.attack(4, 1))
    assert len(found) == 4 and failures({part.name: found}) == []


@pytest.mark.parametrize("attack", [inputs.crafted, inputs.extreme], ids=lambda attack: attack.__name__)
def test_an_odd_input_is_one_line(attack):
    found = list(attack(10, 1))
    assert len(found) == 10 and failures({"inputs": found}) == []


@pytest.mark.parametrize(
    ("attack", "stages"),
    [
        (processes.kills, [("ngrams", "--corpus", "notes")]),
        (processes.disks, [("ngrams", "--corpus", "notes")]),
    ],
    ids=["kills", "disks"],
)
def test_a_stage_that_fails_can_be_run_again(project, attack, stages):
    found = list(attack(1, 1, project, stages))
    assert len(found) == 1 and failures({"processes": found}) == []


def test_a_signal_to_dvc_is_recovered_from(project):
    found = list(processes.signals(1, 1, project))
    assert len(found) == 1 and failures({"signals": found}) == []


def test_a_stage_in_too_little_memory_is_refused_and_one_in_enough_works(tmp_path):
    limits.create(tmp_path, 2000, 20_000, 1)
    assert limits.outcome("enough", limits.run(tmp_path, "ngrams", "--corpus", "code")).outcome is Outcome.same
    with limits.reduced(tmp_path, {"models.two.batch_size": 10**6}):
        refused = limits.run(tmp_path, "train", "--model", "two")
    assert limits.outcome("too little", refused).outcome is Outcome.noticed, refused.errors
    assert refused.errors.startswith("error: train two: at least ") and refused.errors.count("\n") == 1


def test_a_pipeline_of_many_words_is_one_and_runs_from_check_to_report(reproduced, tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(limits.planted(tiny_params(), limits.D_VOCAB, 1)))
    assert load_pipeline(path).corpora["planted"].words == limits.D_VOCAB
    stages = limits.commands(reproduced.path)
    assert stages[0] == ("check",) and stages[-1] == ("report",) and len(set(stages)) == len(stages)
    assert stages.index(("train", "--model", "two")) < stages.index(("mine", "--model", "two"))


def test_the_attacks_see_what_is_wrong():
    found = [
        reading("same", lambda: 1, 1),
        reading("wrong", lambda: 1, 2),
        reading("traceback", lambda: 1 / 0),
        Attempt("noticed", Outcome.noticed),
    ]
    assert [attempt.outcome.name for attempt in found] == ["same", "wrong", "traceback", "noticed"]
    assert [line.split(":")[1] for line in failures({"x": found})] == [" wrong", " traceback"]
    assert table({"x": found}).splitlines()[1].split() == ["x", "4", "1", "1", "1", "1"]


def test_a_part_is_run_alone_with_a_count(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["attack", "flips: JSON", "--count", "3"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:3] == ["flips:", "JSON", "3"]
