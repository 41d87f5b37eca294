"""Files that are not what dvc.lock says they are, in the workspace and in DVC's cache.

DVC hashes a file again only when its time or size has changed, and trusts whatever its cache holds.

Reads   dvc.lock, the outputs it names, DVC's cache
"""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from dvc.exceptions import DvcException
from dvc.repo import Repo

from skiptrace.config.base import read_yaml
from skiptrace.errors import InputError, one_line
from skiptrace.expansion.reader import verify_part
from skiptrace.layout import DVC_LOCK
from skiptrace.seals import verify

OBJECT = re.compile(r"[0-9a-f]{32}")
SEALED = (".json", ".npy", ".parquet", ".safetensors")


class Output(NamedTuple):
    """A file of an output: where it lies (a workspace may lack it), its MD5, and its copy in the cache."""

    path: Path
    md5: str
    cached: Path


class Verified(NamedTuple):
    """How many files were hashed, and those that are damaged."""

    files: int
    damaged: list[Path]


def verify_outputs() -> Verified:
    """Hash every file that dvc.lock names as an output, and compare its seal, and every other object of DVC's cache.

    Of other versions, the cache restores what its log of runs names.

    Raises:
        InputError: there is no pipeline here, or dvc.lock cannot be read.
    """
    if not DVC_LOCK.exists():
        return Verified(0, [])
    try:
        with Repo(".") as repo:
            outputs, damaged = _outputs(repo.cache.local.oid_to_path)
            objects = Path(repo.cache.local.path)
    except DvcException as error:
        raise InputError(f"no pipeline here: {one_line(error)}") from None
    sound: dict[tuple[int, int], bool] = {}  # by file, since the workspace links to the cache
    for output in outputs:
        for path in (output.cached, output.path):
            if path.exists():
                about = path.stat()
                file = (about.st_dev, about.st_ino)
                if file not in sound:
                    sound[file] = _md5(path) == output.md5 and _is_sealed(path, output.path)
                if not sound[file]:
                    damaged.append(path)
    for path in sorted(objects.glob("??/*")):
        md5 = f"{path.parent.name}{path.name.removesuffix('.dir')}"
        file = (path.stat().st_dev, path.stat().st_ino)
        if OBJECT.fullmatch(md5) and file not in sound and path not in damaged:
            sound[file] = _md5(path) == md5
            if not sound[file]:
                damaged.append(path)
    return Verified(len(sound), damaged)


def remove(damaged: list[Path]) -> None:
    """Remove damaged files, so that DVC restores or makes them again."""
    for path in damaged:
        path.unlink(missing_ok=True)


def _outputs(place: Callable[[str], str]) -> tuple[list[Output], list[Path]]:
    """Every file of every output, and the cached listings of folders that are damaged themselves."""
    found, damaged = [], []
    for stage in read_yaml(DVC_LOCK).get("stages", {}).values():
        for out in stage.get("outs", []):
            path, md5 = Path(out["path"]), str(out["md5"])
            cached = Path(place(md5))
            if not md5.endswith(".dir"):
                found.append(Output(path, md5, cached))
            elif cached.exists():
                content = cached.read_bytes()
                if f"{hashlib.md5(content).hexdigest()}.dir" != md5:
                    damaged.append(cached)
                    continue
                for entry in json.loads(content):
                    found.append(Output(path / entry["relpath"], entry["md5"], Path(place(entry["md5"]))))
    return found, damaged


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _is_sealed(path: Path, name: Path) -> bool:
    """Whether a file agrees with its own checksum, which was made before DVC hashed it."""
    try:
        if name.name.startswith("part-"):
            verify_part(path)
        elif name.suffix in SEALED:
            verify(path)
    except InputError:
        return False
    return True
