"""Muon: momentum whose direction is replaced by the nearest orthogonal matrix (Jordan 2024).

torch.optim.Muon orthogonalises in bfloat16, whose products have other bytes on every kind of processor. This is the
same update in the precision of the gradient.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from skiptrace.arithmetic import sqrt

MOMENTUM = 0.95
STEPS = 5
QUINTIC = (3.4445, -4.7750, 2.0315)  # a, b, c of p(s) = a s + b s³ + c s⁵: steepest at 0, within 0.7 … 1.2 near 1


def orthogonalised(gradient: Float[Tensor, "n m"]) -> Float[Tensor, "n m"]:
    """U S′ Vᵀ of a gradient U S Vᵀ, with every singular value brought near 1 by five Newton–Schulz steps.

    X ← a X + (b G + c G²) X with G = X Xᵀ applies p to the singular values, which the norm first puts below 1.
    """
    a, b, c = QUINTIC
    tall = gradient.shape[0] > gradient.shape[1]
    x = gradient.T if tall else gradient
    x = x / sqrt(x.square().sum(1).sum()).clamp(min=1e-7)
    for _ in range(STEPS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised; the step of an n × m matrix is lr·√max(1, n/m)."""

    def __init__(self, weights: Iterable[torch.nn.Parameter], lr: float, weight_decay: float) -> None:
        super().__init__(weights, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Take one step; weights decay by weight_decay per unit of lr."""
        for group in self.param_groups:
            lr, decay = group["lr"], group["weight_decay"]
            for weight in group["params"]:
                state: dict[str, Any] = self.state[weight]
                momentum = state.setdefault("momentum_buffer", torch.zeros_like(weight))
                momentum.lerp_(weight.grad, 1 - MOMENTUM)
                update = orthogonalised(weight.grad.lerp(momentum, MOMENTUM))
                rows, columns = weight.shape
                weight.mul_(1 - lr * decay).add_(update, alpha=-lr * math.sqrt(max(1.0, rows / columns)))
