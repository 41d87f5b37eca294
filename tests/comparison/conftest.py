"""Versions of a run made by hand: two seeds of one model, and a model without heads."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from skiptrace.circuits.factored import head_name, heads
from skiptrace.comparison.version import Studied, Version
from skiptrace.models.transformer import Transformer

MODEL = {"corpus": "c", "seed": 0, "n_layers": 1, "n_heads": 3}
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><text>%s</text></svg>'


def studied(model: Transformer, params: dict[str, Any], texts: list[str], seed: int) -> Studied:
    generator = np.random.default_rng(seed)
    names = [head_name(head) for head in heads(model)]
    scores = {name: generator.random(len(names)) for name in ("copying", "previous_token")}
    table = pd.DataFrame({"name": names, "copies": generator.random(len(names)) > 0.5, "positional": False, **scores})
    triples = generator.choice(texts, (40, 3))
    mined = pd.DataFrame(triples, columns=["source", "destination", "out"]).drop_duplicates()
    mined = mined.assign(rank=range(1, len(mined) + 1), survives=pd.Series([True, None] * 20, dtype=object))
    words = pd.DataFrame({"token": texts, "probability": 1 / len(texts)})
    return Studied(params, model, words, table, mined)


@pytest.fixture
def make_version(make_model) -> Callable[..., Version]:
    """A version with the models `zero`, `one` and its twin `twin`; `changed` goes into the parameters of both."""

    def make(name: str, seed: int, texts: list[str] | None = None, **changed: Any) -> Version:
        texts = texts or [f"t{i}" for i in range(23)]
        params = {
            "zero": {"corpus": "c", "seed": 0, "n_layers": 0},
            "one": MODEL | changed,
            "twin": MODEL | changed | {"seed": 9},
        }
        depths = {"zero": 0, "one": 1, "twin": 1}
        models = {
            key: studied(make_model(depths[key], seed=seed + i), value, texts, seed + i)
            for i, (key, value) in enumerate(params.items())
        }
        losses = {"zero": 4.0, "one": 3.0 + 0.01 * seed, "twin": 3.02 + 0.01 * seed}
        metrics = {"models": {key: {"valid_loss": loss} for key, loss in losses.items()}}
        figures = {"loss.svg": SVG % name.encode(), "same.svg": SVG % b"same"}
        return Version(name, {"models": params, "report": {"corner": 20}}, metrics, models, figures)

    return make
