"""Readers of text: a user's own files wherever they are, the files of installed packages, and data sets."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import fsspec

from skiptrace.config.corpora import Corpus, FilesCorpus, HubCorpus, PackagesCorpus, PlantedCorpus
from skiptrace.corpora import contents, planted, sources
from skiptrace.corpora.card import Notes
from skiptrace.corpora.documents import Document
from skiptrace.corpora.rows import Field
from skiptrace.errors import InputError

T = TypeVar("T")


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
            for source, path in sources.package_files(package, corpus, name):
                yield from _open(source, path, corpus, name, notes)
    elif isinstance(corpus, HubCorpus):
        yield from contents.cleaned(_hub(corpus, name), corpus, notes, divided=True)
    elif "://" in corpus.path:
        yield from _remote(corpus, name, notes)
    else:
        for source, path in sources.local_files(Path(corpus.path), corpus, name, notes):
            yield from _open(source, path, corpus, name, notes)


def _open(source: str, path: Path, corpus: FilesCorpus | PackagesCorpus, name: str, notes: Notes) -> Iterator[Document]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    with file, sources.naming(name):
        yield from contents.documents(source, file, corpus, notes)


def _remote(corpus: FilesCorpus, name: str, notes: Notes) -> Iterator[Document]:
    """The same at an address such as s3://bucket/folder, by whatever file system of fsspec serves it."""
    key = f"corpora.{name}.path"
    try:
        system, root = fsspec.url_to_fs(corpus.path)
        single = system.isfile(root)
        local = "file" in ([system.protocol] if isinstance(system.protocol, str) else system.protocol)
        found = {p.removeprefix(root).lstrip("/"): p for p in ([root] if single or local else system.find(root))}
    except ImportError as error:
        raise InputError(f"{key}: {corpus.path}: {error}") from None
    except Exception as error:  # each file system raises its own
        raise InputError(f"{key}: {corpus.path} cannot be listed ({type(error).__name__}: {error})") from None
    if local:
        for source, path in sources.local_files(Path(root), corpus, name, notes):
            yield from _open(source, path, corpus, name, notes)
        return
    if single:
        found = {PurePosixPath(root).name: root}
    elif not found:
        raise InputError(f"{key}: {corpus.path} does not exist, or is empty")

    def reach(path: str) -> Any:
        try:
            return system.open(path, "rb")
        except Exception as error:
            raise InputError(f"{key}: {path} cannot be read ({error})") from None

    if single:
        with reach(root) as file:
            with sources.naming(name):
                kind = sources.look(PurePosixPath(root).name, file, corpus)
            sources.check_single(kind, corpus, name)
    for relative in list(found) if single else sources.selected(found, corpus, notes):
        with reach(found[relative]) as file, sources.naming(name):
            yield from _named(contents.documents(relative, file, corpus, notes), found[relative])


def _named(found: Iterator[T], said: str) -> Iterator[T]:
    """What an iterator yields; file systems and libraries raise errors of their own, which become one line."""
    try:
        yield from found
    except (InputError, GeneratorExit):
        raise
    except Exception as error:
        raise InputError(f"{said} cannot be read ({type(error).__name__}: {error})") from None


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
    field = Field(f"corpora.{name}", corpus.text_field)
    for number, row in _named(chain([first] if first else [], numbered), key):
        yield Document(f"{corpus.split}#{number:09d}", field.of(row, f"row {number}") or "")
    field.check()
