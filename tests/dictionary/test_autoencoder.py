from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skiptrace.dictionary.autoencoder import Trainer, initial, join, largest, largest_of_all, scale_of
from skiptrace.dictionary.measures import densities, living, recovered, statistics, variance_explained

PENALTY = torch.tensor([0.1, 0.7])


def pair(seed=0, d=3, entries=5, k=(5, 5)):
    """Two autoencoders with weights of their own."""
    generator = torch.Generator().manual_seed(seed)
    found = initial(d, entries, k, generator)
    for weight in (found.encoder, found.encoder_bias, found.decoder_bias):
        weight.add_(0.3 * torch.randn(weight.shape, generator=generator))
    return found, torch.randn(2, d, 7, generator=generator)


def test_the_largest_of_every_input_by_sorting_each():
    f = torch.rand(6, 40, generator=torch.Generator().manual_seed(1))
    f[f < 0.5] = 0
    found = largest(f, 2)
    for before, after in zip(f.T.tolist(), found.T.tolist(), strict=True):
        least = sorted(before)[-2]
        assert after == [v if v >= least and v > 0 else 0 for v in before]
    one, x = pair(k=(5, 1))
    assert (one.features(x)[1] > 0).sum(0).max() == 1 and (one.features(x)[0] > 0).sum(0).max() > 1


def test_the_largest_of_a_batch_by_sorting_all():
    f = torch.rand(6, 40, generator=torch.Generator().manual_seed(1))
    f[f < 0.5] = 0
    least = sorted(f.flatten().tolist())[-30]
    assert torch.equal(largest_of_all(f, 30), torch.where(f >= least, f, 0))
    assert torch.equal(largest_of_all(f, 200), f)  # of which fewer than 200 are above zero
    one, x = pair(k=(2, 2))
    kept = replace(one, by_batch=(True, False)).features(x) > 0
    assert kept[0].sum() == 2 * 7 and kept[0].sum(0).max() > 2 and kept[1].sum(0).max() == 2


def test_a_floor_leaves_what_is_above_it_and_joined_ones_keep_theirs():
    one, x = pair()
    floor = torch.tensor([[0.3] * 5, [0.0, 0.1, 0.2, 9.0, 0.4]])
    found, f = replace(one, floor=floor).features(x), one.features(x)
    assert torch.equal(found, torch.where(f > floor[:, :, None], f, 0)) and not found[1, 3].any()
    joined = join([one, replace(one, floor=floor)])
    assert torch.equal(joined.features(torch.cat([x, x])), torch.cat([f, found]))
    assert joined.k == (5,) * 4 and torch.equal(joined[slice(2, 4)].named()["floor"], floor)
    assert "floor" not in join([one, one]).named()


def test_gradients_by_batch_are_those_of_what_is_kept():
    one, x = pair(k=(2, 2))
    one = replace(one, by_batch=(True, True))
    weights = [w.clone().requires_grad_() for w in (one.encoder, one.encoder_bias)]
    centred = x - one.decoder_bias[:, :, None]
    f = (torch.bmm(weights[0], centred) + weights[1][:, :, None]).relu()
    f = f * torch.stack([f[i] >= f[i].flatten().topk(14).values[-1] for i in range(2)])
    ((torch.bmm(one.decoder, f) + one.decoder_bias[:, :, None] - x).square().sum(1).mean(1)).sum().backward()
    found, _ = one.gradients(x, torch.zeros(2))
    assert torch.allclose(found.encoder, weights[0].grad, atol=1e-5)
    assert torch.allclose(found.encoder_bias, weights[1].grad, atol=1e-5)


@pytest.mark.parametrize("k", [(5, 5), (2, 1)])
def test_the_gradients_by_hand_are_those_of_the_loss_on_the_sphere(k):
    one, x = pair(k=k)
    weights = [w.clone().requires_grad_() for w in one.weights]
    encoder, encoder_bias, decoder, decoder_bias = weights
    centred = x - decoder_bias[:, :, None]
    f = (torch.bmm(encoder, centred) + encoder_bias[:, :, None]).relu()
    f = f * torch.stack([f[i] >= f[i].topk(k[i], dim=0).values[-1] for i in range(2)])
    x_hat = torch.bmm(decoder, f) + decoder_bias[:, :, None]
    loss = (x_hat - x).square().sum(1).mean(1) + PENALTY * f.sum(1).mean(1)
    assert torch.allclose(one.loss(x, PENALTY), loss)
    loss.sum().backward()
    found, active = one.gradients(x, PENALTY)
    assert torch.allclose(found.encoder, encoder.grad, atol=1e-5)
    assert torch.allclose(found.encoder_bias, encoder_bias.grad, atol=1e-5)
    assert torch.allclose(found.decoder_bias, decoder_bias.grad, atol=1e-5)
    assert torch.equal(active, (f > 0).any(2))
    # The decoder's gradient loses its part along each column, and nothing else.
    along = (decoder.grad * decoder).sum(1, keepdim=True)
    assert along.abs().max() > 0.01
    assert torch.allclose(found.decoder, (decoder.grad - along * decoder).detach(), atol=1e-5)
    assert (found.decoder * one.decoder).sum(1).abs().max() < 1e-6


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 100), st.floats(0.001, 0.5))
def test_columns_stay_on_the_unit_sphere(seed, rate):
    one, x = pair(seed)
    trainer = Trainer(one, PENALTY, rate, 5)
    for _ in range(5):
        trainer.step(x)
    assert trainer.finish().decoder.norm(dim=1).flatten().tolist() == pytest.approx([1.0] * 10, abs=1e-5)


def test_training_lowers_the_loss_and_repeats_itself_to_the_bit():
    ends = []
    for _ in range(2):
        one, x = pair()
        before = one.loss(x, PENALTY)
        trainer = Trainer(one, PENALTY, 0.02, 100)
        for _ in range(100):
            trainer.step(x)
        ends.append(trainer.finish())
        assert (ends[-1].loss(x, PENALTY) < before).all()
    assert all(torch.equal(a, b) for a, b in zip(ends[0].weights, ends[1].weights, strict=True))


def test_dead_entries_are_born_again_on_an_input_and_the_living_stay():
    one, x = pair()
    one.encoder_bias[0, 2] = -100.0
    trainer = Trainer(one, PENALTY, 0.01, 10)
    trainer.step(x)
    trainer.active[:] = True
    trainer.active[0, 2] = False
    kept = one.decoder[:, :, [0, 1, 3, 4]].clone()
    trainer.resample(x, torch.Generator().manual_seed(0))
    inputs = torch.nn.functional.normalize(x[0] - one.decoder_bias[0, :, None], dim=0)
    assert (inputs.T @ one.decoder[0, :, 2]).max() == pytest.approx(1, abs=1e-5)
    assert one.encoder_bias[0, 2] == 0
    others = one.encoder[0][[0, 1, 3, 4]].norm(dim=1).mean()
    assert one.encoder[0, 2].norm() == pytest.approx(0.2 * others.item(), rel=1e-4)
    assert torch.equal(one.decoder[:, :, [0, 1, 3, 4]], kept)
    assert trainer.optimiser.state[one.encoder]["exp_avg"][0, 2].abs().max() == 0
    assert not trainer.active.any()


def test_measures_by_hand():
    f = torch.tensor([[1.0, 0.0, 2.0, 0.0], [0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    assert living(f).tolist() == [True, False, True]
    assert densities(f).tolist() == [0.5, 0.0, 1.0]
    x = torch.tensor([[0.0, 2.0, 4.0, 2.0]])
    assert variance_explained(x, x) == 1
    assert variance_explained(x, torch.full_like(x, 2.0)) == 0
    assert statistics(x, x, f) == pytest.approx((1.5, 1.0, 1 / 3))
    assert scale_of(torch.full((4, 3), 2.0)) == 0.5


def test_the_share_of_the_loss_recovered_and_its_interval():
    """1 and 0 without error where nothing and everything is lost; else the interval of a ratio by the jackknife."""
    rng, document = np.random.default_rng(0), np.repeat(np.arange(30), 4)
    original = 3 + rng.random(120)
    ablated = original + 2 + rng.normal(size=30).repeat(4)
    halfway = original + rng.normal(0.5, 0.3, 30).repeat(4)
    tensors = [torch.from_numpy(v) for v in (halfway, original, ablated)]
    assert recovered(tensors[1], *tensors[1:], document)[:3] == pytest.approx((1, 1, 1))
    assert recovered(tensors[2], *tensors[1:], document)[:3] == pytest.approx((0, 0, 0))
    found = recovered(*tensors, document)
    share = [(ablated - halfway)[document != d].mean() / (ablated - original)[document != d].mean() for d in range(30)]
    slow = 2.045 * np.sqrt(29 / 30 * ((np.array(share) - np.mean(share)) ** 2).sum())  # t of 29 degrees of freedom
    assert found.mean == pytest.approx((ablated - halfway).mean() / (ablated - original).mean())
    assert found.high - found.mean == pytest.approx(slow, rel=0.1) and found.clusters == 30
