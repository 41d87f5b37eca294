"""Positions as numbers that are added to attention scores, one for each head and distance: ALiBi, and T5's."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor


def alibi(slopes: list[float], n_ctx: int) -> Float[Tensor, "n_heads n_ctx"]:
    """−slope · distance (Press et al. 2021): softmax ignores what the libraries add to that for all sources alike."""
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


def bucketed(
    tables: Sequence[Float[Tensor, "buckets n_heads"]], farthest: int, n_ctx: int
) -> Float[Tensor, "n_layers n_heads n_ctx"]:
    """What T5 adds at each distance, from the table of every layer: a number for each bucket of distances and head."""
    bucket = buckets(len(tables[0]), farthest, n_ctx)
    return torch.stack([table[bucket].T for table in tables])


def buckets(count: int, farthest: int, n_ctx: int) -> Int[Tensor, " n_ctx"]:
    """The bucket of each distance (Raffel et al. 2019, 2.1, of a causal model; even `count`, `farthest` > count/2).

    The first half are one distance each, the others grow as a geometric series up to `farthest`; the last has all
    beyond. In single precision, as the libraries compute them.
    """
    half, distance = count // 2, torch.arange(n_ctx)
    spread = torch.log(distance.clamp(min=1).float() / half) / math.log(farthest / half) * (count - half)
    return torch.where(distance < half, distance, (half + spread.long()).clamp(max=count - 1))
