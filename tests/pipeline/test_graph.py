"""The pipeline's lists of modules against what its stages really import."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo

from tests.pipeline.conftest import ROOT

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def body(stage: str) -> dict:
    return STAGES[stage].get("do", STAGES[stage])


# Importing third parties once and forking for each stage takes seconds instead of a minute.
FORKS = """
import importlib, json, os, sys
import matplotlib.figure, pandas, pyarrow.parquet, scipy.stats, tokenizers, torch
found = {}
for stage in sys.argv[1:]:
    receive, send = os.pipe()
    if os.fork() == 0:
        importlib.import_module(f"stages.{stage}")
        ours = [m for n, m in sys.modules.items() if n.split(".")[0] in ("skiptrace", "stages")]
        files = [getattr(module, "__file__", None) for module in ours]
        with os.fdopen(send, "w") as pipe:
            json.dump([file for file in files if file], pipe)
        os._exit(0)
    os.close(send)
    with os.fdopen(receive) as pipe:
        found[stage] = json.load(pipe)
    os.wait()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def imported() -> dict[str, set[str]]:
    """The files of this project that importing each stage loads, the library's `__init__` files aside."""
    done = subprocess.run([sys.executable, "-c", FORKS, *STAGES], cwd=ROOT, text=True, capture_output=True, check=True)
    every = json.loads(done.stdout)
    names = {stage: {Path(file).relative_to(ROOT).as_posix() for file in files} for stage, files in every.items()}
    return {stage: {name for name in found if counts(name)} for stage, found in names.items()}


def counts(file: str) -> bool:
    """Whether a stage that loads this file has to depend on it: files that hold a docstring alone change nothing."""
    return file == "stages/__init__.py" or not file.endswith("__init__.py")


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_exactly_the_modules_it_imports(stage, imported):
    listed = {dep for dep in body(stage)["deps"] if dep.endswith(".py")}
    assert listed == imported[stage]


def test_package_files_of_the_library_hold_a_docstring_alone():
    """So that no stage has to depend on them."""
    for package in ("skiptrace", "stages/ask"):
        for path in (ROOT / package).rglob("__init__.py"):
            statements = ast.parse(path.read_text()).body
            assert len(statements) == 1 and isinstance(statements[0], ast.Expr), path


def test_no_noun_imports_a_verb():
    for path in (ROOT / "skiptrace").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [a.name for a in node.names] if isinstance(node, ast.Import) else []
            assert not any((name or "").split(".")[0] == "stages" for name in names), path


def test_rooms_import_only_rooms_below_them():
    order = [
        "arithmetic",
        "errors",
        "progress",
        "seals",
        "files",
        "devices",
        "workers",
        "config",
        "corpora",
        "tokens",
        "models",
        "circuits",
        "composition",
        "expansion",
        "neighbours",
        "mining",
        "evidence",
        "superposition",
        "dictionary",
        "report",
        "comparison",
    ]
    for path in (ROOT / "skiptrace").rglob("*.py"):
        room = path.relative_to(ROOT / "skiptrace").parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("skiptrace."):
                below = node.module.split(".")[1]
                assert order.index(below) <= order.index(room), f"{path} imports {node.module}"


@pytest.mark.parametrize("stage", STAGES)
def test_every_output_is_git_ignored_or_small_enough_for_git(stage):
    for out in [*body(stage).get("outs", []), *body(stage).get("metrics", [])]:
        path, options = next(iter(out.items())) if isinstance(out, dict) else (out, {})
        name = path.replace("${key}", "x")
        ignored = subprocess.run(["git", "check-ignore", "-q", name], cwd=ROOT, check=False).returncode == 0
        assert ignored == options.get("cache", True), path


@pytest.mark.parametrize("folder", ["data/raw", "data/raw/a", "imports", "imports/a"])
def test_what_dvc_add_writes_is_kept_and_what_it_is_about_is_not(folder):
    """By git, and by DVC, which finds its files where its own reading of .gitignore lets it look."""
    names = {"x.dvc": False, ".gitignore": False, "x": True, "x.txt": True}
    with Repo(str(ROOT)) as repo:
        for part in (Path(folder), *Path(folder).parents[:-1]):
            assert not repo.scm.is_ignored(f"{part}/"), part
        for name, ignored in names.items():
            path = f"{folder}/{name}"
            by_git = subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT, check=False).returncode == 0
            assert by_git == ignored == repo.scm.is_ignored(path), path


def test_data_is_there_in_a_clone_with_the_page_that_describes_it():
    listed = subprocess.run(["git", "ls-files", "data"], cwd=ROOT, text=True, capture_output=True, check=True).stdout
    assert listed.split() == ["data/README.md"]
    text = (ROOT / "data" / "README.md").read_text()
    outs = {Path(str(o)).parts[1] for s in STAGES for o in body(s).get("outs", []) if str(o).startswith("data/")}
    for name in outs:
        assert f"`{name}/`" in text or f"`{name}`" in text, name
