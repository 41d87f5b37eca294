"""All experiments of the branch, as many at once as there are processors."""

from collections.abc import Callable

import pandas as pd

from skiptrace.config.superposition import SuperpositionParams
from skiptrace.superposition import drawn, larger, levels, neurons, phase, sensing, sweeps, vectors
from skiptrace.superposition.geometry import kept
from skiptrace.superposition.outcome import Outcome
from skiptrace.workers import side_by_side

# Longest first, so that no processor waits for a long one at the end.
EXPERIMENTS: dict[str, Callable[[SuperpositionParams], Outcome]] = {
    "geometry": lambda p: levels.geometry(p.geometry, p.seed),
    "phase": lambda p: phase.phase(p.phase, p.seed),
    "norms": lambda p: sweeps.norms(p.norms, p.seed),
    "vectors": lambda p: vectors.vectors(p.vectors),
    "sensing": lambda p: sensing.sensing(p.sensing),
    "absolute": lambda p: neurons.absolute(p.absolute, p.seed),
    "five": lambda p: drawn.five(p.five, p.seed),
    "neurons": lambda p: neurons.neurons(p.neurons, p.seed),
    "pairs": lambda p: drawn.pairs(p.pairs, p.seed),
    "widths": lambda p: sweeps.widths(p.widths, p.seed),
    "larger": lambda p: own_weights(larger.larger(p.larger, p.seed), p),
}


def own_weights(outcome: Outcome, params: SuperpositionParams) -> Outcome:
    """Add `own_weights`: compressed sensing by the first model of each sparsity, its represented features only."""
    frames = []
    for index, sparsity in enumerate(params.larger.sparsities):
        W = outcome.weights["larger.W"][index * params.larger.seeds]
        frames.append(sensing.own_weights(W[:, kept(W)], params.sensing).assign(sparsity=sparsity))
    return outcome._replace(tables=outcome.tables | {"own_weights": pd.concat(frames, ignore_index=True)})


def one(name: str, params: SuperpositionParams) -> Outcome:
    """Run one experiment."""
    return EXPERIMENTS[name](params)


def run(params: SuperpositionParams) -> Outcome:
    """Run every experiment; return all tables and weights, in the order of their names."""
    outcomes = side_by_side(one, [(name, params) for name in EXPERIMENTS], "experiments")
    tables = {name: table for outcome in outcomes for name, table in outcome.tables.items()}
    weights = {name: weight for outcome in outcomes for name, weight in outcome.weights.items()}
    return Outcome(dict(sorted(tables.items())), dict(sorted(weights.items())))
