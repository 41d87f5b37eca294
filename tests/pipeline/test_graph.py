"""What the stages of the pipeline depend on, against what they really import."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo

from skiptrace.command import closure
from skiptrace.errors import InputError
from tests.pipeline.conftest import ROOT, tiny_params

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def body(stage: str) -> dict:
    return STAGES[stage].get("do", STAGES[stage])


# Importing third parties once and forking for each stage takes seconds instead of a minute.
FORKS = """
import importlib, json, os, sys
import matplotlib.figure, numba, pandas, pyarrow.parquet, pydantic, safetensors, scipy.stats, tokenizers, torch
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
    """The files of this project that importing each stage loads."""
    done = subprocess.run([sys.executable, "-c", FORKS, *STAGES], cwd=ROOT, text=True, capture_output=True, check=True)
    every = json.loads(done.stdout)
    return {stage: {Path(file).relative_to(ROOT).as_posix() for file in files} for stage, files in every.items()}


def test_every_stage_has_digests_of_its_code_and_depends_on_them():
    assert closure.stages(ROOT) == sorted(STAGES)
    for stage in STAGES:
        code = [dep for dep in body(stage)["deps"] if dep.startswith("data/code/")]
        assert code == ([] if stage == "check" else [f"data/code/{stage}.json"])
        assert body(stage)["desc"] and f"python -m stages.{stage}" in body(stage)["cmd"]


@pytest.mark.parametrize("stage", STAGES)
def test_all_that_a_stage_imports_is_code_of_it(stage, imported):
    missing = imported[stage] - {path.as_posix() for path in closure.closure(ROOT, stage)}
    for name in missing:
        statements = ast.parse((ROOT / name).read_text()).body
        holds_a_docstring_alone = len(statements) == 1 and isinstance(statements[0], ast.Expr)
        assert name == "skiptrace/__init__.py" or (name.endswith("/__init__.py") and holds_a_docstring_alone), name


def test_no_stage_imports_what_reading_its_imports_cannot_find():
    """Neither names that skiptrace/__init__.py resolves when they are asked for, nor names put together as it runs."""
    for name in sorted({path for stage in STAGES for path in closure.closure(ROOT, stage)}):
        for node in ast.walk(ast.parse((ROOT / name).read_text())):
            asked: list[str] = []
            if isinstance(node, ast.ImportFrom) and node.module == "skiptrace":
                asked = [alias.name for alias in node.names]
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "skiptrace":
                asked = [node.attr]
            for part in asked:
                place = ROOT / "skiptrace" / part
                assert place.is_dir() or place.with_suffix(".py").exists(), f"{name}: {part}"
            called = ast.unparse(node.func).rpartition(".")[2] if isinstance(node, ast.Call) else ""
            assert called not in ("import_module", "__import__", "run_module", "run_path"), name


TREE = {
    "stages/run.py": 'from skiptrace import nouns\nfrom skiptrace.lazy import later\nif __name__ == "__main__":\n    0',
    "skiptrace/__init__.py": "resolved = when_asked()",
    "skiptrace/nouns.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import skiptrace.shapes",
    "skiptrace/shapes.py": "",
    "skiptrace/lazy.py": "def later():\n    while 1:\n        from skiptrace.rooms.deep import x",
    "skiptrace/rooms/deep/near.py": "if not TYPE_CHECKING:\n    from ...up import y",
    "skiptrace/up.py": "if TYPE_CHECKING:\n    0\nelse:\n    from . import other",
    "skiptrace/other.py": "",
    "skiptrace/rooms/__init__.py": "prepare = 1",
    "skiptrace/rooms/deep/__init__.py": '"""Docstring alone."""',
    "skiptrace/rooms/deep/x.py": "import numpy, skiptrace.cycle\nfrom .near import z",
    "skiptrace/cycle.py": "import skiptrace.nouns",
    "skiptrace/unused.py": "",
}


@pytest.mark.parametrize("stage", ["corpus", "tokens", "ngrams", "train", "expand", "superposition"])
def test_what_all_studies_read_is_code_of_no_parameters_but_its_own(stage):
    """So that a word changed in the description of a study's key does not train a model again."""
    read = {path.stem for path in closure.closure(ROOT, stage) if path.parent.name == "config"}
    declared = {str(key).partition(".")[0] for key in body(stage).get("params", [])}
    assert read & (set(tiny_params()) - {"models"}) <= declared


def test_the_closure_follows_imports_wherever_they_stand(tmp_path):
    for name, text in TREE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert closure.stages(tmp_path) == ["run"]
    assert [path.as_posix() for path in closure.closure(tmp_path, "run")] == [
        "skiptrace/cycle.py",
        "skiptrace/lazy.py",
        "skiptrace/nouns.py",
        "skiptrace/other.py",
        "skiptrace/rooms/__init__.py",
        "skiptrace/rooms/deep/near.py",
        "skiptrace/rooms/deep/x.py",
        "skiptrace/up.py",
        "stages/run.py",
    ]
    before = closure.written(tmp_path, "run")
    (tmp_path / "skiptrace/shapes.py").write_text("changed")
    assert closure.written(tmp_path, "run") == before
    (tmp_path / "skiptrace/rooms/deep/x.py").write_text("import numpy, skiptrace.cycle  # touched")
    assert closure.written(tmp_path, "run") != before
    (tmp_path / "skiptrace/cycle.py").write_text("def")
    with pytest.raises(InputError, match=r"cycle\.py.*line 1"):
        closure.written(tmp_path, "run")


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
        "memory",
        "seals",
        "files",
        "tables",
        "devices",
        "workers",
        "config",
        "corpora",
        "tokens",
        "models",
        "circuits",
        "costs",
        "budget",
        "composition",
        "expansion",
        "mining",
        "evidence",
        "account",
        "control",
        "directions",
        "superposition",
        "dictionary",
        "features",
        "rules",
        "exploration",
        "catalogue",
        "report",
        "comparison",
        "api",
        "__init__",
        "layout",
        "command",
        "__main__",
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
    # Beside it, folders that a stage's readers depend on and that may have nothing in them.
    assert [name for name in listed.split() if Path(name).name != ".keep"] == ["data/README.md"]
    text = (ROOT / "data" / "README.md").read_text()
    outs = {Path(str(o)).parts[1] for s in STAGES for o in body(s).get("outs", []) if str(o).startswith("data/")}
    for name in outs:
        assert f"`{name}/`" in text or f"`{name}`" in text, name


def test_every_stage_that_mines_skip_trigrams_knows_what_follows_each_token():
    """Without it the default ranking is another rule, and a twin or stand-in no match for the model."""
    mining = {
        path.stem: path.read_text()
        for path in (ROOT / "stages").glob("*.py")
        if "trigrams.of_model(" in path.read_text() or "mine_head" in path.read_text()
    }
    assert mining.keys() == {"mine", "verify"}
    for stage, code in mining.items():
        assert "COUNTS.file(" in code, stage
        assert "data/ngrams/${item.corpus}" in STAGES[stage]["do"]["deps"], stage
