"""A two-layer model wired by hand into an induction circuit, so that every score is known."""

import pytest
import torch

from skiptrace.config.composition import CompositionParams
from skiptrace.config.scoring import ScoringParams
from skiptrace.models.config import ModelConfig
from skiptrace.models.transformer import Transformer

V, CTX, D_HEAD = 60, 13, 64
SHARP = 60.0  # attention scores of a match; all others are 0


@pytest.fixture
def params():
    return ScoringParams(seed=3, null_draws=40, repeated_tokens=4, repeats=3, sequences=5)


@pytest.fixture
def shown():
    pairs = {"pets": [("cat", "dog")]}
    return CompositionParams(examples=2, example_tokens=6, word_pairs=pairs, pairs_per_family=9, min_count=1)


@pytest.fixture
def wired():
    """L0H0 moves each token to the next place, L1H0 looks there for its own token and copies; the others do nothing.

    Dimensions: the token, the token before, the position.
    """
    token, before, place = (slice(0, V), slice(V, 2 * V), slice(2 * V, 2 * V + CTX))
    sizes = {"n_layers": 2, "n_heads": 2, "d_head": D_HEAD}
    model = Transformer(ModelConfig(d_vocab=V, d_model=2 * V + CTX + 1, n_ctx=CTX, **sizes)).double()
    match = SHARP * D_HEAD**0.5
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        model.W_pos.zero_()
        model.W_E[:, token] = torch.eye(V)
        model.W_U[token] = torch.eye(V)
        model.W_pos[:, place] = torch.eye(CTX)
        early, late = model.blocks
        early.W_Q[0][place, :CTX] = match * torch.eye(CTX).roll(-1, 1).tril()
        early.W_K[0][place, :CTX] = torch.eye(CTX)
        early.W_V[0][token, :V] = torch.eye(V)
        early.W_O[0][:V, before] = torch.eye(V)
        late.W_Q[0][token, :V] = match * torch.eye(V)
        late.W_K[0][before, :V] = torch.eye(V)
        late.W_V[0][token, :V] = torch.eye(V)
        late.W_O[0][:V, token] = 9 * torch.eye(V)
    return model.requires_grad_(False).eval()
