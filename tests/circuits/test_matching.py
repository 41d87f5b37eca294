import numpy as np
import pandas as pd
import pytest
import torch

from skiptrace.circuits.factored import heads, ov, qk
from skiptrace.circuits.matching import match, shared_tokens, similarity
from skiptrace.models.transformer import Transformer


def vocabulary(size: int, prefix: str = "t", seed: int = 0) -> pd.DataFrame:
    probability = np.random.default_rng(seed).dirichlet(np.ones(size))
    return pd.DataFrame({"token": [f"{prefix}{i}" for i in range(size)], "probability": probability})


def dense(model: Transformer, circuit, head, ids, p):
    """The circuit over the shared tokens as a whole matrix, centred and weighed."""
    found = circuit(model, *head)
    whole = (found.left @ found.right)[ids][:, ids]
    whole = whole - (whole * p).sum(1, keepdim=True)
    return whole * p.sqrt()[:, None] * p.sqrt()


def slowly(a, b, tokens, circuit):
    one, two = ([dense(m, circuit, h, ids, tokens.weight).flatten() for h in heads(m)]
                for m, ids in ((a, tokens.a), (b, tokens.b)))  # fmt: skip
    return np.array([[float(x @ y / x.norm() / y.norm()) for y in two] for x in one])


def test_similarity_is_the_cosine_of_the_whole_circuits(make_model):
    a, b = make_model(1), make_model(2, seed=5, d_model=8, n_heads=2, d_head=5)
    tokens = shared_tokens(vocabulary(23), vocabulary(23, seed=1))
    found = similarity(a, b, tokens)
    np.testing.assert_allclose(found.ov, slowly(a, b, tokens, ov), atol=1e-9)
    np.testing.assert_allclose(found.qk, slowly(a, b, tokens, qk), atol=1e-9)


def turned(model: Transformer, order: list[int], seed: int = 0) -> Transformer:
    """The same function with its heads permuted, and other bases of every head and of the residual stream."""
    generator = torch.Generator().manual_seed(seed)

    def basis(size: int) -> torch.Tensor:
        return torch.randn(size, size, generator=generator, dtype=torch.double) + 3 * torch.eye(size)

    stream = torch.linalg.qr(basis(model.d_model)).Q
    other = Transformer(model.config).double()
    with torch.no_grad():
        other.W_E.copy_(model.W_E @ stream)
        other.W_U.copy_(stream.T @ model.W_U)
        for new, old in zip(other.blocks, model.blocks, strict=True):
            for place, head in enumerate(order):
                inner, value = basis(model.d_head), basis(model.d_head)
                new.W_Q[place].copy_(stream.T @ old.W_Q[head] @ inner)
                new.W_K[place].copy_(stream.T @ old.W_K[head] @ torch.linalg.inv(inner).T)
                new.W_V[place].copy_(stream.T @ old.W_V[head] @ value)
                new.W_O[place].copy_(torch.linalg.inv(value) @ old.W_O[head] @ stream)
    return other.requires_grad_(False)


def test_permuted_heads_in_other_bases_are_found_again(make_model):
    model = make_model(2)
    tokens = shared_tokens(vocabulary(23), vocabulary(23))
    found = match(similarity(model, turned(model, [2, 0, 1]), tokens))
    assert {m.a: m.b for m in found} == {
        "L0H0": "L0H1", "L0H1": "L0H2", "L0H2": "L0H0", "L1H0": "L1H1", "L1H1": "L1H2", "L1H2": "L1H0",
    }  # fmt: skip
    assert all(m.similarity == pytest.approx(1) and m.runner_up < 0.9 for m in found)


def test_what_softmax_ignores_changes_nothing(make_model):
    model = make_model(1)
    tokens = shared_tokens(vocabulary(23), vocabulary(23))
    other = turned(model, [0, 1, 2], seed=1)
    with torch.no_grad():  # the same vector added to what every out reads
        other.W_U += torch.randn(10, 1, dtype=torch.double, generator=torch.Generator().manual_seed(2))
    found = similarity(model, other, tokens)
    np.testing.assert_allclose(found.ov.diagonal(), 1)


def test_vocabularies_in_another_order_are_matched_by_text(make_model):
    model, order = make_model(1), torch.randperm(23, generator=torch.Generator().manual_seed(4))
    other = turned(model, [0, 1, 2])
    with torch.no_grad():
        other.W_E.copy_(other.W_E[order])
        other.W_U.copy_(other.W_U[:, order])
    words = vocabulary(23)
    shuffled = words.iloc[order.numpy()].reset_index(drop=True)
    shuffled.loc[[0, 1], "token"] = "twice"  # a text that two tokens share names neither
    tokens = shared_tokens(words, shuffled)
    assert len(tokens.a) == 21 and float(tokens.weight.sum()) == pytest.approx(1)
    assert words["token"].iloc[tokens.a.numpy()].tolist() == shuffled["token"].iloc[tokens.b.numpy()].tolist()
    assert all(m.a == m.b and m.similarity == pytest.approx(1) for m in match(similarity(model, other, tokens)))


def test_heads_left_over_are_gone_or_new_and_a_dead_head_is_like_none(make_model):
    three, two = make_model(1), make_model(1, n_heads=2, seed=1)
    with torch.no_grad():
        two.blocks[0].W_O[1].zero_()
    tokens = shared_tokens(vocabulary(23), vocabulary(23))
    alike = similarity(three, two, tokens)
    assert (alike.ov[:, 1] == 0).all()
    found = match(alike)
    assert [m.b for m in found].count(None) == 1 and found[-1].b is None and found[-1].similarity is None
    assert [m.a for m in match(similarity(two, three, tokens))].count(None) == 1


def test_no_token_in_common_leaves_no_similarity(make_model):
    tokens = shared_tokens(vocabulary(23), vocabulary(23, prefix="other"))
    assert len(tokens.a) == 0
    assert (similarity(make_model(1), make_model(1, seed=1), tokens).both == 0).all()
