"""A real DVC project on a tiny configuration, reproduced once and copied for each test."""

import contextlib
import copy
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from filelock import FileLock

from skiptrace.config.superposition import DEFAULTS
from tests.pipeline import forks

ROOT = Path(__file__).parents[2]
CARRIED = (
    "dvc.yaml",
    "requirements.lock",
    "requirements-torch-cpu.lock",
    ".dvcignore",
    ".gitignore",
    "imports",
    "skiptrace",
    "stages",
)

MODEL = {
    "corpus": "code", "seed": 0, "n_layers": 1, "n_heads": 2, "d_head": 3, "d_model": 8, "n_ctx": 16,
    "steps": 12, "batch_size": 2, "warmup_steps": 2, "lr_embedding": 0.02, "lr_attention": 0.05, "weight_decay": 0.0,
}  # fmt: skip
ZERO = {key: value for key, value in MODEL.items() if key not in ("n_heads", "d_head")} | {"n_layers": 0}


def default_params() -> dict[str, dict]:
    """The default parameters, those that params.yaml leaves to the classes included."""
    params = yaml.safe_load((ROOT / "docs/measured/params.yaml").read_text())
    return {"control": {}} | params | {"superposition": copy.deepcopy(DEFAULTS)}


def tiny_params() -> dict[str, dict]:
    """The default parameters with three small corpora and three small models."""
    params = default_params()
    tiny_planted = params["corpora"]["planted"] | {"words": 220, "documents": 60, "length": 40, "valid_share": 0.3}
    params["corpora"] = {
        "code": {
            "kind": "packages", "path": "requirements.lock", "packages": ["networkx==3.6.1"],
            "include": ["networkx/*.py"], "valid_share": 0.2,
        },
        "notes": {"kind": "files", "path": "data/raw/notes", "include": ["*.txt"], "valid_share": 0.3},
    }  # fmt: skip
    params["corpora"]["planted"] = tiny_planted
    params["tokenizers"] = {"code": {"vocab_size": 300}, "notes": {"vocab_size": 270}, "planted": {"kind": "words"}}
    params["models"] = {
        "zero": ZERO,
        "one": MODEL | {"corpus": "planted"},
        "two": MODEL | {"corpus": "notes", "n_layers": 2, "checkpoints": 3},
    }
    params["scoring"] |= {"null_draws": 5, "sequences": 4, "repeated_tokens": 4, "repeats": 3}
    params["verification"] |= {"rows": 20, "contexts": 4, "null_rows": 10}
    params["composition"] |= {"min_count": 2}
    params["account"] |= {"contexts": 3, "selection": 2, "entries": [3, 10], "rows": 4, "shown_rows": 5}
    params["account"] |= {"edges": 8, "edge_places": 8}
    params["directions"] |= {
        "null_draws": 3,
        "shown": 2,
        "tokens": 3,
        "removed": 1,
        "contexts": 2,
        "random_directions": 2,
        "min_count": 2,
    }
    params["features"] |= {
        "models": {"two": "notes"}, "entries": 6, "k": 2, "steps": 5, "batch_size": 8, "resample_every": 2,
        "windows": 4, "selection": 2, "rows": 10, "checked": 5, "places": 4, "tokens": 3,
    }  # fmt: skip
    params["rules"] |= {"models": {"two": "notes"}, "contexts": 3, "window": 4, "min_count": 2}
    params["expansion"] |= {"chunk_rows": 128, "row_group_rows": 50, "virtual_heads": 3}
    params["mining"] |= {
        "bigrams": 20,
        "sources": 5,
        "min_count": 3,
        "min_pairs": 2,
        "frequent_tokens": 20,
        "largest": 10,
    }
    params["superposition"] = tiny_superposition(params["superposition"])
    params["control"] = {
        "grammars": 1, "words": 24, "documents": 24, "length": 24, "reach": 6, "skip_trigrams": 3, "two_sources": 1,
        "negative": 1, "companions": 1, "topics": 1, "n_heads": 2, "d_head": 4, "d_model": 8, "n_ctx": 8, "steps": 3,
        "batch_size": 4, "rows": 20, "contexts": 2,
    }  # fmt: skip
    tiny = {"steps": 5, "batch_size": 8, "resample_every": 2}
    params["dictionaries"]["toy"] |= tiny | {"entries": 6, "sizes": [3]}
    params["dictionaries"]["toy"]["hybrid"] = {
        "penalties": [0.0, 0.1], "steps": 3, "batch_size": 8, "dictionary_steps": [2],
    }  # fmt: skip
    params["dictionaries"]["one"] |= tiny | {
        "data": "data/tokens/planted", "entries": 6, "k": [2, 4], "batch_k": [2], "shown": 2, "windows": 4,
        "check_windows": 4, "contexts": 2, "outs": 3,
    }  # fmt: skip
    return params


def tiny_superposition(params: dict) -> dict:
    """Every experiment at a size and a number of steps that take no time."""
    tiny: dict[str, object] = {"seeds": 2, "steps": 4, "batch_size": 16, "n_features": 6}
    small: dict[str, object] = {
        "cells": 3, "densities": 4, "largest": 12, "draws": 50, "points": 10, "projected_from": 20, "n": 8, "trials": 2,
        "toy_trials": 2, "inputs": 20, "null_draws": 10, "sparsities": [0.2, 0.8], "dimensions": [2, 3],
        "epsilons": [0.3, 0.5], "projections": [4, 8], "measurements": [3, 6], "active": [1, 2], "widths": [2, 6],
    }  # fmt: skip
    hidden = {"n_hidden": 2}

    def shrink(group: dict) -> dict:
        changed = {k: v for k, v in (tiny | small | hidden).items() if k in group}
        return {k: shrink(v) if isinstance(v, dict) else changed.get(k, v) for k, v in group.items()}

    found = shrink(params)
    found["widths"]["n_hidden"] = 6
    found["vectors"]["steps"] = 20
    del found["sensing"]["seed"]  # left to its default
    return found


class Plain(yaml.CSafeDumper):
    """Writes a list that stands in two places twice: for aliases a file is read once more."""

    def ignore_aliases(self, data: object) -> bool:
        return True


@dataclass(frozen=True)
class Project:
    """A folder with a pipeline in it."""

    path: Path
    python: Path = Path(sys.executable).parent  # the folder of the `python` that its pipeline runs with

    def call(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the project with the packages of this test run; `dvc` is a module of its `python`."""
        command = ("python", "-m", *command) if command[0] == "dvc" else command
        return subprocess.run(
            command, cwd=self.path, text=True, capture_output=True, check=False, env=self.environment(**environment)
        )

    def environment(self, **more: str) -> dict[str, str]:
        """The variables that a command runs with: its own `python` and this interpreter's tools come first."""
        path = os.pathsep.join([str(self.python), str(Path(sys.executable).parent), os.environ["PATH"]])
        git = {
            "GIT_AUTHOR_NAME": "a",
            "GIT_AUTHOR_EMAIL": "a@b",
            "GIT_COMMITTER_NAME": "a",
            "GIT_COMMITTER_EMAIL": "a@b",
        }
        return (
            os.environ
            | git
            | {"PATH": path, "DVC_NO_ANALYTICS": "1", "OMP_NUM_THREADS": "1", "SKIPTRACE_WORKERS": "1"}
            | more
        )

    def dvc(self, *arguments: str) -> str:
        """Run dvc, which must succeed; return what it printed."""
        done = self.call("dvc", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def stage(self, name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run one stage without DVC."""
        return self.call("python", "-m", f"stages.{name}", *arguments, **environment)

    def repair(self) -> subprocess.CompletedProcess[str]:
        """Restore what an interrupted DVC left."""
        return self.call("python", "-m", "skiptrace.command.repair")

    def repro(self, *targets: str) -> set[str]:
        """Reproduce all, or targets and what is before them; return the stages whose commands were run.

        Those restored from the cache are not among them.
        """
        return set(re.findall(r"Running stage '([^']+)'", self.dvc("repro", *targets)))

    def params(self) -> dict[str, dict]:
        """The parameters as they stand."""
        return yaml.safe_load((self.path / "params.yaml").read_text())

    def set(self, key: str, value: object) -> None:
        """Set one dotted key of params.yaml."""
        params = self.params()
        *folders, last = key.split(".")
        place = params
        for folder in folders:
            place = place[folder]
        place[last] = value
        self.write_params(params)

    def write_params(self, params: dict[str, dict]) -> None:
        (self.path / "params.yaml").write_text(yaml.dump(params, Dumper=Plain, sort_keys=False))


def create(path: Path, python: Path = Project.python) -> Project:
    """Lay out a project that has never been reproduced."""
    path.mkdir(parents=True)
    project = Project(path, python)
    for name in CARRIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, path / name)  # compiled loops included, which take seconds to compile
        else:
            shutil.copy(source, path / name)
    project.write_params(tiny_params())
    notes = path / "data" / "raw" / "notes"
    notes.mkdir(parents=True)
    for i in range(20):
        words = " ".join(f"the {w} of {w[::-1]} is {w}" for w in ("moon", "river", "stone")[: 1 + i % 3])
        (notes / f"{i}.txt").write_text(f"Note {i}: {words}. " * 12)
    project.call("git", "init", "--quiet")
    project.dvc("init", "--quiet")
    shutil.copy(ROOT / ".dvc" / "config", path / ".dvc" / "config")
    return project


# The one of this test process: to pytest, `python` is another fixture in every room whose conftest.py imports it.
QUICK: list[Path] = []


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a `python` whose stages start at once."""
    if QUICK:
        yield QUICK[0]
        return
    with forks.quick(tmp_path_factory.mktemp("python")) as folder:
        QUICK.append(folder)
        yield folder
        QUICK.clear()


@pytest.fixture(scope="session")
def reproduced(tmp_path_factory: pytest.TempPathFactory, python: Path) -> Project:
    """A project after it was first reproduced, in two lanes, and committed; not to be changed.

    Test processes share it. What the run said lies beside it (`first_run`).
    """
    base = tmp_path_factory.getbasetemp()
    # Without test processes of pytest-xdist the folder above is that of other test runs.
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "reproduced"
    with FileLock(folder.with_suffix(".lock")):
        if not folder.exists():
            project = create(folder.with_suffix(".partial"), python)
            done = project.call("python", "-m", "skiptrace.command.reproduce", JOBS="2")
            assert done.returncode == 0, done.stdout + done.stderr
            folder.with_suffix(".said").write_text(done.stdout)
            project.call("git", "add", "--all")
            project.call("git", "commit", "--quiet", "--message", "reproduced")
            project.path.rename(folder)
    return Project(folder, python)


@pytest.fixture(scope="session")
def first_run(reproduced: Project) -> str:
    """What the run of `reproduced` printed."""
    return reproduced.path.with_suffix(".said").read_text()


@pytest.fixture
def project(reproduced: Project, tmp_path: Path) -> Project:
    """A copy of the reproduced project, free to be changed."""
    path = tmp_path / "project"
    shutil.copytree(reproduced.path, path, symlinks=True)
    return Project(path, reproduced.python)


@pytest.fixture(scope="module")
def shared(reproduced: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of the reproduced project that the tests of a module share: each leaves it as it was."""
    path = tmp_path_factory.mktemp("shared") / "project"
    shutil.copytree(reproduced.path, path, symlinks=True)
    return Project(path, reproduced.python)


@contextlib.contextmanager
def restored(path: Path) -> Iterator[None]:
    """Give a file its content again afterwards, under a name of its own: another may be linked to DVC's cache."""
    content = path.read_bytes()
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        path.write_bytes(content)


class Told(NamedTuple):
    """What a question was answered with."""

    code: int
    out: str
    error: str


@pytest.fixture
def ask(monkeypatch, capsys):
    """Ask a project a question, as the console script does."""
    from skiptrace.command.cli import main  # imports torch, which most tests here leave to other processes

    def asked(project, *arguments: str) -> Told:
        monkeypatch.chdir(project.path)
        monkeypatch.setattr(sys, "argv", ["skiptrace", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        # A message instead of a number is printed by the interpreter, which then exits with 1.
        failed = isinstance(ended.value.code, str)
        return Told(1 if failed else ended.value.code or 0, told.out, f"{ended.value.code}\n" if failed else told.err)

    return asked


def assert_one_line(told: Told, message: str) -> None:
    assert told.code == 1 and told.out == ""
    assert told.error.startswith("error: ") and told.error.count("\n") == 1
    assert message in told.error
