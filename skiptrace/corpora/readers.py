"""Readers of text: a user's own files, and the files of installed packages."""

from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path, PurePosixPath

from skiptrace.config.corpora import Corpus, FilesCorpus, PackagesCorpus, PlantedCorpus
from skiptrace.corpora import planted
from skiptrace.corpora.documents import Document
from skiptrace.errors import InputError


def read(corpus: Corpus, name: str) -> Iterator[Document]:
    """Yield the documents of a corpus, whatever its kind.

    Raises:
        InputError: a package is missing or of another version, a path does not exist, or a file
            is unreadable or not UTF-8; names it.
    """
    if isinstance(corpus, PlantedCorpus):
        yield from planted.generate(corpus)
    elif isinstance(corpus, PackagesCorpus):
        for package in corpus.packages:
            yield from _package(package, corpus, name)
    else:
        yield from _files(corpus, name)


def _files(corpus: FilesCorpus, name: str) -> Iterator[Document]:
    root = Path(corpus.path)
    if root.is_file():
        raise InputError(f"corpora.{name}.path: {root} is one file; give a folder, whose files are the documents")
    if not root.is_dir():
        raise InputError(f"corpora.{name}.path: {root} does not exist")
    found = (p for p in root.rglob("*") if p.is_file())
    for relative in selected((p.relative_to(root).as_posix() for p in found), corpus):
        if not _is_utf8(relative):
            raise InputError(f"corpora.{name}: the file name {relative!r} is not UTF-8; rename it or exclude it")
        yield Document(relative, read_text(root / relative))


def _package(package: str, corpus: PackagesCorpus, name: str) -> Iterator[Document]:
    project, _, version = package.partition("==")
    try:
        distribution = metadata.distribution(project)
    except metadata.PackageNotFoundError:
        raise InputError(f"corpora.{name}.packages: {package} is not installed; pip install it") from None
    if distribution.version != version:
        raise InputError(f"corpora.{name}.packages: {package} is asked for but {distribution.version} is installed")
    listed = {PurePosixPath(file.as_posix()): file for file in distribution.files or ()}
    inside = [path for path in listed if ".." not in path.parts]
    for relative in selected((str(path) for path in inside), corpus):
        file = Path(str(listed[PurePosixPath(relative)].locate()))
        yield Document(f"{project}/{relative}", read_text(file))


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


def read_text(path: Path) -> str:
    """Read a UTF-8 file, its line ends made line feeds.

    Raises:
        InputError: the file cannot be read or is not UTF-8; names it and the first wrong byte.
    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}; convert it or exclude it") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
