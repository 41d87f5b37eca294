import math

import pytest
import torch

from skiptrace.models.config import ModelConfig
from skiptrace.models.positions import sinusoids
from skiptrace.models.transformer import Transformer


@pytest.mark.parametrize("n_layers", [0, 1, 2, 3])
def test_forward_equals_a_loop_over_heads_and_positions(make_model, tokens, n_layers):
    model = make_model(n_layers)
    expected = torch.stack([_slow_logits(model, row) for row in tokens])
    torch.testing.assert_close(model(tokens), expected, rtol=0, atol=1e-10)


def _slow_logits(model: Transformer, row: torch.Tensor) -> torch.Tensor:
    x = model.W_E[row]
    for layer in model.blocks:
        written = torch.zeros_like(x)
        for head in range(model.n_heads):
            for i in range(len(row)):
                query = (x[i] + model.W_pos[i]) @ layer.W_Q[head]
                keys = torch.stack([(x[j] + model.W_pos[j]) @ layer.W_K[head] for j in range(i + 1)])
                attention = (keys @ query / math.sqrt(model.d_head)).softmax(0)
                value = sum(attention[j] * (x[j] @ layer.W_V[head]) for j in range(i + 1))
                written[i] += value @ layer.W_O[head]
        x = x + written
    return x @ model.W_U


@pytest.mark.parametrize("n_layers", [1, 2])
def test_heads_one_by_one_add_up_to_the_concatenated_heads_times_W_O(make_model, tokens, n_layers):
    model = make_model(n_layers)
    x = model.W_E[tokens]
    for layer, pattern in zip(model.blocks, model.patterns(tokens), strict=True):
        z = pattern @ layer.split(x @ layer.v)
        concatenated = z.transpose(1, 2).flatten(2) @ torch.cat(list(layer.W_O))
        separate = layer.head_outputs(x, pattern).sum(1)
        torch.testing.assert_close(separate, concatenated, rtol=0, atol=1e-10)
        torch.testing.assert_close(layer(x, model.W_pos), concatenated, rtol=0, atol=1e-10)
        x = x + separate


def test_a_head_is_the_kronecker_product_of_its_pattern_and_OV(make_model, tokens):
    model = make_model(1)
    layer, pattern = model.blocks[0], model.patterns(tokens)[0]
    x = model.W_E[tokens]
    for head in range(model.n_heads):
        W_OV = layer.W_V[head] @ layer.W_O[head]
        for text in range(len(tokens)):
            # Row-major vec(A X B) = (A ⊗ Bᵀ) vec(X).
            product = torch.kron(pattern[text, head], W_OV.T.contiguous()) @ x[text].flatten()
            written = layer.head_outputs(x, pattern)[text, head].flatten()
            torch.testing.assert_close(written, product, rtol=0, atol=1e-10)


def test_positions_reach_queries_and_keys_but_never_values_or_the_residual_stream(make_model, tokens):
    model = make_model(1)
    with torch.no_grad():
        model.blocks[0].q.zero_()
    before = model(tokens)
    with torch.no_grad():
        model.W_pos.mul_(3)
    torch.testing.assert_close(model(tokens), before)


def test_the_future_does_not_change_the_past(make_model, tokens):
    model = make_model(2)
    changed = tokens.clone()
    changed[:, -1] = (changed[:, -1] + 1) % model.d_vocab
    torch.testing.assert_close(model(changed)[:, :-1], model(tokens)[:, :-1])
    assert not torch.allclose(model(changed)[:, -1], model(tokens)[:, -1])


def test_sinusoids_turn_by_a_fixed_angle_per_position():
    pos = sinusoids(50, 6)
    assert pos.shape == (50, 6)
    torch.testing.assert_close(pos[0], torch.tensor([0.0, 1.0] * 3))
    torch.testing.assert_close(pos[7, :2], torch.tensor([math.sin(7), math.cos(7)]))
    torch.testing.assert_close(pos[7, 2], torch.tensor(math.sin(7 / 10_000 ** (2 / 6))))


def test_initial_weights_depend_on_the_seed_alone():
    def drawn(seed: int) -> torch.Tensor:
        model = Transformer(ModelConfig(d_vocab=11, d_model=6, n_ctx=5, n_layers=2, n_heads=2, d_head=3))
        model.initialise(seed)
        return torch.cat([w.flatten() for w in model.parameters()])

    assert torch.equal(drawn(3), drawn(3))
    assert not torch.equal(drawn(3), drawn(4))
