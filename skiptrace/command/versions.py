"""Versions of a run: any git revision, any experiment, or the workspace; nothing is checked out."""

import functools
import hashlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
from dvc.exceptions import DvcException
from dvc.repo import Repo

from skiptrace.command import closure
from skiptrace.command.revision import Absent, Revision
from skiptrace.comparison.version import Studied, Twin, Version
from skiptrace.config.pipeline import NAME
from skiptrace.errors import InputError, one_line
from skiptrace.files import read_json
from skiptrace.layout import CODE, EVIDENCE, MODELS, PARAMS, REPORTS, TABLES, TOKENS
from skiptrace.models import checkpoint

NEVER_RAN = "it has not run yet"
TRIPLE = ["layer", "head", "source_id", "destination_id", "out_id"]
RANKED = ["rank", *TRIPLE, "source", "destination", "out"]
HEADS = ["name", "copies", "positional"]
TWINS = 100  # that are looked for, whatever a revision says


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
    heads = revision.table(TABLES / name / "heads.parquet")
    absent = [column for column in HEADS if column not in heads.column_names]
    if absent:
        raise InputError(f"{revision.name}: {TABLES / name}/heads.parquet has another schema: no column {absent[0]}")
    vocabulary = revision.table(TOKENS / corpus / "vocab.parquet", ["token", "probability"]).to_pandas()
    model = checkpoint.load(weights.parent)
    if len(vocabulary) != model.d_vocab:
        raise InputError(
            f"{revision.name}: {MODELS / name} has {model.d_vocab} tokens, {TOKENS / corpus} {len(vocabulary)}; "
            "run dvc repro"
        )
    mined = _read_skip_trigrams(revision, name)
    return Studied(params, model, vocabulary, heads.to_pandas(), mined, list(_read_twins(revision, name, params)))


def _read_twins(revision: Revision, name: str, params: dict[str, Any]) -> Iterator[Twin]:
    """The twins of a model that are in reach, each with its best rows; earlier versions kept none of these."""
    asked = params.get("twins", 0)
    try:
        rows = revision.table(EVIDENCE / name / "twins.parquet", ["twin", *RANKED]).to_pandas()
    except Absent:
        return
    for number in range(min(asked, TWINS) if isinstance(asked, int) else 0):
        try:
            for file in ("config.json", "model.safetensors"):
                weights = revision.fetch(MODELS / name / "twins" / str(number + 1) / file)
        except Absent:
            continue
        yield Twin(checkpoint.load(weights.parent), rows[rows["twin"] == number].assign(survives=None))


def _read_skip_trigrams(revision: Revision, name: str) -> pd.DataFrame:
    """The mined rows; `survives` is missing where a row was not checked."""
    mined = revision.table(TABLES / name / "skip_trigrams.parquet", RANKED).to_pandas()
    path = EVIDENCE / name / "skip_trigrams.parquet"
    checked = revision.table(path, [*TRIPLE, "survives"]).to_pandas()
    return mined.merge(checked.astype({"survives": object}), on=TRIPLE, how="left")


def changed_stages() -> dict[str, list[str]]:
    """The stages of the workspace that are not as last reproduced, and what makes them so.

    That is the parameters, files and modules that changed, `NEVER_RAN`, or the outputs that are missing.

    Raises:
        InputError: there is no pipeline here.
    """
    found: dict[str, list[str]] = {}
    written = functools.cache(functools.partial(closure.written, Path()))  # instances of a stage share their code
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
                    causes += _changed_modules(repo, written(code.stem), locked[code.as_posix()])
                if causes:
                    found[name] = causes
    except DvcException as error:
        raise InputError(f"no pipeline here: {one_line(error)}; run it in the folder of dvc.yaml") from None
    return found


def _changed_modules(repo: Repo, now: str, locked: str) -> list[str]:
    """The modules of a stage that are not as when it ran; `its code` where DVC's cache has lost what they were."""
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
