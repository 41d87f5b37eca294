"""Counts of heads by the cut-off that makes them, and copying called token by token."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Integer
from scipy.stats import binomtest

from skiptrace.circuits.scores import OWN_ROWS


class Interval(NamedTuple):
    """Both ends of a 95 % interval of a share."""

    low: float
    high: float


def wilson(share: float, n: int) -> Interval:
    """The 95 % score interval of a share of n trials (Wilson 1927)."""
    found = binomtest(round(share * n), n).proportion_ci(method="wilson")
    return Interval(float(found.low), float(found.high))


def own_first(heads: pd.DataFrame, d_vocab: int) -> pd.DataFrame:
    """Which heads put tokens first in their own OV row more often than chance: `name, share, low, high, beyond_chance`.

    The eigenvalue score sums over all tokens, so that a head that copies a few and lowers the others scores below zero;
    this share finds it. Tokens are taken as independent; chance is 1/V, and the interval has to lie above it.
    """
    n = min(d_vocab, OWN_ROWS)
    ends = [wilson(share, n) for share in heads["own_top1"]]
    low = np.array([end.low for end in ends])
    return pd.DataFrame(
        {
            "name": heads["name"].to_numpy(),
            "share": heads["own_top1"].to_numpy(),
            "low": low,
            "high": [end.high for end in ends],
            "beyond_chance": low > 1 / d_vocab,
        }
    )


def counted(
    scores: Float[np.ndarray, " heads"], cutoffs: Float[np.ndarray, " cutoffs"]
) -> Integer[np.ndarray, " cutoffs"]:
    """How many scores reach each cut-off."""
    return (scores[None, :] >= cutoffs[:, None]).sum(1)
