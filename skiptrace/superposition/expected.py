"""The expected loss of a toy model of a few features, and its least values, without drawing inputs.

Toy Models of Superposition, section "Superposition as a Phase Change": x′ = ReLU(WᵀWx + b), features uniform in
[0, 1] with probability p, else 0.
"""

import functools
import math
from itertools import combinations
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

NODES = 6  # of Gauss and Legendre, per active feature but one, over which the integral is exact
ITERATIONS = 30  # of the descent to the least loss
HALVINGS = 12  # of its steps, until they lower the loss


class Ends(NamedTuple):
    """Where descent on the expected loss led, from every start in every cell."""

    W: Float[Tensor, "starts cells m n"]
    b: Float[Tensor, "starts cells n"]
    losses: Float[Tensor, "starts cells"]


def losses(
    W: Float[Tensor, "inst m n"],
    b: Float[Tensor, "inst n"],
    importance: Float[Tensor, "inst n"],
    density: Float[Tensor, " inst"],
) -> Float[Tensor, " inst"]:
    """E Σ_i I_i (x_i − x′_i)² as a sum over which features are active, each set with its probability.

    Over the last active feature the integral is exact, over the others it is a quadrature. It works in
    float64 and differentiates, so that rare features that meet count as often as they do.
    """
    W, b, importance, density = (t.double() for t in (W, b, importance, density))
    n, gram = W.shape[2], W.mT @ W
    found = (1 - density) ** n * (importance * b.relu().square()).sum(1)
    for count in range(1, n + 1):
        chance = density**count * (1 - density) ** (n - count)
        for active in combinations(range(n), count):
            found = found + chance * (importance * _given(gram, b, active)).sum(1)
    return found


def _given(gram: Float[Tensor, "inst n n"], b: Float[Tensor, "inst n"], active: tuple[int, ...]) -> Tensor:
    """E (x_i − ReLU(y_i))² of every output when exactly `active` are present: inst, n.

    Along the last feature y = base + slope·x is positive on one segment of [0, 1], and what is lost there is
    −(2 x_i y − y²), a polynomial of degree 2, for which two nodes are exact.
    """
    *outer, last = active
    at, weight = _grid(len(outer))
    base = torch.einsum("ink,kq->inq", gram[:, :, outer], at) + b[:, :, None]
    slope = gram[:, :, last, None].expand_as(base)
    crosses = (base > 0) != (base + slope > 0)
    crossing = torch.where(crosses, -base / torch.where(crosses, slope, 1), 0)
    low, high = torch.where(base > 0, 0, crossing), torch.where(base + slope > 0, 1, crossing)
    own = torch.zeros(gram.shape[1], at.shape[1], dtype=torch.float64)
    own[outer] = at
    total = torch.zeros_like(base)
    for side in (-1, 1):
        x = (low + high) / 2 + side * (high - low) / (2 * math.sqrt(3))
        y = base + slope * x
        target = own.expand_as(y).clone()
        target[:, last] = x[:, last]
        total = total + (high - low) / 2 * (2 * target * y - y.square())
    present = torch.zeros(gram.shape[1], dtype=torch.float64)
    present[list(active)] = 1 / 3
    return present - total @ weight


@functools.cache  # the nodes take longer than what they are for
def _grid(dimensions: int) -> tuple[Float[Tensor, "dimensions points"], Float[Tensor, " points"]]:
    """Points of the unit cube and their weights, which add up to 1."""
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    at = np.meshgrid(*[(nodes + 1) / 2] * dimensions)
    each = np.meshgrid(*[weights / 2] * dimensions)
    points = torch.tensor(np.array([a.flatten() for a in at])).reshape(dimensions, NODES**dimensions)
    return points, torch.tensor(np.prod([w.flatten() for w in each], axis=0)).reshape(NODES**dimensions)


def descend(
    W: Float[Tensor, "starts cells m n"],
    b: Float[Tensor, "starts cells n"],
    importance: Float[Tensor, "cells n"],
    density: Float[Tensor, " cells"],
) -> Ends:
    """Lower the expected loss over weights and biases from every start, by BFGS with halved steps, all at once."""
    starts, cells, m, n = W.shape
    weights, p = importance.repeat(starts, 1), density.repeat(starts)
    x = torch.cat([W.flatten(2), b], 2).flatten(0, 1).double()

    def value(x: Float[Tensor, "inst k"]) -> Float[Tensor, " inst"]:
        return losses(x[:, :-n].unflatten(1, (m, n)), x[:, -n:], weights, p)

    def slope(x: Float[Tensor, "inst k"]) -> tuple[Float[Tensor, " inst"], Float[Tensor, "inst k"]]:
        x = x.detach().requires_grad_()
        found = value(x)
        return found.detach(), torch.autograd.grad(found.sum(), x)[0]

    inverse = torch.eye(x.shape[1], dtype=x.dtype).repeat(len(x), 1, 1) / p.double()[:, None, None]
    here, gradient = slope(x)
    for _ in range(ITERATIONS):
        step = -(inverse @ gradient[:, :, None])[:, :, 0]
        falls = (step * gradient).sum(1)
        size = torch.ones_like(here)
        with torch.no_grad():
            for _ in range(HALVINGS):
                high = value(x + size[:, None] * step) > here + 1e-4 * size * falls
                if not high.any():
                    break
                size = torch.where(high, size / 2, size)
            moved = torch.where(high, 0, size)[:, None] * step
        here, after = slope(x + moved)
        inverse = _updated(inverse, moved, after - gradient)
        x, gradient = x + moved, after
    return Ends(
        x[:, :-n].unflatten(1, (m, n)).unflatten(0, (starts, cells)),
        x[:, -n:].unflatten(0, (starts, cells)),
        here.unflatten(0, (starts, cells)),
    )


def _updated(
    inverse: Float[Tensor, "inst k k"], moved: Float[Tensor, "inst k"], change: Float[Tensor, "inst k"]
) -> Float[Tensor, "inst k k"]:
    """BFGS: the inverse Hessian after a step that changed the gradient; as before where it did not curve upwards."""
    curved = (moved * change).sum(1)
    good = curved > 1e-12 * moved.norm(dim=1) * change.norm(dim=1)
    rho = torch.where(good, 1 / torch.where(good, curved, 1), 0)[:, None, None]
    left = torch.eye(moved.shape[1], dtype=moved.dtype) - rho * moved[:, :, None] * change[:, None]
    return left @ inverse @ left.mT + rho * moved[:, :, None] * moved[:, None]
