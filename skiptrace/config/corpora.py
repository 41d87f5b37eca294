"""`corpora`: where text comes from, one key per corpus."""

import re
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
    `extract` keeps the string values of JSON and the string literals of .py files alone, or the docstrings of .py
    files, with or without their `doctests`, whole or the `paragraphs` that are sentences; `replace` exchanges single
    characters; `separator` stands between the documents of a text file, and `cut` ends a document at the first line
    end after so many characters. `encoding_errors` and `syntax_errors` say what becomes of files, or rows, that are not
    UTF-8 text, and of sources that cannot be parsed under `extract`.
    """

    format: Literal["auto", "text", "json", "csv"] = Field(
        "auto", description="auto: what names and contents say | text | json | csv"
    )
    text_field: str = Field("text", description="what holds the text of rows")
    extract: Literal["all", "strings", "docstrings"] = Field(
        "all",
        description="all | strings: string values of JSON and literals of .py files | docstrings: those of .py files",
    )
    doctests: Literal["keep", "drop"] = Field(
        "keep", description="keep | drop examples after >>> and their output, under extract: docstrings"
    )
    paragraphs: Literal["all", "sentences"] = Field(
        "all", description="all | sentences: running text alone, a line for each paragraph, under extract: docstrings"
    )
    replace: dict[Character, str] = Field(
        default_factory=dict, description="single characters, and what stands for them"
    )
    separator: str | None = Field(
        None, description="what stands between the documents of a text file; left out, there is none"
    )
    cut: Annotated[int, Field(ge=1, le=2**24)] | None = Field(
        None, description="characters after which a document ends, at most 16777216; left out, files stay whole"
    )
    encoding_errors: Literal["refuse", "replace", "skip"] = Field(
        "refuse", description="refuse | replace | skip what is not UTF-8"
    )
    syntax_errors: Literal["refuse", "skip"] = Field(
        "skip", description="skip | refuse sources that cannot be parsed, under extract"
    )
    valid_share: Share = Field(description="share of documents held out for validation, between 0 and 1")

    @model_validator(mode="after")
    def _has_doctests(self) -> "TextParams":
        for name, value in (("doctests", self.doctests), ("paragraphs", self.paragraphs)):
            if value in ("drop", "sentences") and self.extract != "docstrings":
                raise ValueError(f"{name} has no meaning without extract: docstrings: remove it")
        return self

    @field_validator("separator")
    @classmethod
    def _in_read_text(cls, separator: str | None) -> str | None:
        if separator is not None and "\r" in separator:
            raise ValueError("line ends are read as \\n: write them so")
        return separator


class PackagesCorpus(TextParams):
    """The files of installed packages, sources or data, each package pinned to an exact version."""

    kind: Literal["packages"] = Field(description="packages: text files of installed packages")
    path: str = Field(description="file or folder that DVC watches: here what pins the packages")
    packages: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] = Field(
        description="name==version; another installed version is an error"
    )
    include: Globs = Field(description="globs within each package; ** spans folders")
    exclude: Globs = Field((), description="globs that are left out")

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

    kind: Literal["files"] = Field(description="files: your own text")
    path: str = Field(description="a file, a folder, or an address such as s3://…")
    include: Globs = Field(("**/*.txt",), description="globs within the folder")
    exclude: Globs = Field((), description="globs that are left out")

    # Of the whole, since the message about a single value would show it.
    @model_validator(mode="after")
    def _without_password(self) -> "FilesCorpus":
        if re.match(r"[^/]*://[^/@:]*:(?!\d+(/|$)).*@", self.path):
            raise ValueError(
                "path: the address holds a password, which git, messages and the report would show; fsspec takes it "
                "from its configuration or the environment, as FSSPEC_FTP_PASSWORD"
            )
        return self


class HubCorpus(TextParams):
    """A data set of the `datasets` library: saved to disk at `path`, or `dataset` at a pinned `revision` of the hub."""

    kind: Literal["hub"] = Field(description="hub: a data set of the datasets library")
    path: str = Field(description="where it was saved to disk, or what DVC watches")
    dataset: str | None = Field(None, description="its name on the hub")
    subset: str | None = Field(None, description="its configuration")
    revision: str | None = Field(None, description="the commit that is read")
    split: str = Field("train", description="its split")

    @model_validator(mode="after")
    def _pinned(self) -> "HubCorpus":
        if self.dataset is not None and self.revision is None:
            raise ValueError("revision: missing; pin the commit of the data set, or an update would go unnoticed")
        return self


class PlantedRule(Params):
    """How many rules of one kind there are, and how often and how surely they show."""

    count: Annotated[int, Field(ge=0)] = Field(description="rules of the kind")
    probability: Annotated[float, Field(gt=0, le=1)] = Field(description="how often the output token follows")
    rate: Annotated[float, Field(ge=0, le=1000)] = Field(description="episodes per 1000 words")
    distance: Annotated[tuple[int, int], Field(strict=False)] = Field(
        description="words from the source to what follows it, [shortest, longest]"
    )

    @model_validator(mode="after")
    def _ordered(self) -> "PlantedRule":
        low, high = self.distance
        if not 1 <= low <= high:
            raise ValueError(f"distance must be [shortest, longest] with 1 ≤ shortest ≤ longest, not {[low, high]}")
        return self


class PlantedCorpus(Params):
    """A synthetic grammar over words, whose rules are known."""

    kind: Literal["planted"] = Field(description="planted: a synthetic grammar whose rules are known")
    path: str = Field(description="file that DVC watches: what pins numpy, which draws it")
    seed: Annotated[int, Field(ge=0)] = Field(description="of the text")
    words: Annotated[int, Field(ge=2)] = Field(description="vocabulary, words of the rules included")
    documents: Annotated[int, Field(ge=2)] = Field(description="documents")
    length: Annotated[int, Field(ge=4)] = Field(description="words per document")
    zipf: Annotated[float, Field(ge=0)] = Field(description="exponent of the word frequencies")
    followers: Annotated[int, Field(ge=1)] = Field(description="preferred next words of every background word")
    follow_share: Annotated[float, Field(ge=0, le=1)] = Field(
        description="how often one of them follows, between 0 and 1"
    )
    stray_share: Annotated[float, Field(ge=0, le=1)] = Field(
        description="share of background places with a word of the rules, out of its episode"
    )
    decoy_share: Annotated[float, Field(ge=0, lt=1)] = Field(
        description="share of skip-trigram episodes where the destination stands without source"
    )
    destinations: Annotated[int, Field(ge=2)] = Field(description="words that the skip-trigrams share as destinations")
    bigrams: PlantedRule = Field(description="x1 y1")
    skip_trigrams: PlantedRule = Field(description="a1 … b1 c1")
    copies: PlantedRule = Field(description="k1 … k1")
    positional: PlantedRule = Field(description="p1 ? q1")
    quartets: PlantedRule = Field(description="e1 … b1 f1 and e1 … b2 f2")
    valid_share: Share = Field(description="share of documents held out for validation, between 0 and 1")

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
KINDS: dict[str, type[Corpus]] = {
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
