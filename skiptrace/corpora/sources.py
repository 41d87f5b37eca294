"""Which files a corpus is made of, and what of them can be checked before any is read."""

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion

from skiptrace.config.corpora import Corpus, FilesCorpus, PackagesCorpus
from skiptrace.corpora.card import Notes
from skiptrace.corpora.compression import DAMAGED, Bytes, opened
from skiptrace.corpora.formats import Format, NotText, damaged, format_of, refusal
from skiptrace.errors import InputError
from skiptrace.files import fetched_by

LOOKED_AT = 100  # files of a folder whose first bytes are looked at before work starts
DEEPEST = 8  # links to folders within each other


def check(corpora: dict[str, Corpus]) -> None:
    """Find what would stop reading later: packages, paths, links, and the first bytes of the first files of a folder.

    Raises:
        InputError: one is missing, of another version, a pointer, or of no format that is read; names it and its key.
    """
    for name, corpus in corpora.items():
        if "://" in corpus.path:
            continue
        if not os.path.exists(corpus.path):  # which no path is too long for, unlike those of pathlib
            raise InputError(f"corpora.{name}.path: {corpus.path} does not exist{fetched_by(Path(corpus.path))}")
        found: list[tuple[str, Path]] = []
        if isinstance(corpus, PackagesCorpus):
            for package in corpus.packages:
                found += package_files(package, corpus, name)[:LOOKED_AT]
        elif isinstance(corpus, FilesCorpus):
            found = local_files(Path(corpus.path), corpus, name, Notes())[:LOOKED_AT]
        for source, path in found:
            if isinstance(corpus, PackagesCorpus | FilesCorpus):
                _look(source, path, corpus, name)


@contextlib.contextmanager
def naming(corpus: str) -> Iterator[None]:
    """Errors inside, which name a file within a corpus, name the corpus too."""
    try:
        yield
    except InputError as error:
        raise InputError(f"corpora.{corpus}: {error}") from None


def _look(source: str, path: Path, corpus: PackagesCorpus | FilesCorpus, name: str) -> Format | None:
    try:
        with path.open("rb") as file, naming(name):
            return look(source, file, corpus)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def look(source: str, file: Bytes, corpus: PackagesCorpus | FilesCorpus) -> Format | None:
    """The format of a file by its first bytes; None if it is to be skipped.

    Raises:
        InputError: it is a pointer, damaged, or of no format that is read.
    """
    try:
        inner = opened(source, file)
        return format_of(source, inner.name, inner.content.head, corpus)
    except NotText as error:
        if corpus.encoding_errors == "skip":
            return None
        raise refusal(source, error) from None
    except DAMAGED as error:
        raise damaged(source, error) from None


def local_files(root: Path, corpus: FilesCorpus, name: str, notes: Notes) -> list[tuple[str, Path]]:
    """The names and paths of a corpus's files on this machine, sorted by name; links within the folder are followed.

    Raises:
        InputError: the path is not there, or a file that is asked for is no file, is unnameable, or lies elsewhere.
    """
    key = f"corpora.{name}"
    if os.path.isfile(root):
        check_single(_look(root.name, root, corpus, name), corpus, name)
        return [(root.name, root)]
    if not os.path.isdir(root):
        what = "is neither a file nor a folder" if os.path.lexists(root) else f"does not exist{fetched_by(root)}"
        raise InputError(f"{key}.path: {root} {what}")
    inside = root.resolve()
    chosen = selected(_walk(root, corpus, key), corpus, notes)
    if not chosen:
        others = f"; there is {notes.unselected.examples[0]!r}" if notes.unselected.count else ""
        raise InputError(f"{key}.include: no file in {root} matches {', '.join(corpus.include)}{others}")
    for relative in chosen:
        path = root / relative
        if not _is_utf8(relative):
            raise InputError(f"{key}: the file name {relative!r} is not UTF-8; rename it or exclude it")
        try:
            mode = path.stat().st_mode
            if not path.resolve().is_relative_to(inside):
                raise _outside(path, key)
        except (OSError, RuntimeError) as error:  # the second of links that lead to each other
            why = "a link that leads nowhere" if path.is_symlink() else f"unreadable ({error})"
            raise InputError(f"{key}: {path} is {why}; remove it or exclude it") from None
        if not stat.S_ISREG(mode):
            raise InputError(f"{key}: {path} is a pipe, socket or device, not a file; remove it or exclude it")
    return [(relative, root / relative) for relative in chosen]


def _walk(root: Path, corpus: FilesCorpus, key: str) -> Iterator[str]:
    """The relative names of all that is no folder; folders that are links are followed."""
    inside = root.resolve()
    # Of each folder: its name, and where it and the folders that links led through really lie.
    waiting: list[tuple[str, tuple[Path, ...]]] = [("", (inside,))]
    while waiting:
        folder, (*through, real) = waiting.pop()
        try:
            entries = list(os.scandir(root / folder))
        except OSError as error:
            raise InputError(f"{key}: {root / folder} cannot be read ({error.strerror})") from None
        for entry in entries:
            relative = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir(follow_symlinks=False):
                waiting.append((relative, (*through, real / entry.name)))
            elif entry.is_symlink() and Path(entry.path).is_dir():
                target = Path(entry.path).resolve()
                passed = (*through, real)
                if not target.is_relative_to(inside):
                    if _may_hold(relative, corpus):
                        raise _outside(Path(entry.path), key)
                    yield relative
                elif not any(place.is_relative_to(target) for place in passed):  # else it is a loop
                    if len(passed) > DEEPEST:
                        raise InputError(f"{key}: {entry.path}: more than {DEEPEST} linked folders in each other")
                    waiting.append((relative, (*passed, target)))
            else:
                yield relative


def _outside(path: Path, key: str) -> InputError:
    return InputError(f"{key}: {path} is a link out of the folder; copy what it leads to or exclude it")


def check_single(kind: Format | None, corpus: FilesCorpus, name: str) -> None:
    """Check that a corpus of one file can be split.

    Raises:
        InputError: the file is one document.
    """
    if kind is Format.TEXT and corpus.cut is None and not corpus.separator:
        raise InputError(
            f"corpora.{name}.path: {corpus.path} is one file; give a folder, whose files are the documents, "
            "or set cut or separator to divide it"
        )


def package_files(package: str, corpus: PackagesCorpus, name: str) -> list[tuple[str, Path]]:
    """The names and paths of the files of an installed package, sorted by name.

    Raises:
        InputError: it is not installed, is of another version, or has no file that matches.
    """
    project, _, version = package.partition("==")
    key = f"corpora.{name}.packages"
    try:
        distribution = metadata.distribution(project)
    except metadata.PackageNotFoundError:
        raise InputError(f"{key}: {package} is not installed; pip install it") from None
    if not _is_version(distribution.version, version):
        raise InputError(f"{key}: {package} is asked for but {distribution.version} is installed; change one of them")
    listed: dict[str, Any] = {file.as_posix(): file for file in distribution.files or ()}
    inside = [p for p in listed if ".." not in PurePosixPath(p).parts and not PurePosixPath(p).is_absolute()]
    # What else a package lists depends on the installer, so it is not counted.
    chosen = selected(inside, corpus, Notes())
    if not chosen:
        raise InputError(f"{key}: no file of {package} matches include")
    return [(f"{project}/{relative}", Path(str(listed[relative].locate()))) for relative in chosen]


def _is_version(installed: str, asked: str) -> bool:
    """Whether a version is the one asked for by PEP 440, where 2.13.0+cpu is 2.13.0."""
    try:
        return SpecifierSet(f"=={asked}").contains(installed, prereleases=True)
    except InvalidVersion:
        return installed == asked


def _is_utf8(name: str) -> bool:
    # What the system hands over of other encodings are lone surrogates.
    return not any("\ud800" <= c <= "\udfff" for c in name)


def selected(paths: Iterable[str], corpus: PackagesCorpus | FilesCorpus, notes: Notes) -> list[str]:
    """The relative POSIX paths that match `include` and not `exclude`, sorted; the others are counted."""
    chosen = []
    for path in sorted(paths):
        included = any(matches(path, glob) for glob in corpus.include)
        if included and not any(matches(path, glob) for glob in corpus.exclude):
            chosen.append(path)
        else:
            notes.unselected.add(path)
    return chosen


def matches(path: str, glob: str) -> bool:
    """Whether a relative path matches a glob in which `**` spans any number of folders."""
    return _match(PurePosixPath(path).parts, PurePosixPath(glob).parts)


def _may_hold(folder: str, corpus: FilesCorpus) -> bool:
    """Whether a file in a folder could match `include`, and the folder as a whole is not excluded."""
    globs = [PurePosixPath(glob).parts for glob in corpus.include]
    reached = any(_match(PurePosixPath(folder).parts, glob[:n]) for glob in globs for n in range(len(glob)))
    return reached and not any(matches(folder, glob) for glob in corpus.exclude)


def _match(parts: tuple[str, ...], globs: tuple[str, ...]) -> bool:
    if not globs:
        return not parts
    if globs[0] == "**":
        return _match(parts, globs[1:]) or (bool(parts) and _match(parts[1:], globs))
    return bool(parts) and PurePosixPath(parts[0]).match(globs[0]) and _match(parts[1:], globs[1:])
