"""Losses of a model on text, in nats per token."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int, Integer
from torch import Tensor

from skiptrace.arithmetic import on_one_thread
from skiptrace.models.transformer import Transformer
from skiptrace.models.windows import BOS_ID, context_starts, tiled_windows
from skiptrace.progress import progress

BATCH = 32
# The in-context-learning score compares a late with an early position: tokens 500 and 50 of a
# context of 512 in the paper, here the same fractions of whatever the context is.
LATE, EARLY = 500 / 512, 50 / 512


@torch.no_grad()
def window_losses(model: Transformer, tokens: Int[Tensor, "batch width"]) -> Float[Tensor, "batch targets"]:
    """The loss at each position from 1 on; nothing is predicted from BOS alone."""
    x = model.normalise(model.residual(tokens[:, :-1])[:, 1:])
    return model.losses(x.flatten(0, 1), tokens[:, 2:].flatten()).unflatten(0, x.shape[:2])


def mean_loss(model: Transformer, windows: Iterable[Int[Tensor, "batch width"]]) -> float:
    """The mean loss over all positions of all windows, in nats per token."""
    return on_one_thread(torch.mean, torch.cat([window_losses(model, w).flatten() for w in windows]).double()).item()


def losses_by_position(model: Transformer, stream: Integer[np.ndarray, " n"], most: int) -> pd.DataFrame:
    """Loss over a stream cut into contexts, at most so many (`LOSSES`).

    Every position has the same number of contexts, so the mean over rows is the loss per token.
    """
    windows = progress(tiled_windows(stream, model.n_ctx, BATCH, most), "valid loss")
    losses = torch.cat([window_losses(model, w) for w in windows]).double()
    n = len(losses)
    document = np.cumsum(np.asarray(stream) == BOS_ID)[context_starts(len(stream), model.n_ctx, most)]
    position = np.arange(1, model.n_ctx)
    late, early = (near(position, part, model.n_ctx) for part in (LATE, EARLY))
    learning = losses[:, late].mean(1) - losses[:, early].mean(1)
    error = losses.std(0, correction=0) / max(1, n) ** 0.5
    return pd.DataFrame(
        {
            "position": position,
            "loss": losses.mean(0).numpy(),
            "se": error.numpy(),
            "contexts": n,
            "mean_se": clustered_error(losses.mean(1).numpy(), document),
            "learning_se": clustered_error(learning.numpy(), document),
        }
    )


@torch.no_grad()
def norm_scales(model: Transformer, tokens: Int[Tensor, "batch ctx"]) -> tuple[list[float], list[float]]:
    """1/std of the layer norm before every layer and before W_U: mean and standard deviation over places from 1 on."""
    found: list[list[Tensor]] = [[] for _ in range(model.n_layers + 1)]
    for part in tokens.split(1):
        x, pos = model.embed(part)
        for each, layer in zip(found, [*model.blocks, None], strict=True):
            norm = model.norm if layer is None else layer.norm
            each.append(torch.ones_like(x[..., :1]) if norm is None else norm.scale(x))
            x = x if layer is None else layer.add(x, layer(x, pos))
    scales = [torch.cat(each)[:, 1:].double() for each in found]
    return [each.mean().item() for each in scales], [each.std().item() for each in scales]


def in_context_learning(position: Integer[np.ndarray, " n"], loss: Float[np.ndarray, " n"], n_ctx: int) -> float:
    """Loss late in the context minus loss early, nats (Olsson et al. 2022); below 0 is learning.

    Each of the two is a mean over the positions within n_ctx/32 of its fraction of the context.
    """
    late, early = (loss[near(position, part, n_ctx)].mean() for part in (LATE, EARLY))
    return float(late - early)


def near(position: Integer[np.ndarray, " n"], part: float, n_ctx: int) -> Bool[np.ndarray, " n"]:
    """The positions within n_ctx/32 of a fraction of the context."""
    return np.abs(position - part * n_ctx) <= max(1, n_ctx / 32)


def clustered_error(values: Float[np.ndarray, " n"], document: Integer[np.ndarray, " n"]) -> float:
    """Standard error of the mean of values of which those of one document are not independent; NaN for one document."""
    _, each = np.unique(document, return_inverse=True)
    sums = np.bincount(each, values - values.mean())
    n = len(sums)
    return float(np.sqrt((sums**2).sum() * n / (n - 1)) / len(values)) if n > 1 else float("nan")
