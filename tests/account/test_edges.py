"""The account at the edges: single heads, unseen tokens, and models that are more than their circuits."""

import numpy as np
import pandas as pd
import pytest
import torch

from skiptrace.account import orders
from skiptrace.account.entries import splits
from skiptrace.account.study import RUNGS, Text, account
from skiptrace.config.account import AccountParams
from skiptrace.models.evaluation import window_losses
from skiptrace.models.windows import spread_windows

PARAMS = AccountParams(contexts=3, selection=3, entries=[2, 9], rows=4, shown_rows=3)
PUBLISHED = orders.Published(torch.arange(1, 20), 0.1)
NORM = {"normalization_type": "RMSPre", "eps": 1e-5, "d_normed": 9}
MORE = {
    "layer norm": NORM,
    "MLPs": {"attn_only": False, "d_mlp": 13, "act_fn": "gelu"},
    "layer norm and MLPs": NORM | {"attn_only": False, "d_mlp": 13, "act_fn": "gelu"},
    "rotary positions": {"positional_embedding_type": "rotary", "rotary_frequencies": [1.0, 0.1]},
    "learned positions": {"positional_embedding_type": "standard"},
}


@pytest.fixture(scope="module")
def text():
    """Text of 19 tokens; the vocabulary has 23."""
    stream = np.random.default_rng(0).integers(1, 20, 300).astype(np.uint16)
    count = torch.from_numpy(np.bincount(stream, minlength=23)).float()
    return Text(stream, stream[:90], count / count.sum(), pd.Series([f"t{i}" for i in range(23)]))


@pytest.mark.parametrize("n_layers", [1, 2])
def test_a_single_head_in_a_vocabulary_with_tokens_that_the_text_never_shows(make_model, text, n_layers):
    model = make_model(n_layers, n_heads=1).float()
    found = account(model, text, PARAMS, PUBLISHED)
    assert found.ladder[["loss", "lost"]].notna().all(axis=None)
    curve = found.curve.set_index(["circuit", "order", "entries"])["recovered"]
    assert np.isfinite(curve).all() and {"rounds", "attribution", "published", "entry", "random"} < set(
        found.curve["order"]
    )
    assert (found.entries["head"] == 0).all() and (found.entries.groupby("circuit").size() <= 9).all()
    seen = found.entries.loc[found.entries["circuit"] == "ov", "row_id"]
    assert seen.isin(range(20)).all()  # what the text never shows saves nothing


@pytest.mark.parametrize("more", MORE)
def test_of_a_model_that_is_more_than_its_circuits_the_ladder_alone_is_measured(make_model, text, more):
    model = make_model(2, **MORE[more]).float()
    for weight in model.parameters():
        weight.mul_(0.3)  # MLPs of larger ones blow up
    for layer in model.blocks:
        if layer.b_O is not None:
            layer.b_O.fill_(0.1)
    assert not splits(model)
    found = account(model, text, PARAMS, PUBLISHED)
    assert found.curve.empty and found.entries.empty and found.skip_bigrams.empty and found.skip_trigrams.empty
    rungs = found.ladder.set_index(["layers", "rung"])["loss"]
    assert np.isfinite(rungs).all() and len(rungs) == 1 + 3 * len(RUNGS)
    held_out = spread_windows(text.valid, model.n_ctx, PARAMS.contexts)
    whole = window_losses(model, held_out).double().mean().item()
    assert rungs["all", "whole model"] == pytest.approx(whole, rel=1e-5)
    assert abs(rungs["all", "direct path"] - whole) > 1e-5  # without heads it is another model
