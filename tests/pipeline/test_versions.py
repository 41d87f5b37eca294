"""Comparing revisions, a remote cache, and what CI runs: real git, DVC and make."""

import json
import re
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

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
    project.set("report.corner", 5)
    told = ask(project, "compare", "HEAD", "--json")
    assert told.code == 0, told.error
    assert "note: the workspace is not reproduced" in told.error
    found = json.loads(told.out)
    assert found["parameters"] == [{"key": "report.corner", "a": 20, "b": 5}]
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

    shutil.rmtree(project.path / ".dvc/cache/files")
    told = ask(project, "compare", "HEAD", "HEAD")
    assert_one_line(told, "HEAD: the content of data/models/zero/config.json is not in the cache here; run dvc fetch")


def test_a_folder_as_remote_and_then_what_ci_runs(project, tmp_path):
    """Push; a fresh clone pulls and has nothing to do; a change is compared with where it came from."""
    for command in (("remote", "add", "--default", "storage", str(tmp_path / "remote")), ("push",)):
        project.dvc(*command)
    shutil.copy(ROOT / "Makefile", project.path)
    commit(project)
    project.call("git", "clone", "--quiet", str(project.path), str(tmp_path / "clone"))
    clone = Project(tmp_path / "clone", project.python)
    # A user's own text is in no cache.
    shutil.copytree(project.path / "data" / "raw", clone.path / "data" / "raw")
    clone.dvc("pull")
    assert clone.repro() == set()

    clone.set("models.one.seed", 1)
    make = ("make", "--assume-old=.venv/.installed", "ci-report")
    done = clone.call(*make, "BASE=origin/HEAD")
    assert done.returncode == 0, done.stdout + done.stderr
    text = (clone.path / "reports" / "comparison.md").read_text()
    page = (clone.path / "reports" / "comparison.html").read_text()
    for said in ("models.one.seed", "origin/HEAD → workspace", "1 parameter changed"):
        assert said in text.replace("&#95;", "_") and said in page
    assert re.search(r"models\.one\.valid.*loss \|.*\| unknown \|", text)
    assert "one&#58; heads" in text and "two&#58; heads" not in text
    assert len(text.encode()) <= 60_000 and "<script" not in page
    assert clone.call("git", "status", "--porcelain", "reports/comparison.md").stdout == ""

    done = clone.call(*make, "BASE=nowhere", "--assume-old=report")
    assert done.returncode == 0, done.stdout + done.stderr
    text = (clone.path / "reports" / "comparison.md").read_text()
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
    called = {word for step in steps for word in re.findall(r"^make (\S+)", step.get("run", ""))}
    assert called == {"test", "ci-report"} <= targets
    rights = {name: set(job.get("permissions", {})) for name, job in workflow["jobs"].items()}
    assert rights == {"report": set(), "comment": {"pull-requests"}, "pages": {"pages", "id-token"}}
    assert "head.repo.full_name == github.repository" in workflow["jobs"]["comment"]["if"]
