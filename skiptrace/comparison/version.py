"""A version of a run, as read from a revision."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pandas as pd

from skiptrace.models.transformer import Transformer


class Twin(NamedTuple):
    """A model that differs from another in its seed alone: its weights, and its skip-trigrams as in `Studied`."""

    weights: Transformer
    skip_trigrams: pd.DataFrame


@dataclass(frozen=True)
class Studied:
    """A model of a version: its parameters and weights, its vocabulary and tables.

    `vocabulary` has the columns `token` and `probability` by token id; `heads` is the table of
    scores; `skip_trigrams` has `rank, layer, head, source, destination, out` and `survives`, which
    is missing for rows that were not checked.
    """

    params: dict[str, Any]
    weights: Transformer
    vocabulary: pd.DataFrame
    heads: pd.DataFrame
    skip_trigrams: pd.DataFrame
    twins: list[Twin] = field(default_factory=list)


@dataclass(frozen=True)
class Version:
    """A run: the name it was asked for by, and what it holds; `figures` are SVG by file name.

    `models` lacks those whose outputs cannot be read; `notes` says why, in sentences.
    """

    name: str
    params: dict[str, Any]
    metrics: dict[str, Any]
    models: dict[str, Studied]
    figures: dict[str, bytes] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def named(self) -> dict[str, dict[str, Any]]:
        """The parameters of every model, by name, whether its outputs can be read or not."""
        return dict(self.params["models"])
