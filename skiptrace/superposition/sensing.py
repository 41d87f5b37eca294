"""Compressed sensing: sparse vectors from few measurements."""

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.optimize import linprog, minimize_scalar
from scipy.stats import norm
from torch import Tensor

from skiptrace.config.superposition import SensingParams
from skiptrace.superposition.outcome import Outcome
from skiptrace.superposition.tables import OWN_WEIGHTS, SENSING

RECOVERED = 1e-4  # relative error below which a vector counts as recovered


def sensing(params: SensingParams) -> Outcome:
    """`sensing`: share of k-sparse signed vectors that basis pursuit recovers from m Gaussian measurements."""
    rows = []
    for m in params.measurements:
        for k in params.active:
            rng = np.random.default_rng([params.seed, m, k])
            hits = [_trial(rng.normal(size=(m, params.n)), k, rng, signed=True) for _ in range(params.trials)]
            rows.append((params.n, m, k, params.trials, float(np.mean(hits)), transition(k / params.n, True)))
    return Outcome({"sensing": SENSING.frame(rows)}, {})


def own_weights(W: Float[Tensor, "m n"], params: SensingParams) -> pd.DataFrame:
    """The same on a toy model's W, whose features are not negative: h = Wx, beside a Gaussian matrix of its shape.

    One row per number of active features: `toy` and `gaussian`, the shares recovered.
    """
    m, n = W.shape
    matrix, rows = W.double().numpy(), []
    for k in (k for k in params.active if k <= n):
        rng = np.random.default_rng([params.seed, k])
        toy = [_trial(matrix, k, rng, signed=False) for _ in range(params.toy_trials)]
        gaussian = [_trial(rng.normal(size=(m, n)), k, rng, signed=False) for _ in range(params.toy_trials)]
        share = transition(k / n, False)
        rows.append((m, n, k, params.toy_trials, float(np.mean(toy)), float(np.mean(gaussian)), share))
    return pd.DataFrame(rows, columns=OWN_WEIGHTS.names[:-1])


def recover(A: Float[np.ndarray, "m n"], h: Float[np.ndarray, " m"], signed: bool) -> Float[np.ndarray, " n"]:
    """Basis pursuit: the x of least ‖x‖₁ with Ax = h, by linear programming (HiGHS); x ≥ 0 unless `signed`."""
    n = A.shape[1]
    both = np.hstack([A, -A]) if signed else A
    found = linprog(np.ones(both.shape[1]), A_eq=both, b_eq=h, method="highs")
    x = found.x if found.status == 0 else np.zeros(both.shape[1])
    return x[:n] - x[n:] if signed else x


def transition(share: float, signed: bool) -> float:
    """The measurements per unknown, m/n, at which recovery of a share k/n of nonzeros sets in, for large n.

    ψ(ρ) = min_τ ρ(1 + τ²) + (1 − ρ) c ∫_τ^∞ (u − τ)² φ(u) du with c = 2, or c = 1 when x ≥ 0 is known
    (Amelunxen, Lotz, McCoy and Tropp 2014, Proposition 4.5).
    """
    sides = 2 if signed else 1

    def size(tau: float) -> float:
        tail = (1 + tau**2) * norm.sf(tau) - tau * norm.pdf(tau)
        return share * (1 + tau**2) + (1 - share) * sides * tail

    return float(minimize_scalar(size, bounds=(-10 if not signed else 0, 10), method="bounded").fun)


def _trial(A: Float[np.ndarray, "m n"], k: int, rng: np.random.Generator, signed: bool) -> bool:
    x = np.zeros(A.shape[1])
    values = rng.normal(size=k) if signed else rng.uniform(size=k)
    x[rng.choice(A.shape[1], k, replace=False)] = values
    return bool(np.linalg.norm(recover(A, A @ x, signed) - x) <= RECOVERED * np.linalg.norm(x))
