"""Virtual weights: every writer of the residual stream against every reader after it.

"A Mathematical Framework", section "Virtual Weights and the Residual Stream as a Communication Channel".
"""

from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd
import torch

from skiptrace.arithmetic import on_one_thread
from skiptrace.circuits.factored import head_name
from skiptrace.composition import alignment
from skiptrace.composition.alignment import Directions
from skiptrace.config.composition import CompositionParams
from skiptrace.models.transformer import Transformer

COLUMNS = {
    "writer": "str",
    "reader": "str",
    "score": "float64",
    "null_mean": "float64",
    "null_sd": "float64",
    "z": "float64",
}


class _Group(NamedTuple):
    """Matrices of one shape: their names, the layer they belong to, and their directions."""

    names: list[str]
    layer: int
    directions: Directions


def _writers(model: Transformer) -> Iterator[_Group]:
    """W_E and W_pos stand before layer 0; positions are added to what queries and keys read alone."""
    yield _Group(["W_E"], -1, alignment.writes(model.W_E[None]))
    if model.n_layers:
        yield _Group(["W_pos"], -1, alignment.writes(model.W_pos[None]))
    for index, layer in enumerate(model.attention):
        yield _Group([f"{head_name((index, h))} W_O" for h in range(model.n_heads)], index, alignment.writes(layer.W_O))


def _readers(model: Transformer) -> Iterator[_Group]:
    for index, layer in enumerate(model.attention):
        for name in ("W_Q", "W_K", "W_V"):
            names = [f"{head_name((index, h))} {name}" for h in range(model.n_heads)]
            yield _Group(names, index, alignment.reads(getattr(layer, name)))
    # Singular values and left directions of a wide matrix are those of its triangular factor.
    yield _Group(
        ["W_U"], model.n_layers, alignment.reads(on_one_thread(torch.linalg.qr, model.W_U.double().T).R.T[None])
    )


@torch.no_grad()
def virtual_weights(model: Transformer, params: CompositionParams) -> pd.DataFrame:
    """‖W_write W_read‖/(‖W_write‖‖W_read‖) of every writer with every reader after it, null and z-score.

    The null turns the same weights at random against each other; its root mean square is 1/√d_model.
    """
    met = [
        (writers, readers)
        for writers in _writers(model)
        for readers in _readers(model)
        if writers.layer < readers.layer and (writers.names != ["W_pos"] or readers.names[0].endswith(("W_Q", "W_K")))
    ]
    pairs = [(writers.directions, readers.directions) for writers, readers in met]
    nulls = alignment.rotated(pairs, params.null_draws, params.seed)
    tables = []
    for (writers, readers), pair, null in zip(met, pairs, nulls, strict=True):
        found = alignment.scores(*pair).norm
        columns = {"score": found, "null_mean": null.mean, "null_sd": null.sd, "z": null.z(found)}
        index = pd.MultiIndex.from_product([writers.names, readers.names], names=["writer", "reader"])
        values = {k: v.flatten().numpy() for k, v in columns.items()}
        tables.append(pd.DataFrame(values, index=index).reset_index())
    return pd.concat(tables, ignore_index=True).astype(COLUMNS)
