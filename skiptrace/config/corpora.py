"""`corpora`: where text comes from, one key per corpus."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from skiptrace.config.base import Params, check, find
from skiptrace.errors import InputError

Globs = Annotated[tuple[str, ...], Field(strict=False)]
Share = Annotated[float, Field(gt=0, lt=1)]


class PackagesCorpus(Params):
    """The text files of installed packages, each pinned to an exact version."""

    kind: Literal["packages"]
    path: str
    packages: Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
    include: Globs
    exclude: Globs = ()
    valid_share: Share

    @field_validator("packages")
    @classmethod
    def _pinned(cls, packages: tuple[str, ...]) -> tuple[str, ...]:
        for package in packages:
            name, _, version = package.partition("==")
            if not name or not version:
                raise ValueError("each package must read name==version")
        return packages


class FilesCorpus(Params):
    """A user's own UTF-8 text: one file, or a folder and globs within it."""

    kind: Literal["files"]
    path: str
    include: Globs = ("**/*.txt",)
    exclude: Globs = ()
    valid_share: Share


Corpus = PackagesCorpus | FilesCorpus
KINDS: dict[str, type[PackagesCorpus] | type[FilesCorpus]] = {
    "packages": PackagesCorpus,
    "files": FilesCorpus,
}


def check_corpus(value: Any, key: str, path: Path) -> Corpus:
    """Turn the mapping at `key` into the corpus class that its `kind` names.

    Raises:
        InputError: the kind is unknown or a key is wrong.
    """
    kind = value.get("kind") if isinstance(value, dict) else None
    if kind not in KINDS:
        raise InputError(f"{path}: {key}.kind: expected {' or '.join(KINDS)}, got {kind!r}")
    return check(KINDS[kind], value, key, path)


def load_corpus(name: str, path: Path = Path("params.yaml")) -> Corpus:
    """Read `corpora.<name>`.

    Raises:
        InputError: the key is absent or its content is wrong.
    """
    key = f"corpora.{name}"
    return check_corpus(find(key, path), key, path)
