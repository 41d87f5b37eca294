"""Relative positions: what they add to attention scores, in the running model and in what is read from it."""

import math

import pytest
import torch

import skiptrace
from skiptrace.account import replaced
from skiptrace.circuits.attention import POSITION, explain_attention
from skiptrace.circuits.factored import names, qk, seen
from skiptrace.circuits.scores import score_heads
from skiptrace.config.mining import MiningParams
from skiptrace.config.scoring import ScoringParams
from skiptrace.errors import InputError
from skiptrace.evidence.causal import run_to_end
from skiptrace.mining import skip_trigrams
from skiptrace.models import checkpoint
from skiptrace.models.config import ModelConfig
from skiptrace.models.export import to_transformer_lens
from skiptrace.models.relative import alibi, slopes, slopes_in_turn
from skiptrace.models.transformer import Transformer

V, CTX = 11, 9
TOKENS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6]])


def relative(seed: int = 0, **changed: object) -> Transformer:
    """A model of two layers and three heads, each with a number for every distance."""
    config = ModelConfig(
        **{
            "n_layers": 2, "n_heads": 3, "d_model": 7, "d_head": 5, "n_ctx": CTX, "d_vocab": V,
            "positional_embedding_type": "relative", **changed,
        }
    )  # fmt: skip
    model, generator = Transformer(config), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in (*model.parameters(), *(block.distance_bias for block in model.blocks)):
            weight.normal_(std=0.7, generator=generator)
    return model.double().requires_grad_(False).eval()


def test_attention_is_that_of_a_plain_loop():
    model = relative()
    layer, pattern = model.blocks[0], model.patterns(TOKENS)[0][0]
    for head in range(3):
        for i in range(8):
            query = model.W_E[TOKENS[0, i]] @ layer.W_Q[head]
            keys = [model.W_E[TOKENS[0, j]] @ layer.W_K[head] for j in range(i + 1)]
            scores = [query @ key / 5**0.5 + layer.distance_bias[head, i - j] for j, key in enumerate(keys)]
            torch.testing.assert_close(pattern[head, i, : i + 1], torch.stack(scores).softmax(0), rtol=0, atol=1e-9)


@pytest.mark.parametrize("window", [None, 3])
def test_every_way_of_running_a_layer_gives_the_same(window):
    model = relative(attention_windows=None if window is None else [window, None])
    x, pos = model.embed(TOKENS)
    layer = model.blocks[0]
    by_pattern = layer.head_outputs(x, layer.pattern(x, pos)).sum(1)
    torch.testing.assert_close(layer(x, pos), by_pattern, rtol=0, atol=1e-9)
    last = layer.pattern(x, pos, slice(5, None))
    torch.testing.assert_close(last, layer.pattern(x, pos)[:, :, 5:], rtol=0, atol=1e-9)
    end = run_to_end(model, TOKENS)
    torch.testing.assert_close(end.logits, model(TOKENS)[:, -1], rtol=0, atol=1e-9)
    other = TOKENS.clone()
    other[0, 4] = 7
    again = run_to_end(model, other, None, end, 4)
    torch.testing.assert_close(again.logits, model(other)[:, -1], rtol=0, atol=1e-9)


@pytest.mark.parametrize("head", range(3))
def test_a_circuit_at_a_distance_is_that_of_the_tokens_and_what_is_added_there(head):
    model = relative()
    attended = model.patterns(TOKENS)[0][0, head].log()
    bias = model.blocks[0].distance_bias[head]
    for distance in (1, 4):
        found = qk(model, 0, head, distance)
        torch.testing.assert_close(found.dense(), qk(model, 0, head).dense() + bias[distance], rtol=0, atol=1e-12)
        assert found.left.shape == (V, 6)
    reference = qk(model, 0, head, 7).entries(TOKENS[:, 7], TOKENS[:, 0])
    for j in range(1, 7):
        entry = qk(model, 0, head, 7 - j).entries(TOKENS[:, 7], TOKENS[:, j])
        torch.testing.assert_close(entry - reference, (attended[7, j] - attended[7, 0])[None], rtol=0, atol=1e-9)
    assert seen(model, 0, [1, 8, 9]) == [1, 8]
    assert ("qk_at_4", "1", "2") in names(model, 0, [4])


def test_a_score_is_the_sum_of_its_terms_and_of_what_is_added():
    model = relative()
    for head in range(3):
        why = explain_attention(model, TOKENS[0], (1, head), 6, 2, most=64)
        assert sum(t.above for t in why.terms) - why.normaliser == pytest.approx(math.log(why.attention), abs=1e-9)
        term = next(t for t in why.terms if (t.destination, t.source) == (POSITION, POSITION))
        assert term.score == pytest.approx(model.blocks[1].distance_bias[head, 4].item(), abs=1e-9)
        assert sum(t.score for t in term.tokens) == pytest.approx(term.score, abs=1e-9)


def test_the_ladder_keeps_what_is_added_but_where_places_are_not_looked_at():
    model = relative().float()
    windows = torch.randint(1, V, (4, CTX + 1), generator=torch.Generator().manual_seed(2))
    means = replaced.averages(model, windows, torch.full((V,), 1 / V))
    layer, (x, pos) = model.blocks[0], model.embed(windows[:, :-1])
    written = replaced._written(layer, x, pos, means[0], replaced.QK.WHOLE, replaced.OV.WHOLE)
    torch.testing.assert_close(written, layer(x, pos), rtol=0, atol=1e-5)
    layer.q.zero_()
    by_place = replaced._written(layer, x, pos, means[0], replaced.QK.DISTANCE, replaced.OV.WHOLE)
    torch.testing.assert_close(by_place, layer(x, pos), rtol=0, atol=1e-5)
    nowhere = replaced._written(layer, x, pos, means[0], replaced.QK.TOKENS, replaced.OV.WHOLE)
    layer.distance_bias.zero_()
    torch.testing.assert_close(nowhere, layer(x, pos), rtol=0, atol=1e-5)
    # Of one source in sight, and the average of all others alike, it is the running model again.
    alone = replaced._written(layer, x, pos, means[0], replaced.QK.ALONE, replaced.OV.WHOLE)
    assert alone.isfinite().all()


def test_a_head_that_looks_where_its_numbers_say_is_found_by_its_distance():
    model = relative(n_heads=1).float()
    with torch.no_grad():
        model.blocks[0].q.mul_(0.01)
        model.blocks[0].distance_bias.fill_(-20)[:, 3] = 0
    texts = torch.randint(1, V, (6, CTX), generator=torch.Generator().manual_seed(1))
    asked = {"seed": 0, "sequences": 6, "repeated_tokens": 3, "repeats": 2, "null_draws": 5}
    heads, offsets = score_heads(model, texts, ScoringParams.model_validate(asked))
    assert heads["best_offset"][0] == 3 and heads["positional"][0] and heads["position_share"][0] > 0.9
    assert offsets[offsets["layer"] == 0].set_index("offset")["text"].idxmax() == 3


def test_a_checkpoint_keeps_it_and_transformer_lens_is_not_given_it(tmp_path):
    model = relative().float()
    checkpoint.save(model, tmp_path)
    again = checkpoint.load(tmp_path)
    assert torch.equal(again(TOKENS), model(TOKENS))
    with pytest.raises(InputError, match="positional_embedding_type"):
        to_transformer_lens(model, tmp_path / "lens")


def test_slopes_are_those_of_the_paper_and_of_either_library():
    assert slopes(8) == slopes_in_turn(8, 8.0) == [2.0**-h for h in range(1, 9)]
    torch.testing.assert_close(alibi([0.5], 4), torch.tensor([[0.0, -0.5, -1.0, -1.5]]))
    # As transformers has them: build_alibi_tensor and build_mpt_alibi_tensor.
    assert slopes(3) == pytest.approx([2.0**-4, 2.0**-8, 2.0**-2])
    assert slopes(6) == pytest.approx([2.0 ** (-2 * h) for h in range(1, 5)] + [2.0**-1, 2.0**-3])
    assert slopes_in_turn(3, 8.0) == pytest.approx([2.0**-4, 2.0**-8, 2.0**-2])
    assert slopes_in_turn(6, 8.0) == pytest.approx([2.0**-2, 2.0**-4, 2.0**-6, 2.0**-8, 2.0**-1, 2.0**-3])


def test_rows_are_mined_alike_at_every_distance():
    """What is added by distance is the same for every token: the table has no distances."""
    vocabulary = skiptrace.count_vocabulary(map(str, range(V)), torch.arange(1, V).repeat(3).numpy())
    params = MiningParams.model_validate({"min_count": 1, "sources": 3, "destinations": 2, "outs": 2})
    found = skip_trigrams.of_model(relative().float(), vocabulary, params, offsets=[1, 2])
    assert len(found) and found[["offset", "rank_offset"]].isna().all().all()
