"""Cutting a token stream into contexts.

A window is one token wider than a context: its first n_ctx tokens are read, its last n_ctx predicted.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from jaxtyping import Int, Integer
from torch import Tensor

from skiptrace.errors import InputError

# Every context begins with this token, the start of a document, so that heads with nothing to
# move have a place to rest. It is never predicted from: the loss begins at position 1.
BOS_ID = 0


def require_context(streams: Mapping[str, Integer[np.ndarray, " n"]], n_ctx: int, corpus: str, model: str) -> None:
    """Check that every split of a corpus has the text of at least one context of a model.

    Raises:
        InputError: one, by its name in `streams`, is shorter.
    """
    for split, stream in streams.items():
        if len(stream) < n_ctx:
            raise InputError(
                f"corpora.{corpus}: its {split} split has {len(stream)} tokens, fewer than one "
                f"context of models.{model}.n_ctx = {n_ctx}; add text or lower n_ctx"
            )


def window(
    stream: Integer[np.ndarray, " n"], starts: Integer[np.ndarray, " batch"], n_ctx: int
) -> Int[Tensor, "batch width"]:
    """BOS and then `n_ctx` tokens of the stream from each start."""
    rows = np.asarray(stream)[starts[:, None] + np.arange(n_ctx)].astype(np.int64)
    return torch.from_numpy(np.pad(rows, ((0, 0), (1, 0)), constant_values=BOS_ID))


def random_windows(
    stream: Integer[np.ndarray, " n"], n_ctx: int, batch: int, seed: int, step: int
) -> Int[Tensor, "batch width"]:
    """The training batch of one step: a function of seed and step alone, so that training can resume."""
    generator = np.random.default_rng([seed, step])
    return window(stream, generator.integers(0, len(stream) - n_ctx + 1, batch), n_ctx)


def spread_windows(stream: Integer[np.ndarray, " n"], n_ctx: int, count: int) -> Int[Tensor, "batch width"]:
    """`count` windows at even distances over the whole stream: a sample of all its documents."""
    starts = np.linspace(0, len(stream) - n_ctx, count).astype(np.int64)
    return window(stream, starts, n_ctx)


def context_starts(length: int, n_ctx: int, most: int | None = None) -> Integer[np.ndarray, " contexts"]:
    """Where the contexts of `tiled_windows` begin in a stream of so many tokens."""
    starts = np.arange(0, length - n_ctx + 1, n_ctx - 1)
    return starts if most is None or most >= len(starts) else starts[np.arange(most) * len(starts) // most]


def tiled_windows(
    stream: Integer[np.ndarray, " n"], n_ctx: int, batch: int, most: int | None = None
) -> Iterator[Int[Tensor, "batch width"]]:
    """The stream in contexts that overlap by one token: each token but the first is a target once.

    What is left at the end, shorter than a context, is left out. Of more than `most`, so many at even distances.
    """
    starts = context_starts(len(stream), n_ctx, most)
    for first in range(0, len(starts), batch):
        yield window(stream, starts[first : first + batch], n_ctx)
