import pytest
import torch

from skiptrace.circuits.paths import path_logits, paths


@pytest.mark.parametrize("n_layers", [0, 1, 2, 3])
def test_logits_are_the_sum_over_all_paths(make_model, tokens, n_layers):
    model = make_model(n_layers)
    patterns = model.patterns(tokens)
    every = list(paths(n_layers, model.n_heads))
    assert len(every) == len(set(every)) == (1 + model.n_heads) ** n_layers
    total = sum(path_logits(model, tokens, patterns, path) for path in every)
    torch.testing.assert_close(total, model(tokens), rtol=0, atol=1e-10)


def test_a_path_of_two_heads_is_a_virtual_head(make_model, tokens):
    model = make_model(2)
    patterns = model.patterns(tokens)
    first, second = (0, 2), (1, 1)
    A = patterns[1][:, 1] @ patterns[0][:, 2]
    W_OV = [model.blocks[layer].W_V[head] @ model.blocks[layer].W_O[head] for layer, head in (first, second)]
    virtual = A @ (model.W_E @ W_OV[0] @ W_OV[1] @ model.W_U)[tokens]
    torch.testing.assert_close(path_logits(model, tokens, patterns, (first, second)), virtual, rtol=0, atol=1e-10)


def test_the_paths_of_two_layers_in_order():
    assert list(paths(2, 1)) == [(), ((0, 0),), ((0, 0), (1, 0)), ((1, 0),)]
