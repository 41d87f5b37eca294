"""Versions of a run read through DVC: any git revision, any experiment, or the workspace; nothing is checked out."""

import hashlib
import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import pandas as pd
from dvc.api import DVCFileSystem
from dvc.exceptions import DvcException, NotDvcRepoError
from dvc.repo import Repo
from dvc_data.index import DataIndexDirError

from skiptrace.command import closure
from skiptrace.comparison.version import Studied, Version
from skiptrace.config.base import bounded_yaml, read_yaml
from skiptrace.config.pipeline import KEYED, NAME, entries
from skiptrace.errors import InputError, one_line
from skiptrace.files import read_json, read_table
from skiptrace.layout import CODE, EVIDENCE, MODELS, PARAMS, REPORTS, TABLES, TOKENS
from skiptrace.models import checkpoint

WORKSPACE = "workspace"
NEVER_RAN = "it has not run yet"
LOCK = Path("dvc.lock")
MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")
TRIPLE = ["layer", "head", "source_id", "destination_id", "out_id"]
RANKED = ["rank", *TRIPLE, "source", "destination", "out"]
HEADS = ["name", "copies", "positional"]
PARSED = (".dvc", "dvc.yaml", "dvc.lock", "params.yaml")  # how names of files end that DVC parses in any folder
PIECE = 2**20  # bytes that are copied at once
MOST = 4 * 10**9  # bytes that are fetched of one revision


class Absent(InputError):
    """A file that a version should have cannot be read here."""


class _Here(Repo):  # type: ignore[misc]  # DVC is untyped
    """A revision of this repository, read with the settings of the workspace.

    Those of the revision, which anyone may have written, could name any cache and any remote.
    """

    def __init__(self, rev: str, settings: Any) -> None:
        self._settings = settings
        super().__init__(".", rev=rev)

    @cached_property
    def config(self) -> Any:
        return self._settings


class Revision:
    """The files of a revision, fetched one by one into a temporary folder; nothing it holds is trusted. Close it.

    Raises:
        InputError: there is no such revision, or it has no pipeline.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self._folder = name, folder.resolve()
        self.params: dict[str, Any] = {}
        self._outs: dict[str, Any] = {}
        try:
            with Repo(".") as here:
                settings = here.config
            self._remote = settings["core"].get("remote")
            self._repo = Repo(".") if name == WORKSPACE else _Here(name, settings)
        except NotDvcRepoError:
            raise InputError(f"{name}: has no pipeline: dvc.yaml is not in it") from None
        except DvcException as error:
            known = "a commit, branch, tag or experiment (git log, dvc exp show), or workspace"
            raise InputError(f"{name}: {one_line(error)}; give {known}") from None
        self._files = DVCFileSystem(self._repo)
        self._left = MOST

    def close(self) -> None:
        """Close the files of git that reading it opened."""
        self._repo.close()

    def check(self) -> None:
        """Check what DVC parses, before it does, and the names that become paths; `params` are there then.

        Raises:
            InputError: a file is missing or not well formed, a name is no name, a hash no hash.
        """
        fs, root = self._repo.fs, self._repo.root_dir
        for file in (Path("dvc.yaml"), PARAMS, LOCK):
            there = fs.join(root, file.name)
            if fs.isfile(there):
                with fs.open(there, "rb") as source:
                    bounded_yaml(self._copy(source, file))
            elif file != LOCK:
                raise InputError(f"{self.name}: has no pipeline: {file} is not in it")
        if self.name != WORKSPACE:
            for file in self._parsed(root):
                with fs.open(fs.join(root, file.as_posix()), "rb") as source:
                    bounded_yaml(self._copy(source, file))
        self.params = read_yaml(self._local(PARAMS))
        for group in KEYED:
            entries(self.params.get(group), group, Path(f"{self.name}: {PARAMS}"))
        try:
            self._outs = {out.def_path: out.hash_info.value for out in self._repo.index.outs}
        except Exception as error:  # what is no pipeline fails anywhere in DVC's parsers
            raise InputError(f"{self.name}: dvc.yaml and {LOCK} are no pipeline ({one_line(error)})") from None
        for path, value in self._outs.items():
            self._check_hash(path, value)

    def fetch(self, path: Path) -> Path:
        """A local copy of a file.

        Raises:
            Absent: the revision never had it, or its content is neither in the cache nor at the remote.
            InputError: the path or the name of its content leads elsewhere.
        """
        local, name = self._local(path), path.as_posix()
        if local.exists():
            return local
        if self.name == WORKSPACE and path.is_file():  # DVC would look into its cache too
            with path.open("rb") as source:
                return self._copy(source, path)
        try:
            found = self._files.info(name)
            if "fs_info" not in found:
                self._check_hash(name, found.get("md5"))
            with self._files.open(name, "rb") as source:
                return self._copy(source, path)
        except (OSError, DvcException, DataIndexDirError):
            local.unlink(missing_ok=True)
            raise Absent(f"{self.name}: {self._why(path)}") from None

    def _parsed(self, root: str) -> Iterator[Path]:
        """The files in folders of the revision that DVC may parse."""
        fs = self._repo.fs
        for folder, _, files in fs.walk(root):
            for file in files:
                if file.endswith(PARSED) and folder != root:
                    yield Path(fs.relpath(fs.join(folder, file), root))

    def _copy(self, source: BinaryIO, path: Path) -> Path:
        """Copy a file, but no more than `MOST` bytes of all files of a revision, whose sizes anyone may have chosen."""
        local = self._local(path)
        local.parent.mkdir(parents=True, exist_ok=True)
        with local.open("wb") as copy:
            while piece := source.read(PIECE):
                copy.write(piece)
                self._left -= len(piece)
                if self._left < 0 and self.name != WORKSPACE:
                    raise InputError(
                        f"{self.name}: {path}: more than {MOST / 1e9:g} GB have to be fetched of this revision; check "
                        "it out and compare the workspace"
                    )
        return local

    def _local(self, path: Path) -> Path:
        local = (self._folder / path).resolve()
        if not local.is_relative_to(self._folder):
            raise InputError(f"{self.name}: {path} leads out of the repository")
        return local

    def _check_hash(self, path: str, value: Any) -> None:
        """Content lies in the cache under its hash, so that what is no hash could name any file of this machine."""
        if value is not None and not (isinstance(value, str) and MD5.fullmatch(value)):
            raise InputError(f"{self.name}: {LOCK}: {path}: {value!a} is no MD5 hash")

    def _why(self, path: Path) -> str:
        """Why a file cannot be read, and the step that makes it readable."""
        out = next((out for out in map(str, [path, *path.parents]) if out in self._outs), None)
        if out is None:
            return f"{path} is not in it; it was made by another pipeline"
        repro = "run dvc repro" if self.name == WORKSPACE else f"check out {self.name} and run dvc repro"
        if self._outs[out] is None:
            return f"{path} has not been made yet; {repro}"
        if self._remote is None:
            return f"{path} is in {LOCK} but not in the cache here, and no remote is set; {repro}"
        where = f"neither in the cache here nor at the remote {self._remote}"
        return f"{path} is in {LOCK} but {where}; run dvc push where it was reproduced, or {repro}"

    def names(self, folder: Path, pattern: str) -> list[Path]:
        """The files of a folder, in order; none if it is not in reach."""
        if self.name == WORKSPACE and folder.is_dir():
            return sorted(folder.glob(pattern))
        try:
            found = self._files.glob((folder / pattern).as_posix())
        except DataIndexDirError:
            found = []
        return [folder / Path(name).name for name in sorted(found)]

    @contextmanager
    def naming(self) -> Iterator[None]:
        """Errors inside name the revision and its file, not our copy."""
        try:
            yield
        except InputError as error:
            raise type(error)(str(error).replace(f"{self._folder}/", f"{self.name}: ")) from None
        except RecursionError:
            raise InputError(f"{self.name}: a file is nested too deeply to be read") from None


def read_version(name: str) -> Version:
    """Read a version: its parameters and metrics, and of its models and figures those that are in reach.

    Raises:
        InputError: there is no such revision, it has no pipeline, or another schema.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(Revision(name, Path(folder))) as revision,
        revision.naming(),
    ):
        revision.check()
        return _read(revision)


def _read(revision: Revision) -> Version:
    metrics = read_json(revision.fetch(REPORTS / "metrics.json"))
    if not isinstance(metrics, dict):
        raise InputError(f"{revision.name}: metrics.json has another layout: no mapping")
    studied, absent = {}, {}
    for model, content in revision.params["models"].items():
        try:
            studied[model] = _read_model(revision, model, content)
        except Absent as error:
            absent[model] = str(error)
    figures: dict[str, bytes] = {}
    if not absent:
        paths = revision.names(REPORTS / "figures", "*.svg")
        figures = {path.name: revision.fetch(path).read_bytes() for path in paths}
    return Version(revision.name, revision.params, metrics, studied, figures, _notes(revision.name, absent))


def _notes(name: str, absent: dict[str, str]) -> list[str]:
    if not absent:
        return []
    first, *others = absent.values()
    more = f" (and {len(others)} models more)" if others else ""
    models = ", ".join(f"`{model}`" for model in absent)
    return [f"Of {models} in {name} only parameters and metrics are compared: {first}{more}."]


def _read_model(revision: Revision, name: str, params: Any) -> Studied:
    corpus = params.get("corpus") if isinstance(params, dict) else None
    if not isinstance(corpus, str) or not NAME.fullmatch(corpus):
        raise InputError(f"{revision.name}: {PARAMS}: models.{name}.corpus: no name; it was made by another pipeline")
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
    """The mined rows; `survives` is missing where a row was not checked."""
    mined = read_table(revision.fetch(TABLES / name / "skip_trigrams.parquet"), RANKED).to_pandas()
    path = EVIDENCE / name / "skip_trigrams.parquet"
    checked = read_table(revision.fetch(path), [*TRIPLE, "survives"]).to_pandas()
    return mined.merge(checked.astype({"survives": object}), on=TRIPLE, how="left")


def changed_stages() -> dict[str, list[str]]:
    """The stages of the workspace that are not as last reproduced, and what makes them so.

    That is the parameters, files and modules that changed, `NEVER_RAN`, or the outputs that are missing.

    Raises:
        InputError: there is no pipeline here.
    """
    found: dict[str, list[str]] = {}
    try:
        with Repo(".") as repo:
            status = {name.rpartition(":")[2]: entries for name, entries in repo.status().items()}
            for stage in repo.index.stages:
                name, code = stage.addressing, CODE / f"{stage.addressing.partition('@')[0]}.json"
                locked = {dep.def_path: dep.hash_info.value for dep in stage.deps}
                causes = [what for entry in status.get(name, []) for what in _causes(entry)]
                if not any(out.hash_info for out in stage.outs):
                    causes = [NEVER_RAN]
                elif locked.get(code.as_posix()):
                    causes = [what for what in causes if what != code.as_posix()]
                    causes += _changed_modules(repo, name.partition("@")[0], locked[code.as_posix()])
                if causes:
                    found[name] = causes
    except DvcException as error:
        raise InputError(f"no pipeline here: {one_line(error)}; run it in the folder of dvc.yaml") from None
    return found


def _changed_modules(repo: Repo, stage: str, locked: str) -> list[str]:
    """The modules of a stage that are not as when it ran; `its code` where DVC's cache has lost what they were."""
    now = closure.written(Path(), stage)
    if hashlib.md5(now.encode(), usedforsecurity=False).hexdigest() == locked:
        return []
    kept = Path(repo.cache.local.oid_to_path(locked))
    before, after = (read_json(kept) if kept.is_file() else {}), json.loads(now)
    differing = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return differing if before else ["its code"]


def _causes(entry: Any) -> Iterator[str]:
    """The names in one of DVC's lines on a stage: `changed command`, or a mapping of changed deps or outs."""
    if not isinstance(entry, dict):
        yield "its command"
        return
    for changed in entry.values():
        for name, state in changed.items():
            yield from state if isinstance(state, dict) else [name if state == "modified" else f"{name} ({state})"]
