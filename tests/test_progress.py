"""What a log says of a long loop."""

import re
import sys

import numpy as np
import pytest

from skiptrace import progress
from skiptrace.config.models import ModelParams
from skiptrace.models.training import train

PARAMS = ModelParams(
    corpus="c", seed=0, n_layers=1, n_heads=2, d_head=3, d_model=8, n_ctx=6, steps=5, batch_size=2, warmup_steps=1,
    lr_embedding=0.02, lr_attention=0.05, weight_decay=0.0,
)  # fmt: skip


@pytest.fixture
def often(monkeypatch):
    """A line for every step."""
    monkeypatch.setattr(progress, "EVERY", 0.0)


def test_a_training_in_a_log_says_step_loss_and_time_left(often, tmp_path, capsys):
    stream = np.random.default_rng(0).integers(1, 9, 200)
    train(PARAMS, stream, stream, 9, tmp_path, "one")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) >= 5
    assert re.fullmatch(r"training one: 3 of 5, \d\d:\d\d passed, \S+ left, loss=\d\.\d{3}", lines[3]), lines


def test_a_short_loop_leaves_no_line(capsys):
    assert list(progress.progress(range(1000), "counting")) == list(range(1000))
    assert capsys.readouterr().err == ""


def test_a_loop_of_unknown_length_says_how_far_it_is(often, capsys):
    assert list(progress.progress(iter("abc"), "reading", unit=" documents")) == ["a", "b", "c"]
    assert re.fullmatch(r"reading: 3 documents, \d\d:\d\d passed", capsys.readouterr().err.splitlines()[-1])


def test_a_terminal_has_one_line_that_changes(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert list(progress.progress(range(3), "counting")) == [0, 1, 2]
    written = capsys.readouterr().err
    assert "\r" in written and written.count("\n") == 1
