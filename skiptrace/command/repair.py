"""Restore what an interrupted DVC leaves unusable, so that the next `dvc repro` runs.

DVC empties dvc.lock and .dvc/tmp/rwlock before it writes them; a signal in between leaves half of a file, with which
every later command of DVC fails.

Reads   dvc.lock, .dvc/tmp/rwlock
        data/scratch/sound.lock   the last sound dvc.lock that a stage saw
Writes  dvc.lock   that copy, or the one of git's HEAD; removed if there is neither: DVC's run cache fills it again
        .dvc/tmp/rwlock   removed: it names the processes that run, and none does
"""

import contextlib
import fcntl
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from skiptrace.errors import InputError
from skiptrace.errors import run as run_errors
from skiptrace.files import atomic
from skiptrace.layout import DVC_LOCK, SOUND_LOCK

DVC_TEMPORARY = Path(".dvc/tmp")
RWLOCK = DVC_TEMPORARY / "rwlock"


def broken() -> list[str]:
    """What is unusable, one clause each; empty where DVC can work."""
    found = []
    if DVC_LOCK.exists() and not is_sound(DVC_LOCK.read_bytes()):
        found.append(f"{DVC_LOCK} is {_how(DVC_LOCK)}")
    if RWLOCK.exists() and not _is_json(RWLOCK):
        found.append(f"{RWLOCK} is {_how(RWLOCK)}")
    return found


def repair() -> list[str]:
    """Restore what is unusable; return what was done, one sentence each.

    Raises:
        InputError: a running DVC holds its lock, so that what looks broken may be half written.
    """
    if not broken():
        return []
    with nobody_writes(0.0) as alone:
        if not alone:
            raise InputError(f"{' and '.join(broken())}, but another dvc runs here; wait for it to end")
        return [f"{what}: {_restore_lock() if what.startswith(str(DVC_LOCK)) else _remove()}" for what in broken()]


def _restore_lock() -> str:
    for source, content in _copies():
        if is_sound(content):
            with atomic(DVC_LOCK) as temporary:
                temporary.write_bytes(content)
            return f"restored from {source}"
    DVC_LOCK.unlink()
    return "removed, DVC's run cache fills it again"


def _copies() -> Iterator[tuple[str, bytes]]:
    if SOUND_LOCK.exists():
        yield str(SOUND_LOCK), SOUND_LOCK.read_bytes()
    with contextlib.suppress(FileNotFoundError):
        committed = subprocess.run(["git", "show", f"HEAD:./{DVC_LOCK}"], capture_output=True, check=False)
        if committed.returncode == 0:
            yield "git's HEAD", committed.stdout


def _remove() -> str:
    RWLOCK.unlink()
    return "removed"


def keep_lock() -> None:
    """Copy dvc.lock to `SOUND_LOCK` if it is sound and has changed."""
    content = DVC_LOCK.read_bytes() if DVC_LOCK.exists() else b""
    kept = SOUND_LOCK.read_bytes() if SOUND_LOCK.exists() else b""
    if content != kept and is_sound(content):
        with atomic(SOUND_LOCK) as temporary:
            temporary.write_bytes(content)


def is_sound(lock: bytes) -> bool:
    """Whether these are the bytes of a dvc.lock that DVC can read, not of one that was cut short."""
    try:
        content = YAML(typ="safe").load(lock)
    except (YAMLError, ValueError):
        return False
    stages = content.get("stages", {}) if isinstance(content, dict) and content.get("schema") == "2.0" else None
    return lock.endswith(b"\n") and isinstance(stages, dict) and all(map(_is_stage, stages.values()))


def _is_stage(stage: Any) -> bool:
    if not isinstance(stage, dict) or not stage.get("cmd"):
        return False
    params, files = stage.get("params", {}), [stage.get("deps", []), stage.get("outs", [])]
    if not isinstance(params, dict) or not all(isinstance(group, dict) for group in params.values()):
        return False
    entries = [entry for group in files if isinstance(group, list) for entry in group]
    whole = all(isinstance(entry, dict) and "path" in entry and None not in entry.values() for entry in entries)
    return whole and all(isinstance(group, list) for group in files)


def _is_json(path: Path) -> bool:
    try:
        return isinstance(json.loads(path.read_bytes()), dict)
    except ValueError:
        return False


def _how(path: Path) -> str:
    return "not complete, as an interrupted DVC leaves it" if path.stat().st_size else "empty"


@contextlib.contextmanager
def nobody_writes(seconds: float) -> Iterator[bool]:
    """Hold DVC's own lock, under which it writes both files, if that can be had in so many seconds; say whether.

    A `dvc repro` that is inside meanwhile runs a stage, or waits for this.
    """
    DVC_TEMPORARY.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + seconds
    with (DVC_TEMPORARY / "lock").open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if time.monotonic() < end:
                    time.sleep(0.02)
                    continue
                yield False
                return
            yield True
            return


def main() -> None:
    """Repair, and keep a copy of what is sound."""
    for line in repair():
        print(line, file=sys.stderr)
    keep_lock()


if __name__ == "__main__":
    run_errors(main)
