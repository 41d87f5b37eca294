"""What an experiment hands over: tables by name, and weights by name."""

from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor


class Outcome(NamedTuple):
    """The tables of an experiment, and the weights that they were measured on."""

    tables: dict[str, pd.DataFrame]
    weights: dict[str, Tensor]


def long(index: dict[str, np.ndarray], columns: dict[str, Tensor], last: str) -> pd.DataFrame:
    """One row per model and feature (or neuron): `index` holds a value per model, `columns` a matrix each.

    `last` names the column that numbers the second axis.
    """
    count, width = next(iter(columns.values())).shape
    frame = {name: np.repeat(values, width) for name, values in index.items()}
    frame[last] = np.tile(np.arange(width), count)
    return pd.DataFrame(frame | {name: matrix.flatten().numpy() for name, matrix in columns.items()})


def models(sparsities: tuple[float, ...], seeds: int, losses: Tensor) -> dict[str, np.ndarray]:
    """`sparsity`, `seed`, `loss` and `best` (least loss of its sparsity) of models laid out seeds side by side."""
    rows = losses.unflatten(0, (len(sparsities), seeds))
    least = torch.zeros_like(rows, dtype=torch.bool).scatter_(1, rows.argmin(1, keepdim=True), True)
    return {
        "sparsity": np.repeat(np.asarray(sparsities, dtype=float), seeds),
        "seed": np.tile(np.arange(seeds), len(sparsities)),
        "loss": losses.numpy(),
        "best": least.flatten().numpy(),
    }
