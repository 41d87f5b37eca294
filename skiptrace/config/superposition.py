"""`superposition`: toy models and the mathematics around them, one key per experiment."""

from typing import Annotated, Any

from pydantic import Field, model_validator

from skiptrace.config.base import Params

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
Sparsity = Annotated[float, Field(ge=0, le=1)]
Epsilon = Annotated[float, Field(gt=0, lt=1)]
Density = Annotated[float, Field(gt=0, le=1)]


class TrainingParams(Params):
    """How the toy models of an experiment are trained, all at once."""

    seeds: Count = Field(description="models per sparsity (or per cell), which differ in their initial weights")
    steps: Count = Field(description="optimiser steps; the papers take 10 000 at a tenth of the rate")
    batch_size: Count = Field(description="inputs per step that hold at least one feature")
    learning_rate: Positive = Field(description="peak learning rate of AdamW, which falls to zero along half a cosine")


class ToyParams(TrainingParams):
    """Toy models of one shape at several sparsities; feature i has importance `importance`^i."""

    n_features: Annotated[int, Field(ge=2)] = Field(description="features of the input")
    n_hidden: Count = Field(description="hidden dimensions")
    importance: Annotated[float, Field(gt=0, le=1)] = Field(description="feature i weighs importance^i in the loss")
    sparsities: Annotated[tuple[Sparsity, ...], Field(strict=False, min_length=1)] = Field(
        description="how often a feature is 0, from 0 to below 1"
    )

    @model_validator(mode="after")
    def _fits(self) -> "ToyParams":
        if self.n_hidden > self.n_features:
            raise ValueError(f"n_hidden {self.n_hidden} exceeds n_features {self.n_features}")
        if max(self.sparsities) == 1:
            raise ValueError("sparsities: a feature of sparsity 1 never appears; stay below 1")
        return self


class DrawnParams(ToyParams):
    """Toy models whose features are drawn as arrows in the plane."""

    @model_validator(mode="after")
    def _flat(self) -> "DrawnParams":
        if self.n_hidden != 2:
            raise ValueError(f"n_hidden must be 2, so that features can be drawn, not {self.n_hidden}")
        return self


class PairsParams(DrawnParams):
    """Toy models whose features come in pairs."""

    @model_validator(mode="after")
    def _even(self) -> "PairsParams":
        if self.n_features % 2:
            raise ValueError(f"n_features must be even for features in pairs, not {self.n_features}")
        return self


class NormsParams(Params):
    """More features than can be drawn: two sizes."""

    small: ToyParams = Field(description="the papers' smaller size")
    large: ToyParams = Field(description="the papers' larger size")


class PhaseParams(TrainingParams):
    """A square of models: `cells` densities from 1 to `lowest_density` by as many importances from 1/r to r."""

    cells: Annotated[int, Field(ge=2)] = Field(description="densities, and importances, on the sides of the diagram")
    lowest_density: Density = Field(description="least 1 - sparsity; the densities run from 1 down to it")
    highest_importance: Annotated[float, Field(gt=1)] = Field(description="of the last feature; the others have 1")


class GeometryParams(TrainingParams):
    """Equally important features at `densities` densities from 1 to `lowest_density`."""

    n_features: Annotated[int, Field(ge=2)] = Field(description="features of the input")
    n_hidden: Count = Field(description="hidden dimensions")
    densities: Annotated[int, Field(ge=2)] = Field(description="densities of the sweep, evenly spaced in logarithms")
    lowest_density: Density = Field(description="least 1 - sparsity; the densities run from 1 down to it")
    sticky: Positive = Field(description="D* within this of a level lies at it")
    line_width: Positive = Field(description="D_i within this of a level lies on its line")
    line_features: Count = Field(description="features of one model that make a line")
    null_draws: Annotated[int, Field(ge=2)] = Field(description="random levels that lines are compared with")

    @model_validator(mode="after")
    def _fits(self) -> "GeometryParams":
        if self.n_hidden > self.n_features:
            raise ValueError(f"n_hidden {self.n_hidden} exceeds n_features {self.n_features}")
        return self


class NeuronsParams(ToyParams):
    """Toy models with a hidden ReLU beside linear ones; `own_share` makes a neuron monosemantic."""

    own_share: Annotated[float, Field(gt=0.5, lt=1)] = Field(
        description="share of its squared weights on one feature that makes a neuron monosemantic"
    )


class AbsoluteParams(TrainingParams):
    """Models of y = |x|, which may have more neurons than features."""

    n_features: Annotated[int, Field(ge=1)] = Field(description="features of the input")
    n_hidden: Count = Field(description="hidden dimensions")
    importance: Annotated[float, Field(gt=0, le=1)] = Field(description="feature i weighs importance^i in the loss")
    sparsities: Annotated[tuple[Sparsity, ...], Field(strict=False, min_length=1)] = Field(
        description="how often a feature is 0, from 0 to below 1"
    )
    own_share: Annotated[float, Field(gt=0.5, lt=1)] = Field(
        description="share of its squared weights on one feature that makes a neuron monosemantic"
    )

    @model_validator(mode="after")
    def _appears(self) -> "AbsoluteParams":
        if max(self.sparsities) == 1:
            raise ValueError("sparsities: a feature of sparsity 1 never appears; stay below 1")
        return self


class AbsoluteSizesParams(Params):
    """The absolute-value model with neurons to spare, and with too few."""

    small: AbsoluteParams = Field(description="the papers' smaller size")
    large: AbsoluteParams = Field(description="the papers' larger size")


class WidthsParams(ToyParams):
    """One task at several widths: `widths` hidden dimensions, each at most `n_hidden`."""

    widths: Annotated[tuple[Count, ...], Field(strict=False, min_length=1)] = Field(
        description="hidden dimensions tried, at most n_hidden"
    )

    @model_validator(mode="after")
    def _narrow(self) -> "WidthsParams":
        if max(self.widths) > self.n_hidden:
            raise ValueError(f"widths: {max(self.widths)} exceeds n_hidden {self.n_hidden}")
        return self


class LargerParams(ToyParams):
    """A model in superposition that is taken apart: `inputs` inputs for each number of active features."""

    active: Annotated[tuple[Count, ...], Field(strict=False, min_length=1)] = Field(
        description="features present at once"
    )
    inputs: Annotated[int, Field(ge=2)] = Field(description="inputs per number of active features")

    @model_validator(mode="after")
    def _few(self) -> "LargerParams":
        if max(self.active) >= self.n_features:
            raise ValueError(f"active: {max(self.active)} must be below n_features {self.n_features}")
        return self


class VectorsParams(Params):
    """Almost-orthogonal vectors and random projections."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(description="of weights, inputs and random draws")
    dimensions: Annotated[tuple[Annotated[int, Field(ge=2)], ...], Field(strict=False, min_length=1)] = Field(
        description="dimensions that the vectors live in"
    )
    epsilons: Annotated[tuple[Epsilon, ...], Field(strict=False, min_length=1)] = Field(
        description="largest |cosine| between two vectors, between 0 and 1"
    )
    largest: Annotated[int, Field(ge=2)] = Field(description="no more vectors are looked for")
    steps: Count = Field(description="optimiser steps; the papers take 10 000 at a tenth of the rate")
    draws: Count = Field(description="random vectors that the greedy way draws")
    points: Annotated[int, Field(ge=2)] = Field(description="points whose distances a random projection should keep")
    projected_from: Annotated[int, Field(ge=2)] = Field(description="dimensions they come from")
    projections: Annotated[tuple[Count, ...], Field(strict=False, min_length=1)] = Field(
        description="dimensions they are projected to"
    )


class SensingParams(Params):
    """Recovery of sparse vectors from few measurements."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(description="of weights, inputs and random draws")
    n: Annotated[int, Field(ge=2)] = Field(description="unknowns")
    measurements: Annotated[tuple[Count, ...], Field(strict=False, min_length=1)] = Field(
        description="numbers of measurements, at most n"
    )
    active: Annotated[tuple[Count, ...], Field(strict=False, min_length=1)] = Field(
        description="features present at once"
    )
    trials: Annotated[int, Field(ge=2)] = Field(description="vectors per cell")
    toy_trials: Annotated[int, Field(ge=2)] = Field(
        description="vectors per number of active features, on a toy model's own weights"
    )

    @model_validator(mode="after")
    def _fits(self) -> "SensingParams":
        if max(self.measurements) > self.n:
            raise ValueError(f"measurements: {max(self.measurements)} exceeds n {self.n}")
        if max(self.active) > self.n:
            raise ValueError(f"active: {max(self.active)} exceeds n {self.n}")
        return self


# What params.yaml does not say: the papers' tasks at sizes and numbers of steps that take two minutes in all.
DEFAULTS: dict[str, Any] = {
    "seed": 0,
    "five": {
        "n_features": 5,
        "n_hidden": 2,
        "importance": 0.9,
        "sparsities": [0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999],
        "seeds": 24,
        "steps": 1000,
        "batch_size": 256,
        "learning_rate": 0.03,
    },
    "norms": {
        "small": {
            "n_features": 20,
            "n_hidden": 5,
            "importance": 0.7,
            "sparsities": [0.0, 0.7, 0.9, 0.97, 0.99, 0.997, 0.999],
            "seeds": 4,
            "steps": 1000,
            "batch_size": 512,
            "learning_rate": 0.02,
        },
        "large": {
            "n_features": 80,
            "n_hidden": 20,
            "importance": 0.9,
            "sparsities": [0.0, 0.7, 0.9, 0.97, 0.99, 0.997, 0.999],
            "seeds": 3,
            "steps": 1000,
            "batch_size": 256,
            "learning_rate": 0.02,
        },
    },
    "phase": {
        "cells": 20,
        "lowest_density": 0.01,
        "highest_importance": 10.0,
        "seeds": 8,
        "steps": 700,
        "batch_size": 256,
        "learning_rate": 0.03,
    },
    "geometry": {
        "n_features": 400,
        "n_hidden": 30,
        "densities": 26,
        "lowest_density": 0.04,
        "sticky": 0.03,
        "line_width": 0.005,
        "line_features": 10,
        "null_draws": 500,
        "seeds": 1,
        "steps": 1200,
        "batch_size": 256,
        "learning_rate": 0.01,
    },
    "pairs": {
        "n_features": 4,
        "n_hidden": 2,
        "importance": 1.0,
        "sparsities": [0.5, 0.8, 0.9, 0.95],
        "seeds": 32,
        "steps": 800,
        "batch_size": 256,
        "learning_rate": 0.03,
    },
    "neurons": {
        "n_features": 10,
        "n_hidden": 5,
        "importance": 0.75,
        "sparsities": [0.0, 0.25, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99],
        "own_share": 0.9,
        "seeds": 12,
        "steps": 2500,
        "batch_size": 256,
        "learning_rate": 0.02,
    },
    "absolute": {
        "small": {
            "n_features": 3,
            "n_hidden": 6,
            "importance": 1.0,
            "sparsities": [0.0],
            "own_share": 0.9,
            "seeds": 32,
            "steps": 1000,
            "batch_size": 256,
            "learning_rate": 0.02,
        },
        "large": {
            "n_features": 20,
            "n_hidden": 10,
            "importance": 0.8,
            "sparsities": [0.0, 0.5, 0.7, 0.9, 0.97, 0.99],
            "own_share": 0.9,
            "seeds": 6,
            "steps": 1500,
            "batch_size": 256,
            "learning_rate": 0.02,
        },
    },
    "widths": {
        "n_features": 20,
        "n_hidden": 20,
        "importance": 1.0,
        "sparsities": [0.8, 0.9, 0.97],
        "widths": [2, 5, 8, 11, 14, 17, 20],
        "seeds": 3,
        "steps": 1000,
        "batch_size": 256,
        "learning_rate": 0.02,
    },
    "larger": {
        "n_features": 32,
        "n_hidden": 12,
        "importance": 1.0,
        "sparsities": [0.9, 0.95, 0.98],
        "seeds": 4,
        "steps": 1500,
        "batch_size": 256,
        "learning_rate": 0.01,
        "active": [1, 2, 3, 4, 6, 8, 12, 16],
        "inputs": 4000,
    },
    "vectors": {
        "seed": 0,
        "dimensions": [4, 8, 16, 32],
        "epsilons": [0.1, 0.2, 0.3, 0.4, 0.5],
        "largest": 1000,
        "steps": 400,
        "draws": 20000,
        "points": 300,
        "projected_from": 2000,
        "projections": [8, 16, 32, 64, 128, 256, 512, 1024],
    },
    "sensing": {
        "seed": 0,
        "n": 60,
        "measurements": [6, 12, 18, 24, 30, 36, 42, 48, 54],
        "active": [1, 2, 4, 6, 8, 10, 13, 16, 20, 25, 30],
        "trials": 20,
        "toy_trials": 50,
    },
}


class SuperpositionParams(Params):
    """Every experiment of the branch; what is left out, at any depth, is as in `DEFAULTS`."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(description="of weights, inputs and random draws")
    five: DrawnParams = Field(description="five features in two dimensions")
    norms: NormsParams = Field(description="more features than can be drawn")
    phase: PhaseParams = Field(description="two features in one dimension, three in two")
    geometry: GeometryParams = Field(description="equally important features, none of which comes first")
    pairs: PairsParams = Field(description="features that are present together, or never together")
    neurons: NeuronsParams = Field(description="a ReLU on the hidden layer, beside none")
    absolute: AbsoluteSizesParams = Field(description="y = |x|: computing while in superposition")
    widths: WidthsParams = Field(description="the way out by width: as many dimensions as features")
    larger: LargerParams = Field(
        description="the model that is taken apart: as a simulation, by sensing, by dictionary"
    )
    vectors: VectorsParams = Field(description="almost-orthogonal vectors")
    sensing: SensingParams = Field(description="sparse vectors from few measurements")

    @model_validator(mode="before")
    @classmethod
    def _filled(cls, value: Any) -> Any:
        return _over(DEFAULTS, value) if isinstance(value, dict) else value


def _over(defaults: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Nested mappings joined key by key; what is given comes first."""
    both = {
        key: _over(old, given[key]) if isinstance(old, dict) and isinstance(given[key], dict) else given[key]
        for key, old in defaults.items()
        if key in given
    }
    return defaults | given | both
