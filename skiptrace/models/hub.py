"""Fetching checkpoints and tokenizers from the Hugging Face Hub: named files of one commit, once."""

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from skiptrace.config.repository import HUB, MODEL, TOKENIZER, Repository
from skiptrace.errors import InputError
from skiptrace.files import sha256
from skiptrace.models.tensors import BESIDE, INDEX, NAMES, SAFE, TORCH, parts

CONFIG = "config.json"
OF_TOKENIZERS = (
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "tokenizer_config.json",
)
FINAL = "final.pth"  # how a state dict after training is named beside those along the way


class Listed(NamedTuple):
    """A file of a repository: its size in bytes, and its SHA-256 where the hub knows it."""

    size: int
    sha256: str | None


def fetch(repository: Repository, purpose: str, folder: Path, scratch: Path, key: str) -> None:
    """Fetch the files of a repository for one purpose into `folder`, which is there whole or not at all.

    The purpose is `MODEL`, `TOKENIZER`, or the name of the one checkpoint that is meant. What an interrupted download
    left in `scratch` is continued. Errors begin with `key`.

    Raises:
        InputError: the revision is no commit, there is no network, the repository is missing, renamed, gated or without
            such files, the disk is full, or a file is not what the hub says.
    """
    if folder.is_dir():
        return
    name = f"{HUB}{repository.name}@{repository.revision}"
    with _one_line(f"{key}: {name}"):
        listed, commit, now = _listed(repository)
        if now != repository.name:
            raise InputError(f"the repository is named {now} now; write {HUB}{now}@{commit}")
        if not repository.pinned:
            raise InputError(f"a branch or tag, which may change; it is {HUB}{now}@{commit} today, write that")
        part = scratch / repository.folder(purpose.replace("/", "_"))
        files = _tokenizer(listed) if purpose == TOKENIZER else [*_checkpoint(listed, purpose)]
        _room(listed, files, part)
        got = [_download(repository, file, listed[file], part) for file in files]
        if files[-1].endswith(INDEX):
            more = sorted({path.name for path in parts(got[-1]).values()})
            _room(listed, more, part)
            got += [_download(repository, file, _entry(listed, file), part) for file in more]
    shutil.rmtree(part / "ready", ignore_errors=True)
    ready = part / "ready"
    ready.mkdir(parents=True)
    for path in got:
        os.replace(path, ready / path.name)
    folder.parent.mkdir(parents=True, exist_ok=True)
    os.replace(ready, folder)
    shutil.rmtree(part, ignore_errors=True)


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT")


def _listed(repository: Repository) -> tuple[dict[str, Listed], str, str]:
    """The files of a revision, its commit, and the name that the repository has now."""
    from huggingface_hub import HfApi

    info = HfApi(endpoint=_endpoint()).model_info(repository.name, revision=repository.revision, files_metadata=True)
    found = {f.rfilename: Listed(f.size or 0, f.lfs.sha256 if f.lfs else None) for f in info.siblings or ()}
    return found, str(info.sha), info.id


def _tokenizer(listed: dict[str, Listed]) -> list[str]:
    found = [file for file in OF_TOKENIZERS if file in listed]
    if "tokenizer.json" not in found and not {"vocab.json", "merges.txt"} <= {*found}:
        raise InputError("no tokenizer.json, nor vocab.json and merges.txt in the repository")
    return found


def _checkpoint(listed: dict[str, Listed], purpose: str) -> Iterator[str]:
    """config.json, if there is one, and the checkpoint."""
    if CONFIG in listed:
        yield CONFIG
    if purpose != MODEL:
        _entry(listed, purpose)
        if Path(purpose).suffix not in SAFE + TORCH and not purpose.endswith(INDEX):
            raise InputError(f"{purpose} has not the name of a checkpoint ({', '.join(SAFE + TORCH)})")
        yield purpose
        return
    known = next((file for file in NAMES if file in listed), None)
    if known is not None:
        yield known
        return
    for kind in (SAFE, TORCH):
        found = [f for f in sorted(listed) if "/" not in f and f.endswith(kind) and not f.startswith(BESIDE)]
        final = [f for f in found if f.endswith(FINAL)]
        if len(found) == 1 or len(final) == 1:
            yield (final or found)[0]
            return
        if found:
            raise InputError(f"several checkpoints, {', '.join(found)}; name the one that is meant with the key file")
    raise InputError(f"no checkpoint ({', '.join('*' + s for s in SAFE + TORCH)}) in the repository")


def _entry(listed: dict[str, Listed], file: str) -> Listed:
    if file not in listed:
        some = ", ".join(sorted(listed)[:8])
        raise InputError(f"no file {file} in the repository; there is {some}{', …' if len(listed) > 8 else ''}")
    return listed[file]


def _room(listed: dict[str, Listed], files: list[str], scratch: Path) -> None:
    scratch.mkdir(parents=True, exist_ok=True)
    size, free = sum(_entry(listed, file).size for file in files), shutil.disk_usage(scratch).free
    if size > free:
        raise InputError(f"{size / 1e9:.1f} GB to fetch, but the disk has {free / 1e9:.1f} GB left")


def _download(repository: Repository, file: str, entry: Listed, scratch: Path) -> Path:
    """A file in `scratch`; what an earlier process left of it is continued, as the client does not by itself."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils._headers import build_hf_headers

    path = scratch / Path(file).name
    url = hf_hub_url(repository.name, file, revision=repository.revision, endpoint=_endpoint())
    start = path.stat().st_size if path.exists() else 0
    start = start if start <= entry.size else 0
    with path.open("r+b" if start else "wb") as into:
        into.seek(start)
        http_get(url, into, resume_size=start, headers=build_hf_headers(), expected_size=entry.size)
    if entry.sha256 is not None and sha256(path) != entry.sha256:
        path.unlink()
        raise InputError(f"{file} arrived damaged: its SHA-256 is not what the hub says; run the same again")
    return path


@contextlib.contextmanager
def _one_line(what: str) -> Iterator[None]:
    """Errors of the client as one line that begins with `what`.

    Raises:
        InputError: any but an interruption.
    """
    from huggingface_hub import errors
    from huggingface_hub.utils import logging
    from huggingface_hub.utils.tqdm import disable_progress_bars

    logging.set_verbosity_error()
    if not sys.stderr.isatty():
        disable_progress_bars()
    try:
        yield
        return
    except InputError as error:
        raise InputError(f"{what}: {error}") from None
    except errors.GatedRepoError:
        said = "gated: accept its terms on its page, and give the client your token (hf auth login, or HF_TOKEN)"
    except errors.RepositoryNotFoundError:
        said = "no such repository, or a private one that needs your token (hf auth login, or HF_TOKEN)"
    except errors.RevisionNotFoundError:
        said = "the repository has no such revision"
    except errors.OfflineModeIsEnabled:
        said = "not fetched yet, and HF_HUB_OFFLINE is set; run once with a network"
    except errors.HfHubHTTPError as error:
        answer = getattr(error.response, "status_code", None)
        said = f"the hub answers {answer or 'nothing'} ({str(error).partition(chr(10))[0]}); try again later"
    except errors.HFValidationError as error:
        said = f"no name of a repository ({error})"
    except OSError as error:
        if error.errno is None or isinstance(error, ConnectionError | errors.LocalEntryNotFoundError):
            said = f"not fetched yet, and the hub cannot be reached ({error}); run it with a network"
        else:
            said = f"cannot be written ({error})"
    except Exception as error:  # the client's network library has a tree of errors of its own
        said = (
            f"not fetched yet, and the hub cannot be reached ({type(error).__name__}: {error}); run it with a network"
        )
    raise InputError(f"{what}: {said}")
