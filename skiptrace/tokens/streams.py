"""Token streams on disk."""

from pathlib import Path

import numpy as np

from skiptrace.errors import InputError
from skiptrace.files import read_array

CHUNK = 2**22  # tokens that are looked at at once


def read_stream(path: Path, vocab_size: int) -> np.ndarray:
    """Memory-map a token stream `[n]`, all of whose ids are below `vocab_size`.

    Raises:
        InputError: the file is missing or damaged, is no stream of ids, or has an id beyond the vocabulary; names the
            first.
    """
    stream = read_array(path)
    if stream.ndim != 1 or stream.dtype.kind not in "iu":
        raise InputError(
            f"{path}: not a stream of token ids but {stream.dtype}{list(stream.shape)}; reproduce its stage"
        )
    for start in range(0, len(stream), CHUNK):
        part = stream[start : start + CHUNK]
        if int(part.min()) < 0 or int(part.max()) >= vocab_size:
            place = start + int(np.argmax((part < 0) | (part >= vocab_size)))
            raise InputError(
                f"{path}: token {place} is {stream[place]}, but the ids of its vocabulary run from 0 to "
                f"{vocab_size - 1}; reproduce its stage"
            )
    return stream
