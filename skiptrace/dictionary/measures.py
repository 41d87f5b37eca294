"""What a dictionary is judged by, apart from what it is for."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from skiptrace.evidence.intervals import Estimate, clustered


class Statistics(NamedTuple):
    """L0: active entries per input. Dead: the share of entries that no input activates."""

    l0: float
    variance_explained: float
    dead_fraction: float


def living(f: Float[Tensor, "entries batch"]) -> Bool[Tensor, " entries"]:
    """The entries that at least one input activates."""
    return (f > 0).any(1)


def densities(f: Float[Tensor, "entries batch"]) -> Float[Tensor, " entries"]:
    """The share of inputs that activates each entry."""
    return (f > 0).float().mean(1)


def variance_explained(x: Float[Tensor, "d batch"], x_hat: Float[Tensor, "d batch"]) -> float:
    """1 − Σ‖x − x̂‖² / Σ‖x − x̄‖²: 0 for the mean of the inputs, 1 for the inputs themselves."""
    return float(1 - (x - x_hat).square().sum() / (x - x.mean(1, keepdim=True)).square().sum())


def statistics(
    x: Float[Tensor, "d batch"], x_hat: Float[Tensor, "d batch"], f: Float[Tensor, "entries batch"]
) -> Statistics:
    """The three numbers of one dictionary."""
    l0 = float((f > 0).sum(0).to(torch.float32).mean())
    return Statistics(l0, variance_explained(x, x_hat), float((~living(f)).float().mean()))


def recovered(
    reconstructed: Float[Tensor, " n"],
    original: Float[Tensor, " n"],
    ablated: Float[Tensor, " n"],
    document: Int[np.ndarray, " n"],
) -> Estimate:
    """(L_ablated − L_recon)/(L_ablated − L_orig): 1 when nothing is lost, 0 when as much as by ablating the site.

    L is the mean of losses at n positions; the interval of this ratio is linearised and clustered by document.
    """
    whole = (ablated - original).numpy()
    share = float((ablated - reconstructed).mean() / whole.mean())
    return clustered(share + ((ablated - reconstructed).numpy() - share * whole) / whole.mean(), document)
