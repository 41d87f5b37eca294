"""Exact losses of the ways to hold features in too few dimensions.

Toy Models of Superposition, section "Superposition as a Phase Change".
Features are uniform in [0, 1] with probability p, else 0. The last feature has importance r, the others 1. The
weights are the ideal ones of the paper's theory: unit columns, and the best constant for a feature that is left out.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from skiptrace.superposition.geometry import cosines, kept

ANTIPODAL = -0.7  # cosine below which two features share a dimension


class TriplePoint(NamedTuple):
    """Where leaving out either feature and an antipodal pair cost the same."""

    importance: float
    density: float


TRIPLE = TriplePoint(1.0, 4 / 7)

# The configurations of each size; the extra feature is the last.
CONFIGURATIONS = {
    2: ("extra left out", "other left out", "antipodal with extra"),
    3: ("extra left out", "other left out", "antipodal with extra", "others antipodal"),
}
OTHER = "another"
# Their ideal weights; a feature left out, whose column is zero, has its mean p/2 for a bias.
IDEAL = {
    2: torch.tensor([[[1.0, 0]], [[0, 1.0]], [[1.0, -1.0]]]),
    3: torch.tensor(
        [[[1.0, 0, 0], [0, 1, 0]], [[1.0, 0, 0], [0, 0, 1]], [[1.0, 0, 0], [0, 1, -1]], [[1.0, -1, 0], [0, 0, 1]]]
    ),
}


def left_out(p: Float[Tensor, "*k"]) -> Float[Tensor, "*k"]:
    """Var x = p/3 − p²/4: what a feature of importance 1 costs when a constant stands for it."""
    return p / 3 - p.square() / 4


def shared(p: Float[Tensor, "*k"]) -> Float[Tensor, "*k"]:
    """p² E[min(x₁, x₂)²] = p²/6: what a feature costs whose dimension holds another with opposite sign.

    x₁′ = ReLU(x₁ − x₂) is wrong only when both are present, and then by min(x₁, x₂).
    """
    return p.square() / 6


def losses(n: int, p: Float[Tensor, "*k"], r: Float[Tensor, "*k"]) -> Float[Tensor, "configurations *k"]:
    """The loss of each of `CONFIGURATIONS[n]` with n − 1 dimensions.

    What is not left out and shares with none costs nothing.
    """
    every = [r * left_out(p), left_out(p), (1 + r) * shared(p)]
    if n == 3:
        every.append(2 * shared(p))
    return torch.stack(every)


def boundary(r: float) -> float:
    """The density below which an antipodal pair beats leaving out the lesser of two features.

    From r(p/3 − p²/4) = (1 + r)p²/6 for r ≤ 1, and with r and 1 exchanged above.
    """
    return 4 * r / (2 + 5 * r) if r <= 1 else 4 / (5 + 2 * r)


def configuration(W: Float[Tensor, "inst m n"]) -> Int[Tensor, " inst"]:
    """The index of each trained model in `CONFIGURATIONS[n]`, or −1 for something else."""
    n = W.shape[-1]
    present, cosine = kept(W), cosines(W)
    others = present[:, :-1]
    found = torch.full((len(W),), -1)
    found[others.all(1) & ~present[:, -1]] = 0
    found[(others.sum(1) == n - 2) & present[:, -1]] = 1
    found[present.all(1) & (cosine[:, :-1, -1] < ANTIPODAL).any(1)] = 2
    if n == 3:
        found[present.all(1) & (cosine[:, 0, 1] < ANTIPODAL)] = 3
    return found
