"""Positions as numbers that fall with distance: ALiBi (Press et al. 2021)."""

import torch
from jaxtyping import Float
from torch import Tensor


def distance_bias(slopes: list[float], n_ctx: int) -> Float[Tensor, "n_heads n_ctx"]:
    """−slope · distance for every head: softmax ignores what the libraries add to that for all sources alike."""
    return -torch.tensor(slopes)[:, None] * torch.arange(n_ctx)


def slopes(n_heads: int, steepest: float = 8.0) -> list[float]:
    """2^(−8 (h + 1)/n), as the paper has them for n heads, a power of two.

    Of another number of heads the first have those of the power of two below it, and the others every second one of
    the power above.
    """
    below = 1 << (n_heads.bit_length() - 1)
    first = [2.0 ** (-steepest * (h + 1) / below) for h in range(below)]
    return first + [2.0 ** (-steepest * (2 * h + 1) / (2 * below)) for h in range(n_heads - below)]


def slopes_in_turn(n_heads: int, steepest: float) -> list[float]:
    """Those of MPT: of another number of heads, every second one of the power of two above, then the others."""
    above = 1 << (n_heads - 1).bit_length()
    every = [2.0 ** (-steepest * (h + 1) / above) for h in range(above)]
    return every if above == n_heads else [*every[1::2], *every[::2]][:n_heads]
