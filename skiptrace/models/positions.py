"""Positions: vectors that queries and keys read, and angles by which they are turned."""

import torch
from jaxtyping import Float
from torch import Tensor

from skiptrace.arithmetic import log, on_one_thread


def sinusoids(n_ctx: int, d_model: int) -> Float[Tensor, "n_ctx d_model"]:
    """Sine and cosine of each position at geometric wavelengths 2π … 10 000·2π (Vaswani 2017, 3.5)."""
    angle = torch.arange(n_ctx)[:, None] / 10_000 ** (torch.arange(0, d_model, 2) / d_model)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


def rotate(
    x: Float[Tensor, "*batch rows d_head"], cos: Float[Tensor, "*rows planes"], sin: Float[Tensor, "*rows planes"]
) -> Float[Tensor, "*batch rows d_head"]:
    """Turn rows by angles, given by cosine and sine, in planes of dimensions i and n + i: x R(θ) (Su et al. 2021)."""
    n = cos.shape[-1]
    one, two, rest = x.split([n, n, x.shape[-1] - 2 * n], -1)
    return torch.cat([one * cos - two * sin, two * cos + one * sin, rest], -1)


def turned(
    x: Float[Tensor, "*batch rows d_head"], frequencies: Float[Tensor, " planes"], first: int = 0
) -> Float[Tensor, "*batch rows d_head"]:
    """Queries or keys of consecutive places from `first` on, each turned by its angles."""
    places = torch.arange(first, first + x.shape[-2], device=x.device)
    angles = places[:, None] * frequencies
    return rotate(x, angles.cos(), angles.sin())


def turned_for(
    query: Float[Tensor, "*batch rows d_head"],
    frequencies: Float[Tensor, " planes"],
    farthest: int,
    offset: int | None = None,
) -> Float[Tensor, "*batch rows d_head"]:
    """Queries for sources `offset` places before, or by the mean of R(D), p(D) ∝ ln(1 + 1/D), up to `farthest`."""
    there = torch.arange(1, farthest + 1) if offset is None else torch.tensor([offset])
    share = log(1 + 1 / there.double())
    angles = there[:, None] * frequencies.double().cpu()
    mean = [on_one_thread(torch.matmul, share / share.sum(), wave).to(query) for wave in (angles.cos(), angles.sin())]
    return rotate(query, *mean)
