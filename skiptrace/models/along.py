"""The models that a training kept on its way."""

from collections.abc import Iterator
from pathlib import Path

from skiptrace.models import checkpoint
from skiptrace.models.transformer import Transformer
from skiptrace.progress import progress


def along(folder: Path) -> Iterator[tuple[int, Transformer]]:
    """(step, model) of every checkpoint below the folder of a model, in order."""
    for place in progress(sorted(folder.glob("checkpoints/step-*")), "checkpoints"):
        yield int(place.name.removeprefix("step-")), checkpoint.load(place)
