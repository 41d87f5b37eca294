"""`corpora`: where text comes from, one key per corpus."""

import reprlib
from pathlib import Path
from typing import Annotated, Any, Literal

from packaging.version import InvalidVersion, Version
from pydantic import Field, field_validator, model_validator

from skiptrace.config.base import Params, check, find
from skiptrace.errors import InputError

Globs = Annotated[tuple[str, ...], Field(strict=False)]
Share = Annotated[float, Field(gt=0, lt=1)]
Character = Annotated[str, Field(min_length=1, max_length=1)]


class TextParams(Params):
    """How text is taken from files, whatever their place.

    `format` says what files hold where name and content disagree; `text_field` names what holds the text of a row;
    `extract: strings` keeps the string values of JSON and the string literals of .py files alone; `replace` exchanges
    single characters; `separator` stands between the documents of a text file, and `cut` ends a document at the first
    line end after so many characters. `encoding_errors` and `syntax_errors` say what becomes of files, or rows, that
    are not UTF-8 text, and of sources that cannot be parsed under `extract: strings`.
    """

    format: Literal["auto", "text", "json", "csv"] = "auto"
    text_field: str = "text"
    extract: Literal["all", "strings"] = "all"
    replace: dict[Character, str] = Field(default_factory=dict)
    separator: str | None = None
    cut: Annotated[int, Field(ge=1, le=2**24)] | None = None
    encoding_errors: Literal["refuse", "replace", "skip"] = "refuse"
    syntax_errors: Literal["refuse", "skip"] = "skip"
    valid_share: Share

    @field_validator("separator")
    @classmethod
    def _in_read_text(cls, separator: str | None) -> str | None:
        if separator is not None and "\r" in separator:
            raise ValueError("line ends are read as \\n: write them so")
        return separator


class PackagesCorpus(TextParams):
    """The files of installed packages, sources or data, each package pinned to an exact version."""

    kind: Literal["packages"]
    path: str
    packages: Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
    include: Globs
    exclude: Globs = ()

    @field_validator("packages")
    @classmethod
    def _pinned(cls, packages: tuple[str, ...]) -> tuple[str, ...]:
        for package in packages:
            name, _, version = package.partition("==")
            try:
                Version(version)
            except InvalidVersion:
                name = ""
            if not name:
                raise ValueError("each package must read name==version")
        return packages


class FilesCorpus(TextParams):
    """A user's own UTF-8 text: a folder and globs within it, or one file of many documents; any fsspec address."""

    kind: Literal["files"]
    path: str
    include: Globs = ("**/*.txt",)
    exclude: Globs = ()


class HubCorpus(TextParams):
    """A data set of the `datasets` library: saved to disk at `path`, or `dataset` at a pinned `revision` of the hub."""

    kind: Literal["hub"]
    path: str
    dataset: str | None = None
    subset: str | None = None
    revision: str | None = None
    split: str = "train"

    @model_validator(mode="after")
    def _pinned(self) -> "HubCorpus":
        if self.dataset is not None and self.revision is None:
            raise ValueError("revision: missing; pin the commit of the data set, or an update would go unnoticed")
        return self


class PlantedRule(Params):
    """How many rules of one kind there are, and how often and how surely they show."""

    count: Annotated[int, Field(ge=0)]
    probability: Annotated[float, Field(gt=0, le=1)]
    rate: Annotated[float, Field(ge=0, le=1000)]
    distance: Annotated[tuple[int, int], Field(strict=False)]

    @model_validator(mode="after")
    def _ordered(self) -> "PlantedRule":
        low, high = self.distance
        if not 1 <= low <= high:
            raise ValueError(f"distance must be [shortest, longest] with 1 ≤ shortest ≤ longest, not {[low, high]}")
        return self


class PlantedCorpus(Params):
    """A synthetic grammar over words, whose rules are known."""

    kind: Literal["planted"]
    path: str
    seed: Annotated[int, Field(ge=0)]
    words: Annotated[int, Field(ge=2)]
    documents: Annotated[int, Field(ge=2)]
    length: Annotated[int, Field(ge=4)]
    zipf: Annotated[float, Field(ge=0)]
    followers: Annotated[int, Field(ge=1)]
    follow_share: Annotated[float, Field(ge=0, le=1)]
    stray_share: Annotated[float, Field(ge=0, le=1)]
    decoy_share: Annotated[float, Field(ge=0, lt=1)]
    destinations: Annotated[int, Field(ge=2)]
    bigrams: PlantedRule
    skip_trigrams: PlantedRule
    copies: PlantedRule
    positional: PlantedRule
    quartets: PlantedRule
    valid_share: Share

    @model_validator(mode="after")
    def _fits(self) -> "PlantedCorpus":
        parts = (
            2 * (self.bigrams.count + self.positional.count + self.skip_trigrams.count)
            + self.copies.count
            + 3 * self.quartets.count
            + self.destinations
        )
        if parts + 2 > self.words:
            raise ValueError(f"words must be at least {parts + 2} for these rules and two background words")
        longest = max(
            r.distance[1] for r in (self.bigrams, self.skip_trigrams, self.copies, self.positional, self.quartets)
        )
        if longest + 2 > self.length:
            raise ValueError(f"length must be at least {longest + 2} for a distance of {longest}")
        return self


Corpus = PackagesCorpus | FilesCorpus | HubCorpus | PlantedCorpus
KINDS: dict[str, type[PackagesCorpus] | type[FilesCorpus] | type[HubCorpus] | type[PlantedCorpus]] = {
    "packages": PackagesCorpus,
    "files": FilesCorpus,
    "hub": HubCorpus,
    "planted": PlantedCorpus,
}


def check_corpus(value: Any, key: str, path: Path) -> Corpus:
    """Turn the mapping at `key` into the corpus class that its `kind` names.

    Raises:
        InputError: the kind is unknown or a key is wrong.
    """
    kind = value.get("kind") if isinstance(value, dict) else None
    if not isinstance(kind, str) or kind not in KINDS:
        raise InputError(f"{path}: {key}.kind: expected {' or '.join(KINDS)}, got {reprlib.repr(kind)}")
    return check(KINDS[kind], value, key, path)


def load_corpus(name: str, path: Path = Path("params.yaml")) -> Corpus:
    """Read `corpora.<name>`.

    Raises:
        InputError: the key is absent or its content is wrong.
    """
    key = f"corpora.{name}"
    return check_corpus(find(key, path), key, path)
