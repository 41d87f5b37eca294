"""Means with intervals where values of one document, or of one source, are not independent."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer
from scipy.stats import t

CONFIDENCE = 0.95


class Estimate(NamedTuple):
    """A mean with its 95 % interval, over how many values of how many clusters, such as documents."""

    mean: float
    low: float
    high: float
    values: int
    clusters: int


def clustered(
    values: Float[np.ndarray, " n"], cluster: Integer[np.ndarray, " n"], group: Integer[np.ndarray, " n"] | None = None
) -> Estimate:
    """The mean of values, or of the means of groups of them, with errors clustered.

    t-interval with one degree of freedom less than there are clusters; infinite for a single cluster, NaN for none.
    """
    if not len(values):
        return Estimate(math.nan, math.nan, math.nan, 0, 0)
    _, inside = np.unique(np.zeros(len(values)) if group is None else group, return_inverse=True)
    size = np.bincount(inside)
    means = np.bincount(inside, values) / size
    weight = 1 / (size[inside] * len(size))
    _, each = np.unique(cluster, return_inverse=True)
    sums = np.bincount(each, weight * (values - means[inside]))
    n = len(sums)
    half = float("inf")
    if n > 1:
        half = float(t.ppf((1 + CONFIDENCE) / 2, n - 1) * np.sqrt((sums**2).sum() * n / (n - 1)))
    mean = float(means.mean())
    return Estimate(mean, mean - half, mean + half, len(values), n)
