"""Almost-orthogonal vectors: how many fit, and how little random projections distort."""

import math

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from skiptrace.config.superposition import VectorsParams
from skiptrace.superposition.outcome import Outcome
from skiptrace.superposition.tables import DISTORTION

SLACK = 1e-3  # by how much a found set may exceed ε, for rounding
RATE = 0.25  # of the descent, per vector


def vectors(params: VectorsParams) -> Outcome:
    """Count vectors and measure projections.

    `vectors`: one row per dimension and ε, with what was found beside the bounds. `distortion`: one row per projection.
    """
    rows = []
    for d in params.dimensions:
        for epsilon in params.epsilons:
            rows.append(
                {
                    "d": d,
                    "epsilon": epsilon,
                    "optimised": most(d, epsilon, params),
                    "drawn": greedy(d, epsilon, params),
                    "largest": params.largest,
                    "exponential": exponential_bound(d, epsilon),
                    "johnson_lindenstrauss": jl_count(d, epsilon),
                    "welch": welch_count(d, epsilon),
                }
            )
    return Outcome({"vectors": pd.DataFrame(rows), "distortion": distortion(params)}, {})


def exponential_bound(d: int, epsilon: float) -> float:
    """The count below which random vectors succeed with positive probability: e^{dε²/4}.

    From P(|cos| > ε) ≤ 2e^{−dε²/2} and fewer than n²/2 pairs.
    """
    return math.exp(d * epsilon**2 / 4)


def jl_size(count: int | float, epsilon: float) -> int:
    """Dimensions into which `count` points embed with distances within 1 ± ε: m ≥ 4 ln N / (ε²/2 − ε³/3)."""
    return math.ceil(4 * math.log(count) / (epsilon**2 / 2 - epsilon**3 / 3))


def jl_count(d: int, epsilon: float) -> float:
    """The count for which `d` is that size."""
    return math.exp(d * (epsilon**2 / 2 - epsilon**3 / 3) / 4)


def welch(n: int, d: int) -> float:
    """The least possible largest |cos| of n unit vectors in d dimensions: √((n − d)/(d(n − 1))) (Welch 1974)."""
    return math.sqrt(max(0, n - d) / (d * (n - 1)))


def welch_count(d: int, epsilon: float) -> float:
    """The most vectors that Welch's bound allows: d(1 − ε²)/(1 − dε²), without limit once dε² ≥ 1."""
    return d * (1 - epsilon**2) / (1 - d * epsilon**2) if d * epsilon**2 < 1 else math.inf


def coherence(x: Float[Tensor, "n d"]) -> float:
    """The largest |cos| between two rows."""
    unit = x / x.norm(dim=1, keepdim=True)
    return float((unit @ unit.T).fill_diagonal_(0).abs().max())


def spread(n: int, d: int, epsilon: float, steps: int, generator: torch.Generator) -> bool:
    """Whether descent on Σ max(0, |cos| − ε)² finds n unit vectors in d dimensions with all |cos| ≤ ε."""
    x = torch.nn.functional.normalize(torch.randn(n, d, generator=generator), dim=1)
    aim = 0.99 * epsilon
    for step in range(steps):
        cosine = (x @ x.T).fill_diagonal_(0)
        size = cosine.abs()
        if step % 10 == 0 and float(size.max()) <= epsilon + SLACK:
            return True
        beyond = (size - aim).relu_() * cosine.sign()
        x = torch.nn.functional.normalize(x - 2 * RATE * (beyond @ x), dim=1)
    return coherence(x) <= epsilon + SLACK


def most(d: int, epsilon: float, params: VectorsParams) -> int:
    """The most vectors that `spread` finds, up to `largest`: doubling, then bisection."""
    generator = torch.Generator().manual_seed(params.seed)
    good, bad = min(d, params.largest), params.largest + 1
    while bad - good > max(1, good // 50):
        trial = min(2 * good, params.largest) if bad > params.largest else (good + bad) // 2
        if spread(trial, d, epsilon, params.steps, generator):
            good = trial
        else:
            bad = trial
    return good


def greedy(d: int, epsilon: float, params: VectorsParams) -> int:
    """Random vectors kept, of `draws` drawn, when their |cos| with all those kept before is at most ε."""
    generator = torch.Generator().manual_seed(params.seed)
    drawn = torch.nn.functional.normalize(torch.randn(params.draws, d, generator=generator), dim=1)
    count, chosen = 0, torch.empty(params.largest, d)
    while len(drawn) and count < params.largest:
        chosen[count] = drawn[0]
        drawn = drawn[(drawn @ drawn[0]).abs() <= epsilon]
        count += 1
    return count


def distortion(params: VectorsParams) -> pd.DataFrame:
    """Random projections of random points: relative error of squared distances, per number of dimensions.

    `expected` is √(2/m), the standard deviation under a Gaussian projection; `epsilon` is the ε whose
    Johnson–Lindenstrauss size is m, above which no pair should lie (none exists where m is too small).
    """
    generator = torch.Generator().manual_seed(params.seed)
    points = torch.randn(params.points, params.projected_from, generator=generator)
    exact = torch.pdist(points).square()
    rows = []
    for m in params.projections:
        projection = torch.randn(params.projected_from, m, generator=generator) / math.sqrt(m)
        error = (torch.pdist(points @ projection).square() / exact - 1).numpy()
        promised = next((e for e in np.arange(0.01, 1.0, 0.01) if jl_size(params.points, float(e)) <= m), math.nan)
        rows.append((m, float(np.sqrt((error**2).mean())), math.sqrt(2 / m), float(np.abs(error).max()), promised))
    return DISTORTION.frame(rows)
