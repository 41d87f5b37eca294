"""Virtual weights: every writer of the residual stream against every reader after it.

"A Mathematical Framework", section "Virtual Weights and the Residual Stream as a Communication Channel".
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pandas as pd
import torch

from skiptrace.arithmetic import on_one_thread
from skiptrace.circuits.factored import head_name
from skiptrace.composition import alignment
from skiptrace.composition.alignment import Directions
from skiptrace.composition.tables import VIRTUAL_WEIGHTS
from skiptrace.config.scoring import ScoringParams
from skiptrace.models.transformer import Transformer


class _Group(NamedTuple):
    """Matrices of one shape: which of the model's they are, their names, their layer, and their directions."""

    matrix: str
    names: list[str]
    layer: int
    directions: Directions


def _writers(model: Transformer) -> Iterator[_Group]:
    """W_E and W_pos stand before layer 0; positions, where they are vectors, are read by queries and keys alone."""
    yield _Group("W_E", ["W_E"], -1, alignment.writes(model.W_E[None]))
    if model.n_layers and not model.config.by_distance:
        yield _Group("W_pos", ["W_pos"], -1, alignment.writes(model.W_pos[None]))
    for index, layer in enumerate(model.blocks):
        names = [f"{head_name((index, h))} W_O" for h in range(model.n_heads)]
        yield _Group("W_O", names, index, alignment.writes(layer.W_O))


def _readers(model: Transformer) -> Iterator[_Group]:
    for index, layer in enumerate(model.blocks):
        for name in ("W_Q", "W_K", "W_V"):
            names = [f"{head_name((index, h))} {name}" for h in range(model.n_heads)]
            yield _Group(name, names, index, alignment.reads(getattr(layer, name)))
    # Singular values and left directions of a wide matrix are those of its triangular factor.
    triangular = on_one_thread(torch.linalg.qr, model.W_U.double().T).R
    yield _Group("W_U", ["W_U"], model.n_layers, alignment.reads(triangular.T[None]))


@torch.no_grad()
def virtual_weights(model: Transformer, params: ScoringParams) -> pd.DataFrame:
    """‖W_write W_read‖/(‖W_write‖‖W_read‖) of every writer with every reader after it, beside two nulls.

    `null_*` turns the same weights at random against each other; its root mean square is 1/√d_model.
    `impossible_max` is the largest score of the same two matrices in different heads of which the reader is not later:
    what trained weights share although nothing passes between them. It is null where no such pair exists, as for W_E,
    W_pos and W_U. `significant` is `null_sd` standard deviations above the first null, and above `impossible_max`
    where that exists; `below` is as far below the first null.
    """
    writing, reading = list(_writers(model)), list(_readers(model))
    met = [
        (writers, readers)
        for writers in writing
        for readers in reading
        if writers.layer < readers.layer and (writers.matrix != "W_pos" or readers.matrix in ("W_Q", "W_K"))
    ]
    largest = _impossible_max(writing, reading)
    pairs = [(writers.directions, readers.directions) for writers, readers in met]
    nulls = alignment.rotated(pairs, params.null_draws, params.seed)
    tables = []
    for (writers, readers), pair, null in zip(met, pairs, nulls, strict=True):
        found = alignment.norms(*pair)
        z, impossible = null.z(found), largest.get((writers.matrix, readers.matrix), math.nan)
        columns = {
            "score": found,
            "null_mean": null.mean,
            "null_sd": null.sd,
            "z": z,
            "impossible_max": torch.full_like(found, impossible),
            "significant": (z >= params.null_sd) & (math.isnan(impossible) | (found > impossible)),
            "below": z <= -params.null_sd,
        }
        index = pd.MultiIndex.from_product([writers.names, readers.names], names=["writer", "reader"])
        values = {k: v.flatten().numpy() for k, v in columns.items()}
        tables.append(pd.DataFrame(values, index=index).reset_index())
    return VIRTUAL_WEIGHTS.frame(pd.concat(tables, ignore_index=True))


def _impossible_max(writing: Sequence[_Group], reading: Sequence[_Group]) -> dict[tuple[str, str], float]:
    """The largest score of each writing and reading matrix over different heads of which the reader is not later."""
    largest: dict[tuple[str, str], float] = {}
    for writers in writing:
        for readers in reading:
            if readers.layer > writers.layer:
                continue
            norm = alignment.norms(writers.directions, readers.directions)
            if readers.layer == writers.layer:
                norm = norm[~torch.eye(len(norm), dtype=torch.bool)]
            key = (writers.matrix, readers.matrix)
            if norm.numel():
                largest[key] = max(largest.get(key, 0.0), norm.max().item())
    return largest
