"""Readers of text: a user's own files wherever they are, the files of installed packages, and data sets."""

from collections.abc import Iterable, Iterator
from importlib import metadata
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec

from skiptrace.config.corpora import Corpus, FilesCorpus, HubCorpus, PackagesCorpus, PlantedCorpus
from skiptrace.corpora import contents, planted
from skiptrace.corpora.card import Notes
from skiptrace.corpora.documents import Document
from skiptrace.errors import InputError

MANY = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")  # files of many documents


def read(corpus: Corpus, name: str, notes: Notes) -> Iterator[Document]:
    """Yield the documents of a corpus, whatever its kind, in the order of their sources.

    Raises:
        InputError: a package is missing or of another version, a path does not exist, or a file
            is unreadable or not UTF-8; names it.
    """
    if isinstance(corpus, PlantedCorpus):
        yield from planted.generate(corpus)
    elif isinstance(corpus, PackagesCorpus):
        # As their sources are sorted, which the project's name begins.
        for package in sorted(corpus.packages, key=lambda p: p.partition("==")[0] + "/"):
            yield from _package(package, corpus, name, notes)
    elif isinstance(corpus, HubCorpus):
        yield from _hub(corpus, name)
    elif "://" in corpus.path:
        yield from _remote(corpus, name, notes)
    else:
        yield from _files(corpus, name, notes)


def _files(corpus: FilesCorpus, name: str, notes: Notes) -> Iterator[Document]:
    root = Path(corpus.path)
    if root.is_file():
        _check_single(root.name, corpus, name)
        yield from _open(root.name, root, corpus, notes)
        return
    if not root.is_dir():
        raise InputError(f"corpora.{name}.path: {root} does not exist")
    found = (p for p in root.rglob("*") if p.is_file())
    for relative in selected((p.relative_to(root).as_posix() for p in found), corpus):
        if not _is_utf8(relative):
            raise InputError(f"corpora.{name}: the file name {relative!r} is not UTF-8; rename it or exclude it")
        if not (root / relative).resolve().is_relative_to(root.resolve()):
            raise InputError(
                f"corpora.{name}: {root / relative} is a link out of the folder; copy the file or exclude it"
            )
        yield from _open(relative, root / relative, corpus, notes)


def _check_single(file: str, corpus: FilesCorpus, name: str) -> None:
    if not file.endswith(MANY) and corpus.cut is None:
        raise InputError(
            f"corpora.{name}.path: {corpus.path} is one file; give a folder, whose files are the documents, "
            "or set cut to divide it"
        )


def _open(source: str, path: Path, corpus: FilesCorpus | PackagesCorpus, notes: Notes) -> Iterator[Document]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    with file:
        yield from contents.documents(source, file, corpus, notes)


def _remote(corpus: FilesCorpus, name: str, notes: Notes) -> Iterator[Document]:
    """The same at an address such as s3://bucket/folder, by whatever file system of fsspec serves it."""
    key = f"corpora.{name}.path"
    try:
        system, root = fsspec.url_to_fs(corpus.path)
        single = system.isfile(root)
        found = {p.removeprefix(root).lstrip("/"): p for p in ([root] if single else system.find(root))}
    except ImportError as error:
        raise InputError(f"{key}: {corpus.path}: {error}") from None
    except Exception as error:  # each file system raises its own
        raise InputError(f"{key}: {corpus.path} cannot be listed ({type(error).__name__}: {error})") from None
    if single:
        found = {PurePosixPath(root).name: root}
        _check_single(PurePosixPath(root).name, corpus, name)
    elif not found:
        raise InputError(f"{key}: {corpus.path} does not exist, or is empty")
    for relative in list(found) if single else selected(found, corpus):
        try:
            file = system.open(found[relative], "rb")
        except Exception as error:
            raise InputError(f"{key}: {found[relative]} cannot be read ({error})") from None
        with file:
            yield from contents.documents(relative, file, corpus, notes)


def _package(package: str, corpus: PackagesCorpus, name: str, notes: Notes) -> Iterator[Document]:
    project, _, version = package.partition("==")
    try:
        distribution = metadata.distribution(project)
    except metadata.PackageNotFoundError:
        raise InputError(f"corpora.{name}.packages: {package} is not installed; pip install it") from None
    if distribution.version != version:
        raise InputError(f"corpora.{name}.packages: {package} is asked for but {distribution.version} is installed")
    listed = {PurePosixPath(file.as_posix()): file for file in distribution.files or ()}
    inside = [path for path in listed if ".." not in path.parts and not path.is_absolute()]
    for relative in selected((str(path) for path in inside), corpus):
        file = Path(str(listed[PurePosixPath(relative)].locate()))
        yield from _open(f"{project}/{relative}", file, corpus, notes)


def _hub(corpus: HubCorpus, name: str) -> Iterator[Document]:
    try:
        import datasets
    except ImportError:
        raise InputError(f"corpora.{name}: kind hub needs the datasets library: pip install 'skiptrace[hub]'") from None
    key = f"corpora.{name}.{'path' if corpus.dataset is None else 'dataset'}"
    try:
        rows: Any
        if corpus.dataset is None:
            rows = datasets.load_from_disk(corpus.path)
            rows = rows[corpus.split] if isinstance(rows, datasets.DatasetDict) else rows
        else:
            rows = datasets.load_dataset(
                corpus.dataset, corpus.subset, split=corpus.split, revision=corpus.revision, streaming=True
            )
        numbered = enumerate(rows, 1)
        first = next(numbered, None)
    except Exception as error:  # the library raises many kinds, and the network more
        raise InputError(f"{key}: cannot be loaded ({type(error).__name__}: {error})") from None
    for number, row in chain([first] if first else [], numbered):
        text = row.get(corpus.text_field)
        if not isinstance(text, str):
            there = ", ".join(map(str, row))
            raise InputError(
                f"corpora.{name}.text_field: row {number} has no text {corpus.text_field!r}; there is {there}"
            )
        yield Document(f"{corpus.split}#{number:09d}", text.translate({ord(k): v for k, v in corpus.replace.items()}))


def _is_utf8(name: str) -> bool:
    # What the system hands over of other encodings are lone surrogates.
    return not any("\ud800" <= c <= "\udfff" for c in name)


def selected(paths: Iterable[str], corpus: PackagesCorpus | FilesCorpus) -> list[str]:
    """The relative POSIX paths that match `include` and not `exclude`, sorted."""
    return sorted(
        path
        for path in paths
        if any(matches(path, glob) for glob in corpus.include)
        and not any(matches(path, glob) for glob in corpus.exclude)
    )


def matches(path: str, glob: str) -> bool:
    """Whether a relative path matches a glob in which `**` spans any number of folders."""
    return _match(PurePosixPath(path).parts, PurePosixPath(glob).parts)


def _match(parts: tuple[str, ...], globs: tuple[str, ...]) -> bool:
    if not globs:
        return not parts
    if globs[0] == "**":
        return _match(parts, globs[1:]) or (bool(parts) and _match(parts[1:], globs))
    return bool(parts) and PurePosixPath(parts[0]).match(globs[0]) and _match(parts[1:], globs[1:])
