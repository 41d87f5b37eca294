"""Versions of a run read through DVC: any git revision, any experiment, or the workspace; nothing is checked out."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from dvc.api import DVCFileSystem
from dvc.exceptions import DvcException
from dvc.repo import Repo

from skiptrace.comparison.version import Studied, Version
from skiptrace.config.base import read_yaml
from skiptrace.errors import InputError, one_line
from skiptrace.files import read_json, read_table
from skiptrace.models import checkpoint
from stages.common import EVIDENCE, MODELS, PARAMS, REPORTS, TABLES, TOKENS

WORKSPACE = "workspace"
TRIPLE = ["layer", "head", "source_id", "destination_id", "out_id"]
RANKED = ["rank", *TRIPLE, "source", "destination", "out"]
HEADS = ["name", "copies", "positional"]


class Revision:
    """The files of a revision, fetched one by one into a temporary folder.

    Raises:
        InputError: there is no such revision, or it has no pipeline.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self._folder = name, folder
        try:
            self._files = DVCFileSystem(".", rev=None if name == WORKSPACE else name)
            if name != WORKSPACE:
                # Opening is lazy, and what asks whether a file is there takes an unknown revision for an empty one.
                self._files.repo.get_rev()
            if not self._files.isfile("dvc.yaml"):
                raise InputError(f"{name}: has no pipeline: dvc.yaml is not in it")
        except DvcException as error:
            known = "a commit, branch, tag or experiment (git log, dvc exp show), or workspace"
            raise InputError(f"{name}: {one_line(error)}; give {known}") from None

    def fetch(self, path: Path) -> Path:
        """A local copy of a file.

        Raises:
            InputError: the revision never had it, or its content is in no cache here.
        """
        local = self._folder / path
        if local.exists():
            return local
        name = path.as_posix()
        local.parent.mkdir(parents=True, exist_ok=True)
        try:
            if not self._files.exists(name):
                raise InputError(f"{self.name}: {name} is not in it; it was made by another pipeline, or not yet")
            with self._files.open(name, "rb") as source, local.open("wb") as copy:
                shutil.copyfileobj(source, copy)
        except (OSError, DvcException):
            local.unlink(missing_ok=True)
            way = "run dvc repro" if self.name == WORKSPACE else f"run dvc fetch, or dvc repro on {self.name}"
            raise InputError(f"{self.name}: the content of {name} is not in the cache here; {way}") from None
        return local

    def names(self, folder: Path, pattern: str) -> list[Path]:
        """The files of a folder, in order; none if it is not there."""
        found = self._files.glob((folder / pattern).as_posix())
        return [folder / Path(name).name for name in sorted(found)]

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Errors inside name the revision and its file, not our copy."""
        try:
            yield
        except InputError as error:
            raise InputError(str(error).replace(f"{self._folder}/", f"{self.name}: ")) from None


def read_version(name: str) -> Version:
    """Read a version whole.

    Raises:
        InputError: there is no such revision, or it has no pipeline, no cached outputs, or another schema.
    """
    with tempfile.TemporaryDirectory() as folder:
        revision = Revision(name, Path(folder))
        with revision.telling():
            params = read_yaml(revision.fetch(PARAMS))
            metrics = read_json(revision.fetch(REPORTS / "metrics.json"))
            models = params.get("models")
            if not isinstance(metrics, dict) or not isinstance(models, dict):
                raise InputError(f"{name}: {PARAMS} or metrics.json has another layout: models is no mapping")
            studied = {str(model): _read_model(revision, str(model), content) for model, content in models.items()}
            figures = revision.names(REPORTS / "figures", "*.svg")
            return Version(
                name, params, metrics, studied, {path.name: revision.fetch(path).read_bytes() for path in figures}
            )


def _read_model(revision: Revision, name: str, params: Any) -> Studied:
    corpus = params.get("corpus") if isinstance(params, dict) else None
    if not isinstance(corpus, str):
        raise InputError(f"{revision.name}: {PARAMS}: models.{name}.corpus: missing; it was made by another pipeline")
    for file in ("config.json", "model.safetensors"):
        weights = revision.fetch(MODELS / name / file)
    heads = read_table(revision.fetch(TABLES / name / "heads.parquet"))
    absent = [column for column in HEADS if column not in heads.column_names]
    if absent:
        raise InputError(f"{revision.name}: {TABLES / name}/heads.parquet has another schema: no column {absent[0]}")
    vocabulary = read_table(revision.fetch(TOKENS / corpus / "vocab.parquet"), ["token", "probability"]).to_pandas()
    model = checkpoint.load(weights.parent)
    if len(vocabulary) != model.d_vocab:
        raise InputError(
            f"{revision.name}: {MODELS / name} has {model.d_vocab} tokens, {TOKENS / corpus} {len(vocabulary)}; "
            "run dvc repro"
        )
    return Studied(params, model, vocabulary, heads.to_pandas(), _read_skip_trigrams(revision, name))


def _read_skip_trigrams(revision: Revision, name: str) -> pd.DataFrame:
    """The mined rows; `verified` is missing where a row was not checked."""
    mined = read_table(revision.fetch(TABLES / name / "skip_trigrams.parquet"), RANKED).to_pandas()
    path = EVIDENCE / name / "skip_trigrams.parquet"
    checked = read_table(revision.fetch(path), [*TRIPLE, "verified"]).to_pandas()
    return mined.merge(checked.astype({"verified": object}), on=TRIPLE, how="left")


def changed_stages() -> dict[str, list[str]]:
    """The stages of the workspace that are not as last reproduced, and the parameters and files that make them so.

    Raises:
        InputError: there is no pipeline here.
    """
    try:
        with Repo(".") as repo:
            status = repo.status()
    except DvcException as error:
        raise InputError(f"no pipeline here: {one_line(error)}; run it in the folder of dvc.yaml") from None
    return {
        name.rpartition(":")[2]: [what for entry in told for what in _causes(entry)] for name, told in status.items()
    }


def _causes(entry: Any) -> Iterator[str]:
    """The names in one of DVC's lines on a stage: `changed command`, or a mapping of changed deps or outs."""
    if not isinstance(entry, dict):
        yield "its command"
        return
    for changed in entry.values():
        for name, state in changed.items():
            yield from state if isinstance(state, dict) else [name if state == "modified" else f"{name} ({state})"]
