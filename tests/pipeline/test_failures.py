"""Bad input and hard kills, through the real commands."""

import contextlib
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.attack.processes import outputs
from tests.pipeline.conftest import restored
from tests.pipeline.test_graph import STAGES

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_killed_training_continues_and_ends_with_the_same_bytes(project):
    project.set("models.two.steps", 300)
    assert project.stage("train", "--model", "two").returncode == 0
    folder = project.path / "data" / "models" / "two"
    undisturbed = files(folder)
    project.call("rm", "-rf", str(folder))

    scratch = project.path / "data" / "scratch" / "train" / "two"
    frequent = project.environment(SKIPTRACE_CHECKPOINT_SECONDS="0")
    for _ in range(2):
        before = {p: p.stat().st_mtime_ns for p in scratch.rglob("state.pt")}
        running = subprocess.Popen(
            [sys.executable, "-m", "stages.train", "--model", "two"], cwd=project.path, env=frequent
        )
        while {p: p.stat().st_mtime_ns for p in scratch.rglob("state.pt")} == before:
            assert running.poll() is None, "the training ended before it could be killed"
            time.sleep(0.005)
        running.send_signal(signal.SIGKILL)
        running.wait()
        assert not folder.exists()
    assert project.stage("train", "--model", "two").returncode == 0
    assert files(folder) == undisturbed
    assert not scratch.exists()


def test_a_state_of_other_parameters_is_not_continued(project):
    project.set("models.two.steps", 300)
    scratch = project.path / "data" / "scratch" / "train" / "two"
    running = subprocess.Popen(
        [sys.executable, "-m", "stages.train", "--model", "two"],
        cwd=project.path,
        env=project.environment(SKIPTRACE_CHECKPOINT_SECONDS="0"),
    )
    while not list(scratch.rglob("state.pt")):
        assert running.poll() is None
        time.sleep(0.005)
    running.kill()
    running.wait()
    before = files(project.path / "data" / "models" / "two")
    project.set("models.two.steps", 12)
    assert project.stage("train", "--model", "two").returncode == 0
    assert files(project.path / "data" / "models" / "two") == before


@pytest.mark.parametrize(
    ("stage", "arguments", "spoil", "message"),
    [
        ("train", ["--model", "nope"], None, "params.yaml: models.nope: no such key; there is zero, one, two"),
        ("corpus", ["--corpus", "notes"], ("data/raw/notes/3.txt", b"caf\xe9"), "3.txt: not UTF-8 at byte 3"),
        ("mine", ["--model", "one"], ("data/tables/one/heads.parquet", None), "heads.parquet: not a r"),
        ("expand", ["--model", "one"], ("data/models/one/model.safetensors", None), "model.safetensors: damaged"),
        ("score", ["--model", "one"], ("data/models/one/config.json", b"{}"), "config.json: n_layers"),
        ("ngrams", ["--corpus", "code"], ("data/tokens/code/train.npy", b""), "train.npy: not a readable array"),
        ("tokens", ["--corpus", "code"], ("data/corpora/code/documents.parquet", None), "documents.parquet: not a r"),
        ("document", [], ("data/tables/one/heads.parquet", b"PAR1"), "heads.parquet: not a r"),
        ("report", [], ("data/document.json", None), "document.json: "),
        ("summarise", [], ("data/models/two/curve.parquet", b""), "curve.parquet: not a readable Parquet"),
        ("check", [], ("params.yaml", b"models: 3"), "params.yaml: corpora: missing"),
        ("check", [], ("data/raw/notes/3.txt", POINTER), "3.txt: a pointer of git-lfs, not the file; run git lfs pull"),
    ],
    ids=lambda v: v if isinstance(v, str) and " " not in v else None,
)  # fmt: skip
def test_bad_input_is_one_line_and_nothing_is_half_written(shared, stage, arguments, spoil, message):
    with contextlib.ExitStack() as after:
        if spoil:
            path = shared.path / spoil[0]
            after.enter_context(restored(path))
            content = path.read_bytes()
            path.unlink()
            path.write_bytes(content[: len(content) // 2] if spoil[1] is None else spoil[1])
        before = outputs(shared)
        done = shared.stage(stage, *arguments)
        assert done.returncode == 1
        assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
        assert message in done.stderr
        assert outputs(shared) == before


def test_a_tokenizer_that_loses_the_text_is_refused_unless_it_is_allowed(project):
    import json

    from tokenizers import Tokenizer, models, pre_tokenizers

    lossy = Tokenizer(models.WordLevel({"[UNK]": 0, "[CLS]": 1, "the": 2}, unk_token="[UNK]"))
    lossy.pre_tokenizer = pre_tokenizers.Whitespace()
    (project.path / "imports" / "lossy").mkdir()
    lossy.save(str(project.path / "imports" / "lossy" / "tokenizer.json"))
    project.set("tokenizers.notes", {"kind": "existing", "path": "imports/lossy", "bos": "[CLS]"})
    folder = project.path / "data" / "tokens" / "notes"
    before = files(folder)
    done = project.stage("tokens", "--corpus", "notes")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: tokenizers.notes: 8")
    assert (
        "% of the characters of corpora.notes are lost when it is encoded and decoded, most often those of"
        in done.stderr
    )
    assert files(folder) == before
    project.set("tokenizers.notes.max_lost", 1.0)
    assert project.stage("tokens", "--corpus", "notes").returncode == 0
    assert json.loads((folder / "sizes.json").read_text())["survival"]["lost"] > 0


def test_a_missing_option_is_a_usage_error_of_one_line(project):
    done = project.stage("train", "--modle", "two")
    message = "error: the following arguments are required: --model; see python -m stages.train --help\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", message)


def test_wrong_parameters_stop_dvc_before_any_work(project):
    project.set("models.one.n_head", 4)
    done = project.call("dvc", "repro")
    assert done.returncode != 0
    assert "error: params.yaml: models.one.n_head: unknown key" in done.stderr
    assert "Running stage 'train" not in done.stdout


def test_every_stage_runs_by_itself_and_says_in_one_line_what_it_wrote(project):
    """Without DVC, and with the same bytes as before."""
    before = outputs(project)
    instances = {"corpus": "notes", "tokens": "notes", "ngrams": "notes", "dictionary": "toy"}
    per_model = "train score expand mine verify compose account directions explore features rules"
    models = per_model.split()
    for stage in STAGES:
        over = "--model" if stage in models else "--corpus" if stage != "dictionary" else "--dictionary"
        named = "two" if stage in models else instances.get(stage)
        done = project.call("python", "-m", f"stages.{stage}", *([over, named] if named else []))
        assert (done.returncode, done.stderr) == (0, ""), stage
        path, said = done.stdout.rstrip("\n").split(": ", 1)
        assert (project.path / path).exists() and re.search(r"\d", said) and "\n" not in said, done.stdout
    assert outputs(project) == before


def test_what_is_not_stored_is_mined_as_well_and_what_does_not_fit_is_refused(project):
    circuits, tables = (project.path / "data" / kind / "two" for kind in ("circuits", "tables"))
    before = files(tables)
    project.set("expansion.max_bytes", 1000)
    done = project.stage("expand", "--model", "two")
    assert done.returncode == 1 and "more than expansion.max_bytes" in done.stderr
    assert list(circuits.rglob("part-*.parquet"))
    project.set("expansion.store", "none")
    for stage in ("expand", "mine"):
        assert project.stage(stage, "--model", "two").returncode == 0
    assert [path.name for path in circuits.rglob("*") if path.is_file()] == ["_circuits.json"]
    assert files(tables) == before


def test_a_figure_that_cannot_be_drawn_costs_no_more_than_itself(project):
    """Through DVC: the stage that renders it fails, and the page is there."""
    params = project.params()
    params["models"] = {"two": params["models"]["two"]}
    del params["dictionaries"]["one"]
    project.write_params(params)
    path = project.path / "data" / "tables" / "two" / "offsets.parquet"
    table = pd.read_parquet(path)
    path.unlink()  # linked to the cache
    table.assign(text=np.nan, position_only=np.nan).to_parquet(path)
    assert project.call("dvc", "repro", "--single-item", "document").returncode == 0
    done = project.call("dvc", "repro", "--single-item", "report")
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 2 and lines[0].startswith("error: report: two: heads, figure ") and "NaN" in lines[0]
    assert lines[1] == (
        "error: report: 1 of its parts could not be made and are boxes in it; "
        "the rest is in reports/index.html and reports/report.md"
    )
    page = (project.path / "reports" / "index.html").read_text()
    assert page.count('<p class="failed">') == 1 and 'id="two-heads"' in page and 'id="provenance"' in page
    text = (project.path / "reports" / "report.md").read_text()
    assert "could not be made." in text and "figures/offsets_two.svg" not in text
    assert "Traceback" not in done.stdout + done.stderr
