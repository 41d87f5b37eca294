"""Names of repositories of the Hugging Face Hub in params.yaml, as in hub:NAME@COMMIT."""

import re
from pathlib import Path
from typing import NamedTuple

HUB = "hub:"
TOKENIZER, MODEL = "tokenizer", "model"  # what files are for
PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
FORM = re.compile(rf"hub:({PART}(?:/{PART})?)@([A-Za-z0-9][A-Za-z0-9._/-]{{0,99}})")
COMMIT = re.compile(r"[0-9a-f]{40}")


class Repository(NamedTuple):
    """A repository and one revision of it."""

    name: str
    revision: str

    @property
    def pinned(self) -> bool:
        """Whether the revision is a commit, which is the same at any time."""
        return COMMIT.fullmatch(self.revision) is not None

    def folder(self, purpose: str) -> Path:
        """Where its files for one purpose are kept, relative to imports/."""
        return Path("hub", self.name, self.revision, purpose)


def repository(path: str) -> Repository | None:
    """The repository that a path names; None for a path of the file system.

    Raises:
        ValueError: it begins as the name of one and goes on otherwise.
    """
    if not path.startswith(HUB):
        return None
    found = FORM.fullmatch(path)
    if found is None or ".." in path:
        raise ValueError(f"expected hub:NAME@COMMIT, got {path!r}")
    return Repository(found[1], found[2])
