import math

import numpy as np
import pytest
import torch

from skiptrace.circuits import scores
from skiptrace.circuits.factored import Circuit, ov
from skiptrace.circuits.tables import HEADS, OFFSETS
from skiptrace.config.scoring import ScoringParams
from skiptrace.models.config import ModelConfig
from skiptrace.models.transformer import Transformer

PARAMS = ScoringParams(
    seed=0,
    null_draws=50,
    null_sd=3.0,
    repeated_tokens=5,
    repeats=3,
    sequences=4,
    loss_contexts=9,
    positional_share=0.5,
    positional_attention=0.15,
)


def rotation(model: Transformer, back: int) -> torch.Tensor:
    """The matrix that turns the sinusoid of position i into that of i − back."""
    step = torch.zeros(model.d_model, model.d_model, dtype=model.W_pos.dtype)
    for pair in range(model.d_model // 2):
        angle = torch.tensor(back / 10_000 ** (2 * pair / model.d_model), dtype=step.dtype)
        sin, cos = angle.sin(), angle.cos()
        step[2 * pair : 2 * pair + 2, 2 * pair : 2 * pair + 2] = torch.stack(
            [torch.stack([cos, sin]), torch.stack([-sin, cos])]
        )
    return step


@pytest.fixture
def wired():
    """One layer: L0H0 attends one token back and copies it, L0H1 attends evenly and suppresses."""
    d = 24
    model = Transformer(ModelConfig(d_vocab=d, d_model=d, n_ctx=16, n_layers=1, n_heads=2, d_head=d)).double()
    identity = torch.eye(d, dtype=torch.float64)
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        model.W_E.copy_(0.001 * identity)  # so small that positions decide where heads attend
        model.W_U.copy_(identity)
        layer = model.blocks[0]
        layer.W_Q[0].copy_(100 * rotation(model, 1))
        layer.W_K[0].copy_(identity)
        layer.W_V[0].copy_(identity)
        layer.W_O[0].copy_(2 * identity)
        layer.W_V[1].copy_(identity)
        layer.W_O[1].copy_(-identity)
    return model.requires_grad_(False)


def test_copying_is_one_for_a_copier_and_minus_one_for_a_suppressor(wired):
    assert scores.copying(ov(wired, 0, 0)) == pytest.approx(1)
    assert scores.copying(ov(wired, 0, 1)) == pytest.approx(-1)


def test_copying_by_hand():
    # left·right has the eigenvalues of right·left = diag(3, −1): (3 − 1)/(3 + 1).
    left = torch.tensor([[3.0, 0.0], [0.0, -1.0], [5.0, 7.0]])
    right = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    assert scores.copying(Circuit("ov", "0", "0", left, right)) == pytest.approx(0.5)
    assert scores.copying(Circuit("ov", "0", "0", 0 * left, right)) == 0


def test_the_copying_null_of_wide_random_models_has_the_known_width():
    """For Gaussian matrices the score has mean 0 and standard deviation 1.5/d_head."""
    model = Transformer(ModelConfig(d_vocab=300, d_model=200, n_ctx=4, n_layers=1, n_heads=1, d_head=32))
    with torch.no_grad():
        model.W_E.copy_(torch.eye(300)[:, :200])
        model.W_U.copy_(torch.eye(300)[:200])
    null = scores.copying_null(model, 400, 0)
    assert abs(null.mean) < 0.01
    assert null.sd == pytest.approx(1.5 / 32, rel=0.15)


def test_a_head_wired_to_the_previous_token(wired):
    layer = wired.blocks[0]
    term = scores.position_scores(wired.W_pos, layer.W_Q, layer.W_K)
    pattern = scores.softmax_causal(term)
    assert scores.previous_token(pattern)[0] > 0.99
    offsets = scores.by_offset(pattern)
    assert offsets[0].argmax() == 1
    even = [np.mean([1 / (i + 1) for i in range(k, 16)]) for k in range(16)]
    np.testing.assert_allclose(offsets[1], even, atol=1e-12)


def test_by_offset_is_the_mean_of_each_diagonal():
    pattern = torch.tensor([[1.0, 0, 0], [0.3, 0.7, 0], [0.2, 0.5, 0.3]])
    torch.testing.assert_close(scores.by_offset(pattern), torch.tensor([2.0 / 3, 0.4, 0.2]))


def test_prefix_matching_of_the_perfect_induction_pattern():
    length, repeats = 4, 3
    ctx = 1 + length * repeats
    pattern = torch.zeros(ctx, ctx)
    for i in range(ctx):
        # The token after the latest earlier occurrence; the first span attends to BOS.
        pattern[i, i - length + 1 if i > length else 0] = 1
    assert scores.prefix_matching(pattern, length, repeats) == pytest.approx(1)
    assert scores.prefix_matching(torch.eye(ctx), length, repeats) == 0


def test_prefix_matching_counts_every_earlier_occurrence_by_a_slow_twin():
    length, repeats = 3, 4
    tokens = scores.repeated_tokens(50, length, repeats, 1, 0)[0].tolist()
    assert len(set(tokens)) == length + 1
    generator = torch.Generator().manual_seed(0)
    pattern = torch.rand(len(tokens), len(tokens), generator=generator).tril()
    total = 0.0
    for i in range(1 + length, len(tokens)):
        for j in range(1, i):
            if tokens[j] == tokens[i] and j + 1 <= i:
                total += pattern[i, j + 1].item()
    assert scores.prefix_matching(pattern, length, repeats) == pytest.approx(total / (length * (repeats - 1)))


def test_repeated_tokens_begin_with_bos_and_repeat():
    tokens = scores.repeated_tokens(9, 4, 3, 5, 0)
    assert tokens.shape == (5, 13)
    assert (tokens[:, 0] == 0).all()
    assert (tokens[:, 1:] > 0).all()
    assert torch.equal(tokens[:, 1:5], tokens[:, 9:13])


def test_position_share_is_one_for_position_and_small_for_content(make_model):
    text = torch.randint(1, 24, (64, 16), generator=torch.Generator().manual_seed(0))
    text[:, 0] = 0
    for strength, low, high in ((0.0, 0.999, 1.001), (200.0, 0.0, 0.05)):
        model = make_model(1, d_vocab=24, d_model=24, n_ctx=16, n_heads=1, d_head=24)
        layer = model.blocks[0]
        layer.W_Q[0].copy_(4 * rotation(model, 2))
        layer.W_K[0].copy_(torch.eye(24))
        model.W_E.mul_(strength / math.sqrt(24))
        seen = scores.on_text(model, text)[0].moments
        term = scores.position_scores(model.W_pos, layer.W_Q[0], layer.W_K[0])
        share = scores.position_share(term, seen.mean[0], seen.square[0].item())
        assert low <= share <= high


def test_moments_by_a_slow_twin(make_model, tokens):
    model = make_model(1)
    found = scores.on_text(model, tokens)[0]
    layer = model.blocks[0]
    x = model.W_E[tokens] + model.W_pos
    for head in range(3):
        raw = (x @ layer.W_Q[head]) @ (x @ layer.W_K[head]).transpose(1, 2) / 2
        square, mean = 0.0, torch.zeros(7, 7, dtype=torch.float64)
        for text in range(2):
            for i in range(1, 7):
                row = raw[text, i, 1 : i + 1] - raw[text, i, 1 : i + 1].mean()
                mean[i, 1 : i + 1] += row / 2
                square += row.square().sum().item() / 2
        torch.testing.assert_close(found.moments.mean[head], mean)
        assert found.moments.square[head].item() == pytest.approx(square)


def test_the_head_table_tells_the_wired_heads_apart(wired):
    text = torch.randint(1, 24, (8, 16), generator=torch.Generator().manual_seed(0))
    text[:, 0] = 0
    heads, offsets = scores.score_heads(wired, text, PARAMS)
    first, second = heads.iloc[0], heads.iloc[1]
    assert (first["name"], second["name"]) == ("L0H0", "L0H1")
    assert first["copies"] and not second["copies"]
    assert first["previous_token"] > 0.9
    assert second["previous_token"] == pytest.approx(second["previous_token_uniform"])
    assert first["positional"] and first["best_offset"] == 1
    assert not second["positional"]
    assert len(offsets) == 2 * 16
    assert heads.dtypes.astype(str).to_dict() == HEADS.dtypes


def test_a_model_without_heads_has_empty_tables_of_the_same_columns(make_model, tokens):
    heads, offsets = scores.score_heads(make_model(0), tokens, PARAMS)
    assert len(heads) == len(offsets) == 0
    assert list(heads.columns) == HEADS.names and list(offsets.columns) == OFFSETS.names


def test_own_row_by_hand():
    # Rows 0 and 2 put their own token first, row 1 second; row 3 puts it last and below the mean.
    dense = torch.tensor([[9.0, 0, 0, 0], [5, 4, 0, 0], [0, 0, 1, 0], [3, 3, 3, -9]])
    circuit = Circuit("ov", "0", "0", dense, torch.eye(4))
    for rows in (1, 3, 4):
        assert scores.own_row([circuit], rows) == (0.5, 1.0, 0.75)
    half = Circuit("ov", "0", "1", dense / 2, torch.eye(4))
    assert scores.own_row([half, half], 3) == (0.5, 1.0, 0.75)
    # Of a large vocabulary, tokens spread by id: here 0 and 2, of three 0, 1 and 2.
    assert scores.own_row([circuit], 4, most=2) == (1.0, 1.0, 1.0)
    assert scores.own_row([circuit], 2, most=3) == pytest.approx((2 / 3, 1.0, 1.0))


def test_scores_against_the_position_term_are_not_explained_by_it():
    term = torch.randn(6, 6, generator=torch.Generator().manual_seed(0))
    mean = scores.centred(term)
    square = mean.square().sum().item()
    assert scores.position_share(term, mean, square) == pytest.approx(1)
    assert scores.position_share(term, -mean, square) == 0
