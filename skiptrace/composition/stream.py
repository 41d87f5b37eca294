"""The residual stream as a place: how much room each writer uses, and which of them share it.

"A Mathematical Framework", section "Subspaces and Residual Stream Bandwidth".
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from skiptrace.arithmetic import on_one_thread, sqrt
from skiptrace.circuits.factored import Head, head_name
from skiptrace.composition import alignment
from skiptrace.composition.tables import OVERLAPS, WRITERS
from skiptrace.config.scoring import ScoringParams
from skiptrace.models.transformer import Transformer


def effective_rank(squares: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
    """How many directions are in use: exp of the entropy of the shares of squares (Roy & Vetterli 2007); 0 for none."""
    total = squares.sum(-1, keepdim=True)
    share = squares / total.clamp(min=torch.finfo(total.dtype).tiny)
    return torch.special.entr(share).sum(-1).exp() * (total[..., 0] > 0)


class Written(NamedTuple):
    """What one writer adds to the stream on text.

    `head` is None for the embedding; `frame` are orthonormal directions that hold a given share of the vectors.
    """

    name: str
    head: Head | None
    vectors: Float[Tensor, "n d_model"]
    frame: Float[Tensor, "d_model rank"]


class Stream(NamedTuple):
    """All writers in order, and the stream before each layer, at positions from 1 on, in float64."""

    writers: list[Written]
    before: list[Float[Tensor, "n d_model"]]


@torch.no_grad()
def on_text(
    model: Transformer, tokens: Int[Tensor, "batch ctx"], share: float, among: Sequence[Head] | None = None
) -> Stream:
    """Run the model and keep what everyone writes, or of the heads those `among` them."""
    x, pos = model.embed(tokens)

    def written(name: str, head: Head | None, vectors: Tensor) -> Written:
        flat = vectors[:, 1:].flatten(0, 1).double()
        return Written(name, head, flat, subspace(flat, share))

    writers, before = [written("embedding", None, x)], []
    for index, layer in enumerate(model.blocks):
        before.append(x[:, 1:].flatten(0, 1).double())
        outputs = layer.head_outputs(x, layer.pattern(x, pos))
        for h in range(model.n_heads):
            if among is None or (index, h) in among:
                writers.append(written(head_name((index, h)), (index, h), outputs[:, h]))
        x = layer.add(x, outputs.sum(1))
    return Stream(writers, before)


def subspace(vectors: Float[Tensor, "n d_model"], share: float) -> Float[Tensor, "d_model rank"]:
    """The fewest principal directions that hold `share` of the mean squared norm; none for nothing."""
    values, directions = on_one_thread(torch.linalg.eigh, vectors.T @ vectors)
    values, directions = values.flip(0).clamp(min=0), directions.flip(1)
    if values.sum() == 0:
        return directions[:, :0]
    kept = values.cumsum(0) / values.sum()
    return directions[:, : 1 + int((kept < share - 1e-12).sum())]


@torch.no_grad()
def writers(model: Transformer, stream: Stream, params: ScoringParams) -> pd.DataFrame:
    """How much of d_model each writer uses.

    `norm`: root mean square norm on text. `effective_rank`: of what it writes on text; `dimensions`: principal
    directions that hold `subspace_share` of it. `weights_effective_rank`: of W_E or W_OV alone, beside that of
    Gaussian matrices of the same shapes. `rank`: the most that the shapes allow.
    """
    nulls = {embedding: _rank_null(model, embedding, params) for embedding in (True, False)[: 1 + (model.n_layers > 0)]}
    rows = []
    for one in stream.writers:
        if one.head is None:
            sizes = alignment.writes(model.W_E[None]).sizes
        else:
            layer, head = model.blocks[one.head[0]], one.head[1]
            sizes = alignment.written(layer.W_V[head][None], layer.W_O[head][None]).sizes
        null = nulls[one.head is None]
        moment = one.vectors.T @ one.vectors
        rows.append(
            {
                "name": one.name,
                "norm": sqrt(on_one_thread(torch.mean, one.vectors.square().sum(1))).item(),
                "rank": sizes.shape[1],
                "effective_rank": effective_rank(on_one_thread(torch.linalg.eigvalsh, moment).clamp(min=0)).item(),
                "dimensions": one.frame.shape[1],
                "weights_effective_rank": effective_rank(sizes.square())[0].item(),
                "null_mean": null.mean.item(),
                "null_sd": null.sd.item(),
            }
        )
    return WRITERS.frame(rows)


RANK_DRAWS = 20  # the effective rank of a large random matrix hardly varies


def _rank_null(model: Transformer, embedding: bool, params: ScoringParams) -> alignment.Null:
    generator = torch.Generator().manual_seed(params.seed)
    chi = np.random.default_rng(params.seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(1, *shape, dtype=torch.float64, generator=generator)

    found = []
    for _ in range(RANK_DRAWS):
        if embedding:
            sizes = gaussian_sizes(model.d_vocab, model.d_model, chi)
        else:
            sizes = alignment.written(draw(model.d_model, model.d_head), draw(model.d_head, model.d_model)).sizes
        found.append(effective_rank(sizes.square()).flatten())
    return alignment.null_of(torch.cat(found))


def gaussian_sizes(rows: int, columns: int, generator: np.random.Generator) -> Float[Tensor, " rank"]:
    """Singular values of a Gaussian matrix, drawn from its triangular factor alone.

    That has independent χ on its diagonal and normal entries above it (Bartlett 1933), however many rows there are.
    """
    long, rank = max(rows, columns), min(rows, columns)
    triangle = np.triu(generator.standard_normal((rank, rank)), 1)
    np.fill_diagonal(triangle, np.sqrt(generator.chisquare(long - np.arange(rank))))
    return on_one_thread(torch.linalg.svdvals, torch.from_numpy(triangle))


@torch.no_grad()
def overlaps(model: Transformer, stream: Stream, params: ScoringParams) -> pd.DataFrame:
    """Mean squared cosine of the principal angles between what every two writers write on text.

    Of the subspaces that hold `subspace_share` of it, writers of nothing left out; the null is random subspaces of
    the same dimensions. z is null where one of them is the whole stream, since chance is then certainty.
    """
    found = [writer for writer in stream.writers if writer.frame.shape[1]]
    met = [(one, other) for i, one in enumerate(found) for other in found[:i]]
    if not met:
        return OVERLAPS.frame()
    ranks = [(one.frame.shape[1], other.frame.shape[1]) for one, other in met]
    nulls = alignment.random_overlaps(model.d_model, ranks, params.null_draws, params.seed)
    rows = []
    for (one, other), rank, null in zip(met, ranks, nulls, strict=True):
        overlap = (one.frame.T @ other.frame).square().sum() / min(rank)
        rows.append((one.name, other.name, overlap.item(), null.mean.item(), null.sd.item(), null.z(overlap).item()))
    return OVERLAPS.frame(rows)
