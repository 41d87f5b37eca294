"""`skiptrace doctor`: whether this machine and folder are fit, and what `dvc repro` would do.

Reads   requirements.lock, params.yaml, dvc.yaml, dvc.lock
        data/scratch/times/   how long each stage took the last time it ran here
"""

import hashlib
import os
import platform
import re
import shutil
from collections.abc import Callable, Iterator
from enum import StrEnum
from functools import partial
from importlib import metadata
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import torch
import typer
from dvc.exceptions import DvcException
from dvc.repo import Repo

from skiptrace import arithmetic
from skiptrace.command.damage import remove, verify_outputs
from skiptrace.command.output import Form, console, print_csv, print_json, table
from skiptrace.command.repair import broken, is_sound
from skiptrace.command.repair import repair as restore
from skiptrace.command.versions import NEVER_RAN, changed_stages
from skiptrace.config.base import read_yaml
from skiptrace.config.pipeline import load_pipeline
from skiptrace.errors import InputError, one_line
from skiptrace.files import read_json
from skiptrace.layout import ARITHMETIC, DVC_LOCK, LOCK, OTHER_LOCKS, PARAMS, TIMES

GIGABYTE = 1e9
NO_LOCK = "no complete dvc.lock says"
SAME_OUTPUT = {"check"}  # writes the same whatever it reads, so that nothing runs because of it
COLUMNS = ("kind", "name", "state", "found", "seconds")


class State(StrEnum):
    """How a check came out."""

    fine = "fine"
    note = "note"
    wrong = "wrong"


class Check(NamedTuple):
    """What was looked at, how it is, and what was found there."""

    name: str
    state: State
    found: str


class Due(NamedTuple):
    """A stage that `dvc repro` would look at again, why, and the seconds it took last here (None: not known)."""

    stage: str
    why: str
    seconds: float | None


def answer(verify: bool, repair: bool, printed: Form) -> None:
    """Print the checks and the stages that are due; exit with code 1 if a check is wrong."""
    checks = [_checked("dvc.lock", partial(_lock, repair))]
    checks += [_checked(*look) for look in LOOKS]
    if verify:
        checks.append(_checked("outputs", partial(_outputs, repair)))
    due: list[Due] = []
    try:
        due = stages_due()
        checks.append(Check("pipeline", State.fine, f"{len(due)} stages to look at again" if due else "up to date"))
    except InputError as error:
        checks.append(Check("pipeline", State.wrong, str(error)))
    if printed is Form.JSON:
        print_json({"checks": [c._asdict() for c in checks], "stages": [d._asdict() for d in due]})
    elif printed is Form.CSV:
        rows: list[dict[str, Any]] = [{"kind": "check"} | c._asdict() for c in checks]
        rows += [{"kind": "stage", "name": d.stage, "found": d.why, "seconds": d.seconds} for d in due]
        print_csv(rows, COLUMNS)
    else:
        _print(checks, due)
    if any(check.state is State.wrong for check in checks):
        raise typer.Exit(1)


def stages_due() -> list[Due]:
    """The stages that changed, and all that depend on them, in the order of the pipeline.

    Raises:
        InputError: there is no pipeline here, or it cannot be read.
    """
    changed = changed_stages()
    found = []
    due: dict[str, str] = {}
    for name, needed in pipeline_graph().items():
        before = sorted((due.keys() - SAME_OUTPUT) & needed)
        if name in changed:
            due[name] = f"new: {NEVER_RAN}" if changed[name] == [NEVER_RAN] else f"changed: {_few(changed[name])}"
        elif before:
            due[name] = f"after {_few(before)}"
    for name, why in due.items():
        path = TIMES / f"{name}.json"
        found.append(Due(name, why, float(read_json(path)["seconds"]) if path.exists() else None))
    return found


def pipeline_graph() -> dict[str, set[str]]:
    """The stages that each stage depends on, every stage after those."""
    with Repo(".") as repo:
        # DVC's edges run from a stage to what it depends on.
        graph = {stage.addressing: {s.addressing for s in repo.index.graph.successors(stage)}
                 for stage in repo.index.graph}  # fmt: skip
    return {name: graph[name] for name in _in_order(graph)}


def _few(names: list[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def _in_order(graph: dict[str, set[str]]) -> Iterator[str]:
    """Every stage after those it depends on."""
    done: set[str] = set()
    while len(done) < len(graph):
        for name in sorted(graph.keys() - done):
            if graph[name] <= done:
                done.add(name)
                yield name


def _checked(name: str, look: Callable[[], tuple[State, str]]) -> Check:
    try:
        return Check(name, *look())
    except InputError as error:
        return Check(name, State.wrong, str(error))


def _python() -> tuple[State, str]:
    major, minor = (int(part) for part in platform.python_version_tuple()[:2])
    state = State.fine if (major, minor) >= (3, 11) else State.wrong
    return state, f"{platform.python_version()}, {platform.platform()}"


def _packages() -> tuple[State, str]:
    """What is installed against what is locked: another version may give other bytes."""
    if not LOCK.exists():
        raise InputError(f"{LOCK}: not here; run this in the folder of the pipeline")
    pins = "\n".join(path.read_text() for path in (LOCK, *OTHER_LOCKS) if path.exists())
    locked = dict(re.findall(r"^([A-Za-z0-9._-]+)==([^\s;+]+)", pins, re.MULTILINE))
    others = []
    for name, version in locked.items():
        try:
            installed = metadata.version(name).split("+")[0]
        except metadata.PackageNotFoundError:
            installed = "none"
        if installed != version:
            others.append(f"{name} {installed} (locked: {version})")
    if others:
        return State.note, f"{len(others)} of {len(locked)} differ: {', '.join(others[:4])}; make setup installs them"
    return State.fine, f"all {len(locked)} as locked, torch {metadata.version('torch')}, dvc {metadata.version('dvc')}"


def _tools() -> tuple[State, str]:
    missing = [tool for tool in ("git", "make") if shutil.which(tool) is None]
    return (State.wrong, f"not found: {', '.join(missing)}") if missing else (State.fine, "git and make")


def _processors() -> tuple[State, str]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIGABYTE
    return State.fine, f"{os.cpu_count()} processors, {torch.get_num_threads()} threads, {memory:.0f} GB of memory"


def _arithmetic() -> tuple[State, str]:
    """Whether floats round here as they did where dvc.lock was written."""
    here = arithmetic.signature()
    found = f"{arithmetic.processor()}, {here.split()[0]} kernels"
    locked = {out["path"]: out["md5"] for out in _locked_outs()}.get(ARITHMETIC.as_posix())
    if locked is None:
        return State.fine, f"{found}; {NO_LOCK} which it was written with"
    if locked == hashlib.md5(here.encode(), usedforsecurity=False).hexdigest():
        return State.fine, f"{found}: as where dvc.lock was written"
    return State.note, (
        f"{found}: dvc.lock was written on another kind of processor, so trained weights and all that follows get "
        "other bytes here (docs/reproducibility.md says by how much)"
    )


def _device() -> tuple[State, str]:
    if torch.cuda.is_available():
        return State.fine, f"{torch.cuda.get_device_name()}; the pipeline runs on the CPU"
    return State.fine, "CPU, which the pipeline is made for"


def _lock(repair: bool) -> tuple[State, str]:
    if done := (restore() if repair else []):
        return State.note, "; ".join(done)
    if found := broken():
        return State.wrong, f"{'; '.join(found)}; `skiptrace doctor --repair` restores it"
    return State.fine, "complete" if DVC_LOCK.exists() else "none yet"


def _outputs(repair: bool) -> tuple[State, str]:
    files, damaged = verify_outputs()
    if not damaged:
        return State.fine, f"{files} files are what dvc.lock says, here and in DVC's cache"
    found = f"{len(damaged)} of {files} files are damaged: {_few([str(path) for path in damaged])}"
    if not repair:
        return State.wrong, f"{found}; `skiptrace doctor --verify --repair` removes them, then `dvc repro` makes them"
    remove(damaged)
    return State.note, f"{found}; removed, `dvc repro` makes them again"


def _disk() -> tuple[State, str]:
    free = shutil.disk_usage(".").free
    outs = _locked_outs()
    size = sum(out.get("size", 0) for out in outs)
    takes = f"the outputs of one version take {size / GIGABYTE:.2f} GB" if outs else f"{NO_LOCK} what outputs take"
    return State.fine if free > 2 * size else State.note, f"{free / GIGABYTE:.1f} GB free; {takes}"


def _locked_outs() -> list[dict[str, Any]]:
    """What dvc.lock says of every output; nothing where it is missing or broken, which the first check says."""
    if not (DVC_LOCK.exists() and is_sound(DVC_LOCK.read_bytes())):
        return []
    return [out for stage in read_yaml(DVC_LOCK)["stages"].values() for out in stage.get("outs", [])]


def _params() -> tuple[State, str]:
    pipeline = load_pipeline(PARAMS)
    return State.fine, f"{len(pipeline.corpora)} corpora, {len(pipeline.models)} models: {', '.join(pipeline.models)}"


def _remote() -> tuple[State, str]:
    try:
        with Repo(".") as repo:
            remotes = {name: content.get("url", "") for name, content in repo.config["remote"].items()}
    except DvcException as error:
        raise InputError(f"no pipeline here: {one_line(error)}") from None
    if not remotes:
        return State.note, "none: what is reproduced stays on this machine (dvc remote add)"
    return State.fine, ", ".join(f"{name}: {_without_secrets(url)}" for name, url in remotes.items())


def _without_secrets(url: str) -> str:
    """An address without its user, password and query, which may hold a token."""
    parts = urlsplit(url)
    if not parts.netloc:
        return url
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "…" if parts.query else "", ""))


LOOKS: tuple[tuple[str, Callable[[], tuple[State, str]]], ...] = (
    ("python", _python),
    ("packages", _packages),
    ("tools", _tools),
    ("processors", _processors),
    ("arithmetic", _arithmetic),
    ("device", _device),
    ("disk", _disk),
    ("parameters", _params),
    ("remote cache", _remote),
)
STYLES = {State.fine: "green", State.note: "yellow", State.wrong: "bold red"}


def _print(checks: list[Check], due: list[Due]) -> None:
    out = console()
    made = table("This machine and folder", "check", "", "found")
    for check in checks:
        made.add_row(check.name, f"[{STYLES[check.state]}]{check.state}[/]", check.found)
    out.print(made)
    if not due:
        return
    made = table("What dvc repro would look at again", "stage", "why", "last time, s", right=["last time, s"])
    for stage, why, seconds in due:
        made.add_row(stage, why, "–" if seconds is None else f"{seconds:.1f}")
    out.print(made)
    known = [d.seconds for d in due if d.seconds is not None]
    time = f"together {sum(known):.0f} s" if known else "not known"
    typer.echo(
        f"Last time on this machine, {len(known)} of these {len(due)} stages: {time}. What is in DVC's cache is "
        "restored instead,\nand what comes after a stage whose outputs turn out the same is skipped."
    )
