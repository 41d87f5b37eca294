"""Sticky dimensions: D* and D_i against density (section "The Geometry of Superposition")."""

import numpy as np
import pandas as pd
import torch

from skiptrace.config.superposition import GeometryParams
from skiptrace.superposition.features import Features
from skiptrace.superposition.geometry import KEPT, LINES, dimensionality, dimensions_per_feature
from skiptrace.superposition.outcome import Outcome, long
from skiptrace.superposition.tables import LEVELS
from skiptrace.superposition.toys import Kind, train
from skiptrace.superposition.training import plan

STICKY = {"one dimension each": 1.0, "two features per dimension": 0.5}


def geometry(params: GeometryParams, seed: int) -> Outcome:
    """Equally important features over a range of densities.

    `geometry`: one row per model and feature. `dstar`: one row per model. `levels`: the tests of `sticky` and `lines`.
    """
    density = torch.logspace(0, float(np.log10(params.lowest_density)), params.densities)
    importance = torch.ones(len(density), params.n_features)
    planned = plan(params, seed, params.n_hidden, importance, density)
    toys, losses = train(Kind(Features(params.n_features)), planned, "geometry")
    index = {
        "density": planned.density.numpy().astype(float),
        "seed": np.tile(np.arange(params.seeds), params.densities),
    }
    columns = {"norm": toys.W.norm(dim=1), "dimensionality": dimensionality(toys.W)}
    features = long(index, columns, "feature")
    dstar = pd.DataFrame(index | {"dstar": dimensions_per_feature(toys.W).numpy(), "loss": losses.numpy()})
    levels = pd.concat([sticky(dstar, params), lines(features, params, seed)], ignore_index=True)
    weights = {"geometry.W": toys.W, "geometry.b": toys.b}
    return Outcome({"geometry": features, "dstar": dstar, "levels": levels}, weights)


def sticky(dstar: pd.DataFrame, params: GeometryParams) -> pd.DataFrame:
    """How many models have D* within `sticky` of 1 and of 1/2.

    Null: as many models whose log D* falls evenly from the first to the last. A level is sticky when at least three
    models lie at it, and more than under the null.
    """
    values = dstar.sort_values("density", ascending=False)["dstar"].to_numpy()
    even = np.geomspace(values[0], values[-1], len(values))
    rows = []
    for name, level in STICKY.items():
        found, null = (int((np.abs(v - level) <= params.sticky).sum()) for v in (values, even))
        rows.append(("D*", name, level, params.sticky, found, float(null), 3, found >= 3 and found > null))
    return LEVELS.frame(rows)


def lines(features: pd.DataFrame, params: GeometryParams, seed: int) -> pd.DataFrame:
    """The most features of one model whose D_i is within `line_width` of each geometry's value.

    Null: the same count at `null_draws` levels drawn evenly between 1/4 and 1, its 95th percentile. A line is there
    when it holds at least `line_features` features, and more than the null.
    """
    shown = features[features["norm"] >= KEPT]
    groups = [np.sort(g.to_numpy()) for _, g in shown.groupby(["density", "seed"])["dimensionality"]]

    def most(level: float) -> int:
        low, high = level - params.line_width, level + params.line_width
        return max((int(np.searchsorted(g, high) - np.searchsorted(g, low)) for g in groups), default=0)

    drawn = np.random.default_rng(seed).uniform(0.25, 1, params.null_draws)
    null = float(np.quantile([most(level) for level in drawn], 0.95))
    rows = []
    for name, level in LINES.items():
        found = most(level)
        enough = found >= params.line_features and found > null
        rows.append(("D_i", name, level, params.line_width, found, null, params.line_features, enough))
    return LEVELS.frame(rows)
