import math

import pytest
import torch

from skiptrace.superposition import toys as module
from skiptrace.superposition.features import Features, draw, inputs
from skiptrace.superposition.toys import Kind, Plan, Toys, initial, train

DENSITY = torch.tensor([1.0, 0.3, 0.05])


def plan(n=4, m=2, seed=0, steps=200, count=3, **more):
    density = DENSITY[:count]
    values = {"importance": 0.8 ** torch.arange(float(n)).expand(count, n), "density": density}
    return Plan(m, seed=seed, steps=steps, batch_size=32, learning_rate=0.03, **(values | more))


@pytest.mark.parametrize(
    "kind",
    [
        Kind(Features(4)),
        Kind(Features(4), output_relu=False),
        Kind(Features(4), hidden_relu=True),
        Kind(Features(4, signed=True), hidden_relu=True, tied=False, absolute=True),
        Kind(Features(4, "correlated")),
    ],
    ids=["relu", "linear", "hidden relu", "absolute", "pairs"],
)
def test_the_gradients_by_hand_are_those_of_the_loss(kind):
    planned = plan()
    generator = torch.Generator().manual_seed(3)
    toys = initial(kind, planned, generator)
    toys.b.normal_(std=0.3, generator=generator)
    x = inputs(kind.features, draw(kind.features, 7, generator), DENSITY)
    found = toys.gradients(x, planned.importance, DENSITY)

    weights = [w.clone().requires_grad_() for w in (toys.W, toys.b)]
    decoder = None if toys.decoder is None else toys.decoder.clone().requires_grad_()
    h = torch.bmm(weights[0], x)
    h = h.relu() if kind.hidden_relu else h
    y = torch.bmm(weights[0].mT if decoder is None else decoder, h) + weights[1][:, :, None]
    empty = weights[1]
    if kind.output_relu:
        y, empty = y.relu(), empty.relu()
    share = ((1 - DENSITY) ** kind.features.groups)[:, None]
    error = (1 - share) * (y - (x.abs() if kind.absolute else x)).square().mean(2) + share * empty.square()
    loss = (planned.importance * error).sum(1)
    assert torch.allclose(toys.losses(x, planned.importance, DENSITY), loss, atol=1e-6)
    loss.sum().backward()
    assert torch.allclose(found[0], weights[0].grad, atol=1e-5)
    assert torch.allclose(found[2], weights[1].grad, atol=1e-5)
    assert (found[1] is None) == (decoder is None)
    if decoder is not None:
        assert torch.allclose(found[1], decoder.grad, atol=1e-5)


def test_the_exact_losses_of_known_weights():
    """W = [1, −1], b = 0: both of two dense features lose E[min²] = 1/6; the empty input loses nothing."""
    kind = Kind(Features(2))
    toys = Toys(kind, torch.tensor([[[1.0, -1.0]]]), None, torch.zeros(1, 2))
    features, importance = Features(2), torch.tensor([[1.0, 3.0]])
    for density in (1.0, 0.2):
        p = torch.tensor([density])
        x = inputs(features, draw(features, 200_000, torch.Generator().manual_seed(0)), p)
        assert toys.losses(x, importance, p).item() == pytest.approx(4 * density**2 / 6, rel=0.02)


def test_an_input_without_features_costs_what_the_biases_say():
    toys = Toys(Kind(Features(2)), torch.zeros(1, 1, 2), None, torch.tensor([[0.5, -0.5]]))
    assert toys.empty_loss(torch.tensor([[2.0, 2.0]])).tolist() == [0.5]
    linear = Toys(Kind(Features(2), output_relu=False), torch.zeros(1, 1, 2), None, torch.tensor([[0.5, -0.5]]))
    assert linear.empty_loss(torch.tensor([[2.0, 2.0]])).tolist() == [1.0]


def test_training_lowers_every_loss_and_repeats_itself_to_the_bit():
    kind, planned = Kind(Features(4)), plan()
    start = initial(kind, planned, torch.Generator().manual_seed(0))
    drawn = draw(kind.features, 4000, torch.Generator().manual_seed(9))
    before = start.losses(inputs(kind.features, drawn, DENSITY), planned.importance, DENSITY)
    first, second = train(kind, planned, "a"), train(kind, planned, "b")
    assert (first.losses < before).all()
    assert torch.equal(first.toys.W, second.toys.W) and torch.equal(first.losses, second.losses)
    other = train(kind, planned._replace(seed=1), "c")
    assert not torch.equal(first.toys.W, other.toys.W)


def test_batched_models_are_trained_one_by_one():
    """The fast batch against single models from the same initial weights and inputs."""
    kind, planned = Kind(Features(4)), plan(steps=5)
    together = train(kind, planned, "together").toys
    for index in range(3):
        generator = torch.Generator().manual_seed(planned.seed)
        start = initial(kind, planned, generator)[slice(index, index + 1)]
        W, b = start.W.clone().requires_grad_(), start.b.clone().requires_grad_()
        optimiser = torch.optim.AdamW([W, b], lr=planned.learning_rate, weight_decay=0.0)
        part = slice(index, index + 1)
        for step in range(planned.steps):
            optimiser.param_groups[0]["lr"] = planned.learning_rate * 0.5 * (1 + math.cos(math.pi * step / 5))
            x = inputs(kind.features, draw(kind.features, planned.batch_size, generator), DENSITY[part])
            W.grad, _, b.grad = Toys(kind, W.detach(), None, b.detach()).gradients(
                x, planned.importance[part], DENSITY[part]
            )
            optimiser.step()
        assert torch.allclose(together.W[index], W[0], atol=1e-5)


def test_a_narrower_model_keeps_its_width():
    widths = torch.tensor([1.0, 2.0, 3.0])
    toys = train(Kind(Features(4)), plan(m=3, widths=widths, steps=50), "widths").toys
    assert [int((W.norm(dim=1) > 0).sum()) for W in toys.W] == [1, 2, 3]


@pytest.mark.parametrize("density", [[0.3, 0.3, 0.05, 0.05, 0.05, 1.0], [0.3], [1.0, 0.3, 1.0]])
def test_models_of_one_density_see_what_each_would_see_alone(density):
    kind = Kind(Features(4, "correlated"))
    drawn = draw(kind.features, 9, torch.Generator().manual_seed(0))
    together = module._inputs(kind, drawn, torch.tensor(density))
    alone = [inputs(kind.features, drawn, torch.tensor([each])) for each in density]
    assert torch.equal(together, torch.cat(alone))
