"""A model that lies in a folder, loaded once for all tasks of a process."""

import functools
from pathlib import Path

from skiptrace.models import checkpoint
from skiptrace.models.transformer import Transformer


def loaded(folder: Path) -> Transformer:
    """The model in a folder as it is now, one copy of it for all that read it in this process."""
    return _model(str(folder.resolve()), version(folder / "model.safetensors"))


def version(path: Path) -> tuple[int, ...]:
    """What changes with a file's content, in no time: each task asks, and to hash weights can take a second."""
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


# Workers stay alive between tasks; the version keeps them from a model that has changed since.
@functools.lru_cache(maxsize=1)
def _model(folder: str, version: tuple[int, ...]) -> Transformer:
    return checkpoint.load(Path(folder))
