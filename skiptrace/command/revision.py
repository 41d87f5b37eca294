"""The files of a revision, from git, DVC's cache and the remote; nothing that the revision holds is trusted.

DVC parses none of its files: dvc.yaml could name further files, or more stages than anybody can list. Which content an
output has is read from dvc.lock, whose size is bounded, and all content is compared with its hash.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from dvc.exceptions import DvcException, NotDvcRepoError
from dvc.repo import Repo

from skiptrace.config.base import LARGEST, read_yaml
from skiptrace.config.pipeline import KEYED, entries
from skiptrace.errors import InputError, one_line
from skiptrace.files import open_table, read_table
from skiptrace.layout import DVC_LOCK, PARAMS

WORKSPACE = "workspace"
MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")
LISTINGS = Path(".listings")  # of folders, beside the copies of their files
PIECE = 2**20  # bytes that are copied at once
MOST = 4 * 10**9  # bytes that are fetched of one revision
UNFOLDED = 10**9  # bytes that a table of it may unfold to


class Absent(InputError):
    """A file that a version should have cannot be read here."""


class _Here(Repo):  # type: ignore[misc]  # DVC is untyped
    """A revision of this repository, read with the settings of the workspace.

    Those of the revision, which anyone may have written, could name any cache and any remote.
    """

    def __init__(self, rev: str, settings: Any) -> None:
        self._settings = settings
        super().__init__(".", rev=rev)

    @cached_property
    def config(self) -> Any:
        return self._settings


class Revision:
    """The files of a revision, fetched one by one into a temporary folder. Close it.

    Raises:
        InputError: there is no such revision, or it has no pipeline.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self._folder = name, folder.resolve()
        self.params: dict[str, Any] = {}
        self._outs: dict[str, str] = {}
        self._folders: dict[str, dict[str, str]] = {}
        try:
            with Repo(".") as here:
                settings = here.config
            self._remote = settings["core"].get("remote")
            self._repo = Repo(".") if name == WORKSPACE else _Here(name, settings)
        except NotDvcRepoError:
            raise InputError(f"{name}: has no pipeline: dvc.yaml is not in it") from None
        except DvcException as error:
            known = "a commit, branch, tag or experiment (git log, dvc exp show), or workspace"
            raise InputError(f"{name}: {one_line(error)}; give {known}") from None
        self._left = MOST

    def close(self) -> None:
        """Close the files of git that reading it opened."""
        self._repo.close()

    def check(self) -> None:
        """Read params.yaml and dvc.lock, and check the names that become paths; `params` are there then.

        Raises:
            InputError: a file is missing or not well formed, a name is no name, a hash no hash.
        """
        for file in (Path("dvc.yaml"), PARAMS):
            if not self._tracked(file):
                raise InputError(f"{self.name}: has no pipeline: {file} is not in it")
        self.params = self._yaml(PARAMS)
        for group in KEYED:
            entries(self.params.get(group), group, Path(f"{self.name}: {PARAMS}"))
        stages = self._yaml(DVC_LOCK).get("stages", {}) if self._tracked(DVC_LOCK) else {}
        try:
            outs = [out for stage in stages.values() for out in stage.get("outs", [])]
            self._outs = {str(out["path"]): out["md5"] for out in outs if "files" not in out}
            # Where the remote keeps versions itself, the lock has the files of a folder.
            self._folders = {str(out["path"]): _by_name(out["files"]) for out in outs if "files" in out}
        except (AttributeError, KeyError, TypeError):
            raise InputError(f"{self.name}: {DVC_LOCK}: an output has no path or no md5; run dvc repro") from None
        for path, value in self._outs.items():
            self._check_hash(path, value)
        for path, files in self._folders.items():
            for name, value in files.items():
                self._check_hash(f"{path}/{name}", value)

    def _yaml(self, path: Path) -> dict[str, Any]:
        return read_yaml(self.fetch(path))

    def fetch(self, path: Path) -> Path:
        """A local copy of a file.

        Raises:
            Absent: the revision never had it, or its content is neither in the cache nor at the remote.
            InputError: the path or the name of its content leads elsewhere, or its content is damaged.
        """
        local = self._local(path)
        if local.exists():
            return local
        if self._tracked(path):
            with self._repo.fs.open(self._place(path), "rb") as source:
                return self._copy(source, path)
        md5 = self._content(path)
        if md5 is None:
            raise self._absent(path)
        return self._object(md5, path, path)

    def table(self, path: Path, columns: list[str] | None = None) -> pa.Table:
        """A table, whose few bytes may stand for more than fits into memory.

        Raises:
            Absent: as `fetch`.
            InputError: it cannot be read, lacks a column, or unfolds to more than `UNFOLDED`.
        """
        local = self.fetch(path)
        with open_table(local) as file:
            about, leaves = file.metadata, [file.schema.column(i) for i in range(len(file.schema))]
        groups = [about.row_group(i) for i in range(about.num_row_groups)]
        numbers = sum(g.column(i).num_values * max(8, leaf.length) for g in groups for i, leaf in enumerate(leaves))
        self._bound(path, numbers + sum(group.total_byte_size for group in groups))
        texts = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
        try:
            # A text that many rows have is not unfolded before it is counted.
            with pq.ParquetFile(local, read_dictionary=texts) as file:
                unfolded = 0
                for batch in file.iter_batches(columns=texts):
                    unfolded += sum(_characters(column) for column in batch.columns)
                    self._bound(path, unfolded)
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{local}: not a readable Parquet file ({error})") from None
        return read_table(local, columns)

    def _bound(self, path: Path, unfolded: int) -> None:
        if unfolded > UNFOLDED and self.name != WORKSPACE:
            raise InputError(
                f"{self.name}: {path}: unfolds to more than {UNFOLDED / 1e9:g} GB; check the revision out and compare "
                "the workspace"
            )

    def _place(self, path: Path) -> str:
        return str(self._repo.fs.join(self._repo.root_dir, path.as_posix()))

    def _tracked(self, path: Path) -> bool:
        """Whether the tree of the revision, or the folder of the workspace, has a file."""
        return bool(self._repo.fs.isfile(self._place(path)))

    def _content(self, path: Path) -> str | None:
        """The MD5 of a file of an output; None if no output has it."""
        if path.as_posix() in self._outs:
            return self._outs[path.as_posix()]
        for folder in path.parents:
            if found := self._listed(folder):
                return found.get(path.relative_to(folder).as_posix())
        return None

    def _listed(self, folder: Path) -> dict[str, str]:
        """The MD5 of each file of an output that is a folder, by its name in it; none where there is no such output."""
        if folder.as_posix() in self._folders:
            return self._folders[folder.as_posix()]
        md5 = self._outs.get(folder.as_posix(), "")
        if not md5.endswith(".dir"):
            return {}
        listing = self._object(md5, LISTINGS / md5, folder)
        if listing.stat().st_size > LARGEST:
            raise InputError(f"{self.name}: {folder}: a list of files larger than {LARGEST / 1e6:g} MB")
        try:
            found = _by_name(json.loads(listing.read_bytes()))
        except (ValueError, KeyError, TypeError, RecursionError):
            raise InputError(f"{self.name}: {folder}: its list of files is none; run dvc repro") from None
        for name, value in found.items():
            self._check_hash(f"{folder}/{name}", value)
        return found

    def _object(self, md5: str, path: Path, asked: Path) -> Path:
        """A copy, at `path`, of content of the cache or the remote, which is what its hash says."""
        if (local := self._local(path)).exists():
            return local
        cached = Path(self._repo.cache.local.oid_to_path(md5))
        try:
            if cached.is_file():
                where = str(cached)
                with cached.open("rb") as source:
                    copy = self._copy(source, path)
            else:
                store = self._repo.cloud.get_remote_odb(self._remote)
                where = f"{md5} at the remote"  # whose address may hold a password
                with store.fs.open(store.oid_to_path(md5), "rb") as source:
                    copy = self._copy(source, path)
        except InputError:
            raise
        except Exception:  # of whichever file system the remote is on
            local.unlink(missing_ok=True)
            raise self._absent(asked) from None
        with copy.open("rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        if found != md5.removesuffix(".dir"):
            copy.unlink()
            raise InputError(f"{self.name}: {asked}: damaged, {where} is not what its name says; remove that file")
        return copy

    def _copy(self, source: BinaryIO, path: Path) -> Path:
        """Copy a file, but no more than `MOST` bytes of all files of a revision, whose sizes anyone may have chosen."""
        local = self._local(path)
        local.parent.mkdir(parents=True, exist_ok=True)
        with local.open("wb") as copy:
            while piece := source.read(PIECE):
                copy.write(piece)
                self._left -= len(piece)
                if self._left < 0 and self.name != WORKSPACE:
                    raise InputError(
                        f"{self.name}: {path}: more than {MOST / 1e9:g} GB have to be fetched of this revision; check "
                        "it out and compare the workspace"
                    )
        return local

    def _local(self, path: Path) -> Path:
        local = (self._folder / path).resolve()
        if not local.is_relative_to(self._folder):
            raise InputError(f"{self.name}: {path} leads out of the repository")
        return local

    def _check_hash(self, path: str, value: Any) -> None:
        """Content lies in the cache under its hash, so that what is no hash could name any file of this machine."""
        if not (isinstance(value, str) and MD5.fullmatch(value)):
            raise InputError(f"{self.name}: {DVC_LOCK}: {path}: {value!a} is no MD5 hash")

    def _absent(self, path: Path) -> Absent:
        """Why a file cannot be read, and the step that makes it readable."""
        repro = "run dvc repro" if self.name == WORKSPACE else f"check out {self.name} and run dvc repro"
        if not any(place.as_posix() in self._outs | self._folders for place in (path, *path.parents)):
            never = "has not been made yet" if self.name == WORKSPACE else f"is not in its {DVC_LOCK}"
            return Absent(f"{self.name}: {path} {never}; {repro}")
        if self._remote is None:
            why = f"but not in the cache here, and no remote is set; {repro}"
        else:
            where = f"neither in the cache here nor at the remote {self._remote}"
            why = f"but {where}; run dvc push where it was reproduced, or {repro}"
        return Absent(f"{self.name}: {path} is in {DVC_LOCK} {why}")

    def names(self, folder: Path, pattern: str) -> list[Path]:
        """The files of a folder, in order; none if it is not in reach."""
        fs = self._repo.fs
        if fs.isdir(self._place(folder)):
            found = [str(name).rpartition("/")[2] for name in fs.ls(self._place(folder), detail=False)]
        else:
            try:
                found = list(self._listed(folder))
            except Absent:
                found = []
        return [folder / name for name in sorted(found) if "/" not in name and PurePosixPath(name).match(pattern)]

    @contextmanager
    def naming(self) -> Iterator[None]:
        """Errors inside name the revision and its file, not our copy."""
        try:
            yield
        except InputError as error:
            raise type(error)(str(error).replace(f"{self._folder}/", f"{self.name}: ")) from None
        except RecursionError:
            raise InputError(f"{self.name}: a file is nested too deeply to be read") from None


def _characters(column: pa.Array) -> int:
    """Bytes of the texts of a column, each as often as it stands there; those of lists are flattened."""
    while not isinstance(column, pa.DictionaryArray):
        column = column.flatten()
    return pc.sum(pc.binary_length(column.dictionary).take(column.indices)).as_py() or 0


def _by_name(files: list[dict[str, Any]]) -> dict[str, str]:
    return {str(file["relpath"]): file["md5"] for file in files}
