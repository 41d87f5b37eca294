"""Tokenizers and checkpoints in imports/: what is noted of them, and what reruns when they change."""

import os
from pathlib import Path

import pandas as pd
import pytest

from skiptrace.errors import InputError
from stages.check import listing
from tests.models.conftest import write_gpt2
from tests.pipeline.conftest import Project


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "imports" / "model").mkdir(parents=True)
    (tmp_path / "imports" / "model" / "config.json").write_text("{}")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "secret").write_text("x")
    return tmp_path


def test_the_listing_follows_the_content(here):
    before = listing("imports/model", "models.m.import")
    assert before.endswith("  imports/model/config.json\n")
    (here / "imports" / "model" / "config.json").write_text("{ }")
    assert listing("imports/model", "models.m.import") != before
    assert listing(None, "models.m.import") == "made here\n"
    assert listing("imports/model/config.json", "k").count("\n") == 1


OUTSIDE = ["elsewhere", "imports/../elsewhere", "/etc/passwd", "imports/link", "imports/link/secret"]


@pytest.mark.parametrize("path", OUTSIDE)
def test_a_path_that_dvc_would_not_watch_is_refused(here, path):
    (here / "imports" / "link").symlink_to(here / "elsewhere")
    with pytest.raises(InputError, match=r"models\.m\.import: .* is not in imports/, which DVC watches"):
        listing(path, "models.m.import")


def test_a_link_inside_and_an_absent_path_are_named(here):
    with pytest.raises(InputError, match="no file at imports/none"):
        listing("imports/none", "k")
    (here / "imports" / "model" / "model.pth").symlink_to(here / "elsewhere" / "secret")
    with pytest.raises(InputError, match=r"imports/model/model\.pth is a link, behind which DVC does not see"):
        listing("imports/model", "k")


@pytest.mark.parametrize("path", ["imports/a\0b", "imports/" + "x" * 300, "imports/a\nb"], ids=["NUL", "long", "lines"])
def test_a_path_that_no_file_can_have_is_named(here, path):
    with pytest.raises(InputError, match=r"params\.yaml: models\.m\.import: ") as raised:
        listing(path, "models.m.import")
    assert len(str(raised.value).splitlines()) == 1


def test_what_is_no_regular_file_is_refused_and_not_waited_for(here):
    os.mkfifo(here / "imports" / "model" / "pipe")
    with pytest.raises(InputError, match=r"imports/model/pipe is no regular file; take it out of imports/"):
        listing("imports/model", "k")
    with pytest.raises(InputError, match=r"imports/model/pipe is no regular file"):
        listing("imports/model/pipe", "k")


@pytest.mark.parametrize("name", ["a\nb", "a\udcff"])
def test_a_file_whose_name_is_no_text_is_refused(here, name):
    (here / "imports" / "model" / name).write_text("x")
    with pytest.raises(InputError, match="has characters that do not belong in a path; rename it"):
        listing("imports/model", "k")


def test_a_long_name_is_as_good_as_another(here):
    (here / "imports" / "model" / ("x" * 250)).write_text("")
    assert "x" * 250 in listing("imports/model", "k")


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n"


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "merges.txt"])
def test_a_git_lfs_pointer_is_named_with_the_command_that_brings_the_file(here, name):
    (here / "imports" / "model" / name).write_text(POINTER)
    with pytest.raises(InputError, match=rf"imports/model/{name}: a pointer of git-lfs, .*; run git lfs pull"):
        listing("imports/model", "k")


def test_an_empty_checkpoint_is_named_and_an_empty_note_is_not(here):
    (here / "imports" / "model" / ".gitkeep").write_text("")
    assert ".gitkeep" in listing("imports/model", "k")
    (here / "imports" / "model" / "model.pth").write_text("")
    with pytest.raises(InputError, match=r"imports/model/model\.pth: empty; copy it again"):
        listing("imports/model", "k")


def test_only_the_model_whose_checkpoint_changed_is_imported_again(project: Project):
    tokens = len(pd.read_parquet(project.path / "data" / "tokens" / "planted" / "vocab.parquet"))
    sizes = {"vocab_size": tokens, "n_positions": 16}
    params = project.params()
    for name in ("first", "second"):
        write_gpt2(project.path / "imports" / name, **sizes)
        params["models"][name] = {"corpus": "planted", "import": f"imports/{name}"}
    params["models"]["misfit"] = {"corpus": "notes", "import": "imports/first"}
    project.write_params(params)
    project.dvc("repro", "--quiet", "train@first", "train@second")
    write_gpt2(project.path / "imports" / "second", seed=1, **sizes)
    project.dvc("repro", "--quiet", "check")
    status = project.dvc("status", "train")
    assert "train@second" in status and "train@first" not in status and "train@one" not in status
    done = project.stage("train", "--model", "misfit")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert f"imports/first has {tokens} tokens, but the tokenizer of corpus notes has 270" in done.stderr

    # What holds of a trained model holds of an imported one: its context must fit the text of its corpus.
    write_gpt2(project.path / "imports" / "first", **sizes | {"n_positions": 5000})
    before = (project.path / "data/models/first/model.safetensors").read_bytes()
    done = project.stage("train", "--model", "first")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "fewer than one context of models.first.n_ctx = 5000; add text or lower n_ctx" in done.stderr
    assert (project.path / "data/models/first/model.safetensors").read_bytes() == before
