"""Comparing revisions, a remote cache, and what CI runs: real git, DVC and make."""

import hashlib
import html
import json
import re
import shutil
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from skiptrace.comparison.overlap import changes
from tests.models.conftest import write_gpt2
from tests.pipeline.conftest import ROOT, Project, assert_one_line

GIT = ("git", "-c", "user.name=a", "-c", "user.email=a@b")


def commit(project: Project) -> None:
    assert project.call("git", "add", "--all").returncode == 0
    assert project.call(*GIT, "commit", "--quiet", "--message", "x").returncode == 0


def replace(path: Path, table: pa.Table) -> None:
    """Write a table under a name that DVC has linked to its cache."""
    path.unlink()
    pq.write_table(table, path)


def test_the_workspace_is_compared_with_a_commit(ask, project):
    path = project.path / "data/tables/two/skip_trigrams.parquet"
    table = pq.read_table(path)
    last = len(table) - 1
    rest = table.slice(1, last).append_column("x", pa.nulls(last)).drop_columns("x")
    replace(path, rest.set_column(0, table.schema.field("rank"), pa.array(range(1, last + 1), pa.int32())))
    project.set("report.bigrams", 5)
    told = ask(project, "compare", "HEAD", "--json")
    assert told.code == 0, told.error
    assert "note: the workspace is not reproduced" in told.error
    found = json.loads(told.out)
    assert found["parameters"] == [{"key": "report.bigrams", "a": 30, "b": 5}]
    assert all(m["difference"] == 0 and m["beyond"] is False for m in found["metrics"])
    two = found["models"]["two"]["skip_trigrams"]
    assert len(two["lost"]) == 1 and two["lost"][0]["rank_a"] == 1 and not two["gained"]
    assert two["overlap"] < 1 and found["models"]["one"]["skip_trigrams"]["overlap"] == pytest.approx(1)
    assert [h["b"] for h in found["models"]["two"]["heads"]] == ["L0H0", "L0H1", "L1H0", "L1H1"]
    # Nothing was checked out, nothing written.
    assert pq.read_table(path).num_rows == last
    rows = ask(project, "compare", "HEAD", "HEAD", "--csv").out.splitlines()
    assert rows[0] == "kind,key,a,b,difference,noise,beyond" and rows[1].startswith("metric,models.zero.valid_loss,")
    assert "All parameters are the same" in ask(project, "compare", "HEAD", "HEAD").out


def test_twins_of_a_revision_are_the_noise_floor_and_one_that_is_missing_leaves_the_others(ask, project):
    """Two twins make three pairs of seeds; without the first, the model and its second twin are left."""
    project.set("models.one.twins", 2)
    project.dvc("repro", "--single-item", "train@one", "score@one", "verify@one", "summarise")
    commit(project)
    varied = pq.read_table(project.path / "data/tables/one/spreads.parquet").to_pandas().set_index("name")["spread"]
    measured = json.loads((project.path / "reports/metrics.json").read_text())["models"]["one"]["twin_spread"]
    assert varied["valid_loss"] > 0 and measured["valid_loss"] == pytest.approx(varied["valid_loss"], abs=1e-6)

    def two_seeds(*versions: str) -> dict:
        told = ask(project, "compare", *versions, "--json")
        assert told.code == 0, told.error
        found = json.loads(told.out)["models"]
        assert found["two"]["two_seeds"] is None  # it has no twins
        return found["one"]["two_seeds"]

    mine = pq.read_table(project.path / "data/tables/one/skip_trigrams.parquet").to_pandas()
    theirs = pq.read_table(project.path / "data/evidence/one/twins.parquet").to_pandas()
    seeds = [each.assign(survives=None) for each in (mine, *(rows for _, rows in theirs.groupby("twin")))]
    overlaps = [changes(a, b).overlap for a, b in combinations(seeds, 2)]
    assert len({round(overlap, 6) for overlap in overlaps}) == 3
    whole = two_seeds("HEAD", "HEAD")
    assert whole["pairs"] == 3 and whole["overlap"] == pytest.approx(np.mean(overlaps))
    assert -1 <= whole["similarity"] < 1

    # The revision loses its first twin for good; the workspace still has it.
    weights = project.path / "data/models/one/twins/1/model.safetensors"
    digest = hashlib.md5(weights.read_bytes()).hexdigest()
    (project.path / ".dvc/cache/files/md5" / digest[:2] / digest[2:]).unlink()
    left = two_seeds("HEAD", "HEAD")
    assert left["pairs"] == 1 and left["overlap"] == pytest.approx(overlaps[1])
    assert two_seeds("HEAD", "workspace") == whole


def test_what_cannot_be_compared_is_told_in_one_line(ask, project):
    empty = project.call("git", "hash-object", "-t", "tree", "-w", "/dev/null").stdout.strip()
    bare = project.call(*GIT, "commit-tree", empty, "-m", "empty").stdout.strip()
    assert_one_line(ask(project, "compare", bare), f"{bare}: has no pipeline: dvc.yaml is not in it")

    heads = project.path / "data/tables/two/heads.parquet"
    replace(heads, pq.read_table(heads).drop_columns("copies"))
    message = "workspace: data/tables/two/heads.parquet has another schema: no column copies"
    assert_one_line(ask(project, "compare", "HEAD"), message)

    path = project.path / "data/tables/one/skip_trigrams.parquet"
    replace(path, pq.read_table(path).drop_columns("rank"))
    assert_one_line(ask(project, "compare", "HEAD"), "workspace: data/tables/one/skip_trigrams.parquet: column rank")


def test_what_is_in_no_cache_is_noted_and_the_rest_is_compared(ask, project):
    """As in a clone that has reproduced on another processor: the outputs of HEAD are nowhere."""
    shutil.rmtree(project.path / ".dvc/cache/files")
    project.set("report.bigrams", 5)
    metrics = project.path / "reports" / "metrics.json"
    metrics.write_text(re.sub(r'"valid_loss": (?=\d)', '"valid_loss": 1', metrics.read_text()))
    told = ask(project, "compare", "HEAD", "--json")
    assert told.code == 0, told.error
    found = json.loads(told.out)
    assert found["parameters"] == [{"key": "report.bigrams", "a": 30, "b": 5}]
    assert {m["key"] for m in found["metrics"] if m["difference"]} == {
        f"models.{m}.valid_loss" for m in ("zero", "one", "two")
    }
    assert found["models"] == {} and found["models_only_a"] == [] and found["models_only_b"] == []
    (note,) = found["notes"]
    absent = "data/models/zero is in dvc.lock but not in the cache here"
    for said in ("`zero`, `one`, `two` in HEAD", absent, "no remote is set; check out HEAD and run dvc repro"):
        assert said in note
    assert f"note: {note.replace('`', '')}" in told.error
    shown = ask(project, "compare", "HEAD")
    assert shown.code == 0 and "No model with heads can be read in both versions" in shown.out

    project.dvc("remote", "add", "--default", "storage", str(project.path.parent / "remote"))
    (note,) = json.loads(ask(project, "compare", "HEAD", "--json").out)["notes"]
    assert "neither in the cache here nor at the remote storage; run dvc push where it was reproduced" in note


def test_a_model_that_was_never_made_is_noted(ask, project):
    params = project.params()
    params["models"]["new"] = params["models"]["one"]
    project.write_params(params)
    told = ask(project, "compare", "HEAD", "--markdown", "notes.md")
    assert told.code == 0 and told.out == "notes.md: HEAD compared with workspace\n"
    assert "data/models/new/config.json has not been made yet; run dvc repro" in told.error
    assert "Only workspace has 1 model named" in (project.path / "notes.md").read_text()


def test_a_folder_as_remote_and_then_what_ci_runs(ask, project, tmp_path):
    """Push; a fresh clone pulls and has nothing to do; a change is compared with where it came from.

    What the pipeline only reads goes along: a user's text, and a model made elsewhere, here of a name like a number.
    Two models are enough for that.
    """
    tokens = len(pq.read_table(project.path / "data/tokens/planted/vocab.parquet"))
    write_gpt2(project.path / "imports" / "theirs", vocab_size=tokens, n_positions=16)
    params = project.params()
    params["models"] = {"one": params["models"]["one"], "3": {"corpus": "planted", "import": "imports/theirs"}}
    params["features"]["models"] = params["rules"]["models"] = {}
    project.write_params(params)
    for command in (
        ("add", "data/raw/notes"), ("add", "imports/theirs"), ("repro",),
        ("remote", "add", "--default", "storage", str(tmp_path / "remote")), ("push",),
    ):  # fmt: skip
        project.dvc(*command)
    shutil.copy(ROOT / "Makefile", project.path)
    commit(project)
    kept = project.call("git", "ls-files", "data", "imports").stdout.split()
    assert {"data/raw/notes.dvc", "imports/theirs.dvc"} <= set(kept)
    assert not [file for file in kept if not file.endswith((".dvc", ".gitignore", "README.md"))]
    project.call("git", "clone", "--quiet", str(project.path), str(tmp_path / "clone"))
    clone = Project(tmp_path / "clone", project.python)
    # What the clone has not pulled yet is read from the remote.
    told = ask(clone, "compare", "HEAD", "HEAD", "--json")
    assert told.code == 0 and json.loads(told.out)["notes"] == [] and "one" in json.loads(told.out)["models"]
    for missing in ("data/raw/notes does not exist", "no file at imports/theirs"):
        assert f"{missing}; dvc pull fetches it\n" in clone.stage("check").stderr
        clone.dvc("pull", "data/raw/notes.dvc")
    clone.dvc("pull")
    assert clone.repro() == set()
    assert "up to date" in clone.dvc("status")

    clone.set("models.one.seed", 1)
    make = ("make", "--assume-old=.venv/.installed", "ci-report")
    done = clone.call(*make, "BASE=origin/HEAD")
    assert done.returncode == 0, done.stdout + done.stderr
    text = html.unescape((clone.path / "reports" / "comparison.md").read_text())
    page = (clone.path / "reports" / "comparison.html").read_text()
    for said in ("models.one.seed", "origin/HEAD → workspace", "1 parameter changed"):
        assert said in text and said in page
    assert re.search(r"models\.one\.valid.*loss \|.*\| unknown \|", text)
    assert "one: heads" in text and "3: heads" not in text
    assert len(text.encode()) <= 60_000 and "<script" not in page
    assert clone.call("git", "status", "--porcelain", "reports/comparison.md").stdout == ""

    done = clone.call(*make, "BASE=nowhere", "--assume-old=report")
    assert done.returncode == 0, done.stdout + done.stderr
    text = html.unescape((clone.path / "reports" / "comparison.md").read_text())
    assert text.startswith("# No comparison with nowhere") and "unknown Git revision" in text
    assert not (clone.path / "reports" / "comparison.html").exists()


def test_the_workflow_calls_make_with_pinned_actions_and_few_rights():
    text = (ROOT / ".github/workflows/report.yml").read_text()
    workflow = yaml.load(text, yaml.BaseLoader)
    assert workflow["permissions"] == {"contents": "read"}
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    for step in steps:
        if "uses" in step:
            assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", step["uses"])
            assert re.search(rf"{step['uses']} # v\d+\.\d+\.\d+$", text, re.MULTILINE)
    called = [word for step in steps for word in re.findall(r"^make (\S+)", step.get("run", ""))]
    assert set(called) == {"test", "api", "verify", "sbom", "ci-report"} <= targets
    assert called[0] == "verify"  # what a cache restored, before anything uses it
    rights = {name: set(job.get("permissions", {})) for name, job in workflow["jobs"].items()}
    assert rights == {"report": set(), "comment": {"pull-requests"}, "pages": {"pages", "id-token"}}
    comment = "".join(step.get("run", "") for step in workflow["jobs"]["comment"]["steps"])
    assert "select($ours)" in comment and '.user.login == \\"github-actions[bot]\\" and' in comment
    # Names of branches come through the environment alone.
    assert not any("${{" in step.get("run", "") and "ref" in step["run"] for step in steps)
    assert "head.repo.full_name == github.repository" in workflow["jobs"]["comment"]["if"]
