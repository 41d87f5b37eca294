"""How circuits read a model: through its first MLP, with layer norm at its mean over text; what it predicts stays."""

import pytest
import torch

from skiptrace.circuits import factored
from skiptrace.circuits.factored import direct, k_composition, ov, qk, virtual_ov
from skiptrace.circuits.scores import copying_null
from skiptrace.errors import InputError
from skiptrace.models import checkpoint
from skiptrace.models.importing import import_model, read_as
from tests.models.conftest import write_lens
from tests.models.test_families import write

TEXTS = torch.randint(1, 23, (3, 7), generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize("case", ["gpt_neox", "gpt_neox-in-turn", "qwen3", "opt"])
def test_the_effective_embedding_is_the_stream_after_a_layer_whose_heads_are_silent(tmp_path, case):
    model = import_model(write(tmp_path, case), None, 0)
    logits = model(TEXTS)
    read_as(model, "effective", "leave_out", TEXTS)
    assert torch.equal(model(TEXTS), logits) and torch.equal(model.reads(0), model.W_E)
    layer = model.blocks[0]
    with torch.no_grad():
        alone = model.W_E[:, None]
        layer.o.zero_()
        expected = layer.add(alone, layer(alone, torch.zeros(1, model.d_model)))[:, 0]
    for after in (1, 2):
        torch.testing.assert_close(model.reads(after), expected, rtol=0, atol=1e-5)
    assert (model.reads(1) - model.W_E).abs().max() > 0.1
    told = "; ".join(model.config.approximate)
    assert "embedding: effective" in told and "circuits leave out the MLPs" not in told


def test_effective_circuits_are_dense_products_of_what_each_layer_reads(tmp_path):
    model = read_as(import_model(write(tmp_path, "qwen2"), None, 0), "effective", "mean", TEXTS)
    zero, one, last = (model.reads(layer) for layer in range(3))
    scales, E = model.config.norm_scales, model.W_E
    width = model.norm.width
    assert not torch.equal(zero, E) and torch.equal(zero[:, width:], E[:, width:])
    torch.testing.assert_close(zero[:, :width], E[:, :width] * scales[0])
    first, then = model.blocks
    final = scales[2] * model.W_U
    torch.testing.assert_close(direct(model).dense(), last @ model.W_U)
    torch.testing.assert_close(ov(model, 0, 1).dense(), zero @ first.W_V[1] @ first.W_O[1] @ final, rtol=0, atol=1e-4)
    torch.testing.assert_close(ov(model, 1, 2).dense(), one @ then.W_V[2] @ then.W_O[2] @ final, rtol=0, atol=1e-4)
    moved = zero @ first.W_V[1] @ first.W_O[1] * scales[1]
    found = virtual_ov(model, (0, 1), (1, 2)).dense()
    torch.testing.assert_close(found, moved @ then.W_V[2] @ then.W_O[2] @ final, rtol=0, atol=1e-4)
    # The second layer sees two tokens: the only distance is 1.
    for circuit, keys in ((qk(model, 1, 0), one), (k_composition(model, (0, 1), (1, 0)), moved)):
        expected = then.at_distance(one @ then.W_Q[0], 9, 1) @ (keys @ then.W_K[0]).T / model.d_head**0.5
        torch.testing.assert_close(circuit.dense(), expected, rtol=0, atol=1e-4)
    size = sorted(factored.pairs(model), key=lambda p: -virtual_size(model, *p))
    assert factored.strongest_pairs(model, None) == size


def virtual_size(model, first, then) -> float:
    one, two = model.blocks[first[0]], model.blocks[then[0]]
    return float((one.W_V[first[1]] @ one.W_O[first[1]] @ two.W_V[then[1]] @ two.W_O[then[1]]).norm())


def test_the_mean_of_layer_norm_is_that_of_the_running_model_and_its_spread_is_told(tmp_path):
    model = import_model(write(tmp_path, "llama"), None, 0)
    x, pos = model.embed(TEXTS)
    expected = []
    for layer in model.blocks:
        expected.append(layer.norm.scale(x)[:, 1:])
        x = layer.add(x, layer(x, pos))
    expected.append(model.norm.scale(x)[:, 1:])
    plain = qk(model, 0, 1).dense()
    read_as(model, "token", "mean", TEXTS)
    means = [each.mean().item() for each in expected]
    assert model.config.norm_scales == pytest.approx(means, rel=1e-5)
    torch.testing.assert_close(qk(model, 0, 1).dense(), plain * means[0] ** 2, rtol=1e-4, atol=1e-5)
    told = next(each for each in model.config.approximate if "layer_norm: mean" in each)
    assert f"layer 1 {means[1]:.3g} ± {expected[1].std():.2g}" in told and "over 18 tokens" in told
    checkpoint.save(model, tmp_path / "ours")
    again = checkpoint.load(tmp_path / "ours")
    assert again.config == model.config and torch.equal(again.reads(1), model.reads(1))


def test_the_null_of_copying_reads_what_the_layer_reads(tmp_path):
    model = read_as(import_model(write(tmp_path, "qwen3"), None, 0), "effective", "leave_out", TEXTS)
    assert copying_null(model, 50, 0, 0) != copying_null(model, 50, 0, 1)


def test_what_a_model_lacks_is_said(tmp_path):
    write_lens(tmp_path)
    model = import_model(tmp_path, None, 0)
    with pytest.raises(InputError, match="embedding: effective needs an MLP"):
        read_as(model, "effective", "leave_out", TEXTS)
    with pytest.raises(InputError, match="layer_norm: mean has no meaning"):
        read_as(model, "token", "mean", TEXTS)
    assert read_as(model, "token", "leave_out", TEXTS).config.norm_scales is None
