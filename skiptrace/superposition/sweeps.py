"""More features than can be drawn: which are kept, how they interfere, and what a wide enough model costs instead."""

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from skiptrace.config.superposition import NormsParams, WidthsParams
from skiptrace.superposition.features import Features
from skiptrace.superposition.geometry import dimensionality, interference, kept
from skiptrace.superposition.outcome import Outcome, long, models
from skiptrace.superposition.toys import Kind, train
from skiptrace.superposition.training import importances, plan, train_sparsities


def norms(params: NormsParams, seed: int) -> Outcome:
    """‖W_i‖ and Σ_{j≠i}(Ŵ_i·W_j)² by sparsity (section "Demonstrating Superposition").

    `norms`: one row per model and feature.
    """
    frames = []
    weights: dict[str, Tensor] = {}
    for size, toy in (("small", params.small), ("large", params.large)):
        toys, losses = train_sparsities(Kind(Features(toy.n_features)), toy, seed, f"norms {size}")
        columns = {"norm": toys.W.norm(dim=1), "interference": interference(toys.W), "bias": toys.b}
        frames.append(
            long(models(toy.sparsities, toy.seeds, losses), columns, "feature").assign(size=size, n_hidden=toy.n_hidden)
        )
        weights |= {f"norms.{size}.W": toys.W, f"norms.{size}.b": toys.b}
    return Outcome({"norms": pd.concat(frames, ignore_index=True)}, weights)


def widths(params: WidthsParams, seed: int) -> Outcome:
    """One task at several widths, up to one dimension per feature: the way out that needs no decomposition.

    `widths`: one row per model: `loss`, `unexplained` (loss over that of predicting the mean), `kept`, mean
    `interference` of the kept features, `parameters` (weights and biases), `multiplications` per input.
    """
    n, cells = params.n_features, [(s, w) for s in params.sparsities for w in params.widths]
    density = 1 - torch.tensor([s for s, _ in cells])
    width = torch.tensor([float(w) for _, w in cells])
    importance = importances(params.importance, n).expand(len(cells), n)
    planned = plan(params, seed, params.n_hidden, importance, density)
    every = width.repeat_interleave(params.seeds)
    planned = planned._replace(widths=every)
    toys, losses = train(Kind(Features(n)), planned, "widths")
    present = kept(toys.W)
    mean = (planned.importance.sum(1) * (planned.density / 3 - planned.density.square() / 4)).numpy()
    shown = every.to(torch.int64).numpy()
    table = pd.DataFrame(
        {
            "sparsity": np.repeat([s for s, _ in cells], params.seeds),
            "width": shown,
            "seed": np.tile(np.arange(params.seeds), len(cells)),
            "loss": losses.numpy(),
            "unexplained": losses.numpy() / mean,
            "kept": present.sum(1).numpy(),
            "interference": ((interference(toys.W) * present).sum(1) / present.sum(1).clamp_min(1)).numpy(),
            "dimensionality": dimensionality(toys.W).mean(1).numpy(),
            "parameters": n * shown + n,
            "multiplications": 2 * n * shown,
        }
    )
    return Outcome({"widths": table}, {"widths.W": toys.W, "widths.b": toys.b})
