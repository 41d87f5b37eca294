"""Where a report's numbers come from: versions and content hashes, no time stamp."""

import hashlib
import platform
from importlib import metadata
from pathlib import Path

from skiptrace.files import sha256
from skiptrace.report.inputs import Study
from skiptrace.report.rendering.document import Section, Table, words

LIBRARIES = ("torch", "numpy", "scipy", "pandas", "pyarrow", "tokenizers", "safetensors", "matplotlib")


def git_blob(path: Path) -> str:
    """The object id git gives to a file's content, as `git hash-object` prints it."""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def provenance(study: Study) -> Section:
    """Parameters, versions, git ids of the files under revision and hashes of the data.

    `git log --find-object=<id>` shows the commits that hold a file with such an id.
    """
    revisioned, inputs, parameters = study.provenance
    versions = [("Python", platform.python_version()), *((name, metadata.version(name)) for name in LIBRARIES)]
    return Section(
        "provenance",
        "Provenance",
        [
            "`git log --find-object=<id>` finds the commits that hold these parameters and locked versions; the hashes "
            "below identify the exact inputs of this report.",
        ],
        [
            Table(
                "Files in git, by object id.",
                words("File", "Git object"),
                [(p.as_posix(), git_blob(p)) for p in revisioned],
            ),
            Table("Inputs, by content.", words("File", "SHA-256"), [(p.as_posix(), sha256(p)) for p in inputs]),
            Table(
                "Versions.", words("Package", "Version"), [(name, version.split("+")[0]) for name, version in versions]
            ),
            Table("Parameters.", words("Key", "Value"), [_row(line) for line in parameters]),
        ],
    )


def _row(line: str) -> tuple[str, str]:
    key, _, value = line.partition(": ")
    return key, value


def flat(value: object, key: str = "") -> list[str]:
    """A nested mapping as lines `a.b.c: value`, in its own order."""
    if isinstance(value, dict):
        return [line for k, v in value.items() for line in flat(v, f"{key}.{k}" if key else str(k))]
    shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return [f"{key}: {shown}"]
