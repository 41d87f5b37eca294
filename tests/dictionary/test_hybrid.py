import numpy as np
import pytest
import torch

from skiptrace.config.dictionaries import HybridParams, ToyDictionaryParams
from skiptrace.dictionary.hybrid import hybrid
from skiptrace.dictionary.toy import Hosts
from skiptrace.superposition.features import Features, draw, empty_share, inputs
from skiptrace.superposition.toys import Kind, Toys

PARAMS = ToyDictionaryParams(
    kind="toy", source="x", data="y", seed=0, entries=5, penalties=(0.4,), shown=0.4, steps=9, batch_size=16,
    learning_rate=0.02, resample_every=4,
)  # fmt: skip


def test_the_gradient_with_a_penalty_on_activations_is_that_of_differentiation():
    generator = torch.Generator().manual_seed(0)
    W = torch.randn(2, 3, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    b = torch.randn(2, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    features, density = Features(5), torch.tensor([0.3, 0.7], dtype=torch.float64)
    x = inputs(features, draw(features, 7, generator), density.float()).double()
    importance = torch.rand(2, 5, generator=generator, dtype=torch.float64)
    toys = Toys(Kind(features, activation_penalty=0.2), W, None, b)
    share = 1 - empty_share(features, density)
    total = toys.losses(x, importance, density) + 0.2 * share * toys.hidden(x).abs().sum(1).mean(1)
    total.sum().backward()
    with torch.no_grad():
        on_W, on_D, on_b = toys.gradients(x, importance, density)
    assert on_D is None
    torch.testing.assert_close(on_W, W.grad)
    torch.testing.assert_close(on_b, b.grad)


def test_a_penalty_makes_activations_small_and_costs_loss():
    hosts = Hosts(torch.zeros(2, 3, 6), np.array([0.8, 0.9]), np.array([0, 0]))
    how = HybridParams(penalties=(0.0, 0.3), steps=150, batch_size=64, dictionary_steps=(3, 6))
    found = hybrid(hosts, PARAMS, how)
    assert found[["activation_penalty", "dictionary_steps"]].value_counts().eq(2).all() and len(found) == 8
    loss = found.groupby("activation_penalty")["loss"].mean()
    kept = found.groupby("activation_penalty")["features"].sum()
    assert loss[0.3] > loss[0.0] and kept[0.3] <= kept[0.0]
    assert (found["all"] == 6).all()
    again = hybrid(hosts, PARAMS, how)
    assert found.equals(again)


def test_without_a_penalty_the_model_is_that_of_the_plain_way():
    hosts = Hosts(torch.zeros(1, 2, 4), np.array([0.5]), np.array([0]))
    plain = hybrid(hosts, PARAMS, HybridParams(penalties=(0.0,), steps=5, batch_size=8, dictionary_steps=(2,)))
    beside = hybrid(hosts, PARAMS, HybridParams(penalties=(0.1, 0.0), steps=5, batch_size=8, dictionary_steps=(2,)))
    assert plain["loss"].tolist() == pytest.approx(beside.query("activation_penalty == 0")["loss"].tolist())
