"""The hybrid way out of superposition: a model trained so that a second stage finds its features more easily.

Toy Models of Superposition, "Strategic Picture": beside a model without superposition and a dictionary found later, a
model may be trained towards codes that a dictionary takes apart. Here its activations are penalised, and the same
dictionary, trained for the same few steps, is fitted to it and to the model without a penalty.
"""

from typing import Any

import pandas as pd
import torch

from skiptrace.config.dictionaries import HybridParams, ToyDictionaryParams
from skiptrace.dictionary.tables import HYBRID
from skiptrace.dictionary.toy import Hosts, decompose, of_size
from skiptrace.superposition.features import Features
from skiptrace.superposition.toys import Kind, Plan, train

AFTERWARDS, HYBRID_WAY = "a dictionary found afterwards", "models trained for their dictionary"


def taken_apart(way: str, hosts: Hosts, params: ToyDictionaryParams) -> Any:
    """What `decompose` gives, or `hybrid`: the two ways side by side."""
    if way == AFTERWARDS:
        return decompose(hosts, params)
    assert params.hybrid is not None
    return hybrid(hosts, params, params.hybrid)


def hybrid(hosts: Hosts, params: ToyDictionaryParams, how: HybridParams) -> pd.DataFrame:
    """`HYBRID`: models of the shape and sparsities of `hosts` at every penalty, and how well dictionaries find them."""
    count, m, n = hosts.W.shape
    density = torch.tensor(1 - hosts.sparsity, dtype=torch.float32)
    parts = []
    for penalty in how.penalties:
        plan = Plan(m, torch.ones(count, n), density, params.seed, how.steps, how.batch_size, how.learning_rate)
        trained = train(Kind(Features(n), activation_penalty=penalty), plan, f"toy models, penalty {penalty:g}")
        for steps in how.dictionary_steps:
            few = params.model_copy(update={"steps": steps, "resample_every": max(1, steps // 6)})
            found, _, _ = of_size(hosts._replace(W=trained.toys.W), params.entries, (params.shown,), few)
            found = found.assign(activation_penalty=penalty, dictionary_steps=steps, loss=trained.losses.numpy(), all=n)
            parts.append(found)
    return HYBRID.frame(pd.concat(parts, ignore_index=True))
