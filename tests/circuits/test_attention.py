import math

import pytest
import torch

from skiptrace.circuits import attention
from skiptrace.circuits.attention import POSITION, TOKEN, explain_attention, parts
from skiptrace.errors import InputError
from skiptrace.models.config import ModelConfig
from skiptrace.models.transformer import Transformer


@pytest.mark.parametrize("standard", [False, True])
def test_the_parts_of_the_stream_add_up_to_it(make_model, tokens, monkeypatch, standard):
    model = make_model(3)
    model.standard_positions = standard
    ids = tokens[0]
    patterns, (x, pos) = model.patterns(ids[None]), model.embed(ids[None])
    for block, pattern in zip(model.blocks[:2], patterns, strict=False):
        x = block.add(x, block.head_outputs(x, pattern).sum(1))
    found = parts(model, ids, patterns, layer=2)
    assert len(found) == 1 + (1 + model.n_heads) ** 2
    torch.testing.assert_close(sum(p.looks @ p.carried for p in found), (x + pos)[0], rtol=0, atol=1e-10)
    # Where more paths lead there than are paired, the longest begin with the whole stream.
    monkeypatch.setattr(attention, "PAIRED", (1 + model.n_heads) ** 2 - 1)
    found = parts(model, ids, patterns, layer=2)
    assert [p.name for p in found][-3:] == [f"all before layer 1 → L1H{head}" for head in range(3)]
    assert len(found) == 2 + 2 * model.n_heads
    torch.testing.assert_close(sum(p.looks @ p.carried for p in found), (x + pos)[0], rtol=0, atol=1e-10)


@pytest.fixture
def normed():
    """Two layers with layer norm, MLPs, biases, and a last dimension that is not normed."""
    sizes = {"n_layers": 2, "d_vocab": 23, "d_model": 10, "n_ctx": 7, "n_heads": 3, "d_head": 4, "d_mlp": 6}
    kind = {"attn_only": False, "act_fn": "gelu", "normalization_type": "RMSPre", "eps": 1e-5, "d_normed": 9}
    model = Transformer(ModelConfig(positional_embedding_type="standard", **sizes, **kind)).double()
    generator = torch.Generator().manual_seed(5)
    for name, weight in [*model.named_parameters(), *model.named_buffers()]:
        weight.data.normal_(std=0.7, generator=generator)
        if name.endswith((".o", "W_out", "b_O", "b_out", "W_pos")):
            weight.data[..., 9:] = 0
    model.W_E.data[:, 9:] = 1
    return model.requires_grad_(False)


def test_with_layer_norm_frozen_the_parts_add_up_to_what_a_layer_and_the_unembedding_read(normed, tokens):
    ids = tokens[0]
    patterns, (x, _) = normed.patterns(ids[None]), normed.embed(ids[None])
    for layer, block in enumerate([*normed.blocks, None]):
        found = parts(normed, ids, patterns, layer)
        read = normed.normalise(x) if block is None else block.normalise(x)
        torch.testing.assert_close(sum(p.looks @ p.carried for p in found), read[0], rtol=0, atol=1e-10)
        if block is not None:
            x = block.add(x, block.head_outputs(x, patterns[layer]).sum(1))
    assert {"MLP0", "MLP0 → L1H2", "b_O of layer 1", "L0H1 → L1H0"} <= {p.name for p in found}
    why = explain_attention(normed, ids, (1, 2), destination=5, source=1)
    assert why.attention == pytest.approx(patterns[1][0, 2, 5, 1].item())
    assert math.exp(sum(t.above for t in why.terms) - why.normaliser) == pytest.approx(why.attention)


@pytest.mark.parametrize("paired", [12, 512])
@pytest.mark.parametrize(("n_layers", "head"), [(1, (0, 2)), (2, (1, 1)), (3, (2, 0))])
def test_terms_add_up_to_the_score_and_to_the_share_of_attention(
    make_model, tokens, monkeypatch, n_layers, head, paired
):
    monkeypatch.setattr(attention, "PAIRED", paired)
    model, ids = make_model(n_layers), tokens[1]
    found = explain_attention(model, ids, head, destination=5, source=3, most=10_000)
    pattern = model.patterns(ids[None])[head[0]][0, head[1]]
    assert found.attention == pytest.approx(pattern[5, 3].item())
    assert sum(t.score for t in found.terms) == pytest.approx(found.score, abs=1e-9)
    above = sum(t.above for t in found.terms)
    assert math.exp(above - found.normaliser) == pytest.approx(found.attention)
    assert [abs(t.above) for t in found.terms] == sorted((abs(t.above) for t in found.terms), reverse=True)
    for term in found.terms:
        assert sum(part.score for part in term.tokens) == pytest.approx(term.score, abs=1e-9)


def test_a_term_is_the_change_of_the_score_when_its_part_is_taken_out_of_the_query(make_model, tokens):
    """A slow twin: W_Q reads a stream that lacks one path, and nothing else changes."""
    model, ids = make_model(2), tokens[0]
    found = explain_attention(model, ids, (1, 2), destination=6, source=2)
    patterns = model.patterns(ids[None])
    whole = {p.name: p.looks @ p.carried for p in parts(model, ids, patterns, layer=1)}
    stream = sum(whole.values())
    W_Q, W_K = model.blocks[1].W_Q[2], model.blocks[1].W_K[2]

    def score(queried: torch.Tensor) -> torch.Tensor:
        return (queried[6] @ W_Q) @ (stream[2] @ W_K) / math.sqrt(model.d_head)

    for name, part in whole.items():
        change = score(stream) - score(stream - part)
        assert sum(t.score for t in found.terms if t.destination == name) == pytest.approx(change.item(), abs=1e-9)


def test_a_wired_induction_head_attends_because_an_earlier_head_moved_the_same_token(make_model):
    """L0H0 moves the token before; L1H0 asks for its own token in what L0H0 wrote: A B … A → B."""
    model = make_model(2, d_vocab=5, d_model=18, n_ctx=8, n_heads=1, d_head=8)
    for weight in model.parameters():
        weight.zero_()
    # Dimensions 0–4 hold the token, 5–9 what was moved here; positions are one-hot in the other eight.
    model.W_E[:, :5] = torch.eye(5)
    model.W_pos.zero_()
    model.W_pos[:, 10:] = torch.eye(8)
    first, then = model.blocks
    first.q[10:], first.k[10:17, 1:] = 30 * torch.eye(8), torch.eye(7)
    first.v[:5, :5] = torch.eye(5)
    first.o[:5, 5:10] = torch.eye(5)
    then.q[:5, :5], then.k[5:10, :5] = 20 * torch.eye(5), torch.eye(5)
    found = explain_attention(model, torch.tensor([0, 3, 4, 1, 3]), (1, 0), destination=4)
    assert found.source == 2 and found.attention > 0.9
    best = found.terms[0]
    assert (best.destination, best.source) == (TOKEN, "L0H0")
    assert best.tokens[0][:2] == (4, 1)  # the same token, where it stood before
    assert best.tokens[0].score == pytest.approx(best.score, rel=1e-3)
    assert all(abs(t.score) < 1e-9 for t in found.terms if POSITION in (t.destination, t.source))


def test_what_cannot_be_explained_is_refused(make_model, tokens):
    for head, destination, source in (((2, 0), 0, 0), ((0, 3), 0, 0), ((0, 0), 7, 0), ((0, 0), 3, 4)):
        with pytest.raises(InputError):
            explain_attention(make_model(2), tokens[0], head, destination, source)
