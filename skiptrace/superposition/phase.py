"""Phase diagrams: trained models over density and importance, beside the exact optimum.

Toy Models of Superposition, section "Superposition as a Phase Change".
"""

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from skiptrace.config.superposition import PhaseParams
from skiptrace.superposition import expected, theory
from skiptrace.superposition.features import Features
from skiptrace.superposition.geometry import interference
from skiptrace.superposition.outcome import Outcome
from skiptrace.superposition.toys import Kind, train
from skiptrace.superposition.training import best, plan

TIE = 1e-3  # configurations whose least losses differ by no more, relatively, are equally good
NUDGE = 0.03  # standard deviation of what the ideal weights are moved by, since they stand on saddle points


def phase(params: PhaseParams, seed: int) -> Outcome:
    """Two features in one dimension and three in two; the last feature's importance varies.

    `phase`: one row per cell: the best of the seeds (`loss`, expected exactly; `norm` and `interference` of the extra
    feature; `trained` configuration) beside the optimum over weights and biases (`expected` configuration,
    `expected_loss`), whether they agree, and the theory of fixed ideal weights (`ideal`, `ideal_loss`).
    """
    density = torch.logspace(0, float(np.log10(params.lowest_density)), params.cells)
    reach = float(np.log10(params.highest_importance))
    ratio = torch.logspace(-reach, reach, params.cells)
    p, r = (t.flatten() for t in torch.meshgrid(density, ratio, indexing="ij"))
    frames = []
    weights: dict[str, Tensor] = {}
    for n in theory.CONFIGURATIONS:
        importance = torch.ones(len(p), n)
        importance[:, -1] = r
        planned = plan(params, seed, n - 1, importance, p)
        toys = train(Kind(Features(n)), planned, f"phase n={n}").toys
        losses = expected.losses(toys.W, toys.b, planned.importance, planned.density).float()
        chosen = best(losses, params.seeds)
        W, b = toys.W[chosen], toys.b[chosen]
        found = theory.configuration(W)
        ends = optima(W, b, importance, p, seed)
        least = ends.losses.min(0)
        at_ends = theory.configuration(ends.W.flatten(0, 1).float()).unflatten(0, ends.losses.shape)
        as_good = ends.losses <= (1 + TIE) * least.values
        optimal = at_ends.gather(0, least.indices[None])[0]
        ideal = theory.losses(n, p, r).min(0)
        names = np.array([*theory.CONFIGURATIONS[n], theory.OTHER])
        frame = pd.DataFrame(
            {
                "n": n,
                "density": p.numpy(),
                "importance": r.numpy(),
                "loss": losses[chosen].numpy(),
                "norm": W[:, :, -1].norm(dim=1).numpy(),
                "interference": interference(W)[:, -1].numpy(),
                "trained": names[found.numpy()],
                "expected": names[optimal.numpy()],
                "expected_loss": least.values.float().numpy(),
                "agrees": ((at_ends == found) & as_good).any(0).numpy(),
                "ideal": names[ideal.indices.numpy()],
                "ideal_loss": ideal.values.numpy(),
            }
        )
        frames.append(frame)
        weights |= {f"phase.{n}.W": W, f"phase.{n}.b": b}
    return Outcome({"phase": pd.concat(frames, ignore_index=True)}, weights)


def optima(
    W: Float[Tensor, "cells m n"],
    b: Float[Tensor, "cells n"],
    importance: Float[Tensor, "cells n"],
    density: Float[Tensor, " cells"],
    seed: int,
) -> expected.Ends:
    """Descend from the ideal weights of every configuration, and from the trained ones, which come last."""
    ideal = theory.IDEAL[W.shape[2]]
    starts = ideal[:, None].expand(-1, *W.shape)
    nudge = NUDGE * torch.randn(starts.shape, generator=torch.Generator().manual_seed(seed))
    left_out = (ideal.norm(dim=1) == 0)[:, None] * density[None, :, None] / 2
    return expected.descend(torch.cat([starts + nudge, W[None]]), torch.cat([left_out, b[None]]), importance, density)


def apex(cells: pd.DataFrame) -> theory.TriplePoint:
    """Where the antipodal region of a phase diagram of two features ends, in a grid of `density` and `importance`.

    The triple point: halfway (in logarithms) between the highest density with an antipodal cell and the next,
    at the mean importance of the antipodal cells there.
    """
    shared = cells[cells["trained"] == theory.CONFIGURATIONS[2][2]]
    if shared.empty:
        return theory.TriplePoint(float("nan"), float("nan"))
    highest = shared["density"].max()
    above = cells.loc[cells["density"] > highest, "density"].min()
    density = np.sqrt(highest * above) if np.isfinite(above) else highest
    importance = np.exp(np.log(shared.loc[shared["density"] == highest, "importance"]).mean())
    return theory.TriplePoint(float(importance), float(density))


def boundary_line(n: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The borders of the theory's phase diagram of n features, as lines (importance, density)."""
    low, high = np.geomspace(0.01, 1, 200), np.geomspace(1, 100, 200)
    above = np.array([theory.boundary(r) for r in high]) if n == 2 else np.full(200, theory.TRIPLE.density)
    upright = (np.ones(2), np.array([theory.TRIPLE.density, 1.0]))
    lines = [(low, np.array([theory.boundary(r) for r in low])), (high, above), upright]
    # Three features in two dimensions: below, which pair shares is decided by the importance alone.
    return lines if n == 2 else [*lines, (np.ones(2), np.array([1e-6, theory.TRIPLE.density]))]
