import numpy as np
import pandas as pd
import pytest
import torch

from skiptrace.config.dictionaries import ModelDictionaryParams
from skiptrace.dictionary import language, sites
from skiptrace.dictionary.matching import match, null
from skiptrace.models.evaluation import mean_loss

PARAMS = ModelDictionaryParams(
    kind="model", source="data/models/m", data="data/tokens/c", seed=0, entries=6, penalties=(0.1, 1.0), shown=0.1,
    steps=30, batch_size=16, learning_rate=0.01, resample_every=10, windows=4, check_windows=5, contexts=2,
    context_tokens=3, outs=4,
)  # fmt: skip


@pytest.fixture
def windows():
    tokens = torch.randint(1, 23, (5, 8), generator=torch.Generator().manual_seed(2))
    tokens[:, 0] = 0
    return tokens


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("site", sites.SITES)
def test_putting_back_what_was_read_changes_nothing(make_model, windows, layers, site):
    model = make_model(layers).float()
    x = sites.activations(model, windows, site)
    assert x.shape == ({"residual": 10, "heads": 12}[site], 5 * 6)
    assert sites.loss_with(model, windows, site, x) == pytest.approx(mean_loss(model, [windows]), rel=1e-5)


def test_the_residual_set_to_zero_leaves_an_even_guess(make_model, windows):
    model = make_model(1).float()
    zero = torch.zeros(10, 30)
    assert sites.loss_with(model, windows, "residual", zero) == pytest.approx(np.log(23), rel=1e-5)


def test_the_residual_is_the_models_own(make_model, windows):
    model = make_model(2).float()
    own = model.residual(windows[:, :-1])[:, 1:].flatten(0, 1).T
    assert torch.allclose(sites.activations(model, windows, "residual"), own, atol=1e-4)


@pytest.mark.parametrize("site", sites.SITES)
def test_the_source_of_a_feature_by_the_double_loop(make_model, windows, site):
    """What every head moves from every position, through the feature's encoder row, one at a time."""
    model = make_model(1).float()
    layer, tokens = model.blocks[0], windows[:, :-1]
    state = sites.run(model, tokens)
    encoder = torch.randn({"residual": 10, "heads": 12}[site], generator=torch.Generator().manual_seed(3))
    pattern = model.patterns(tokens)[0]
    for window, position in ((0, 5), (3, 2)):
        given = {}
        for head in range(3):
            for source in range(position + 1):
                value = model.W_E[tokens[window, source]] @ layer.W_V[head]
                moved = pattern[window, head, position, source] * value
                row = layer.W_O[head] @ encoder if site == "residual" else encoder[4 * head : 4 * head + 4]
                given[head, source] = float(moved @ row)
        best = max(given, key=given.__getitem__)
        assert sites.sources(model, state, site, encoder, window, position) == best


def test_directions_reach_the_logits_through_the_heads_outputs(make_model):
    model = make_model(1).float()
    direction = torch.zeros(12, 1)
    direction[5] = 2.0  # the second head's second coordinate
    slow = 2 * model.blocks[0].W_O[1, 1] @ model.W_U
    assert torch.allclose(sites.to_logits(model, "heads", direction)[0], slow - slow.mean(), atol=1e-5)


@pytest.mark.parametrize("site", sites.SITES)
def test_a_site_is_taken_apart_and_described(make_model, site):
    model = make_model(1).float()
    stream = np.random.default_rng(0).integers(1, 23, 300)
    text = language.Text(stream, stream[:120], pd.Series([f"t{i}" for i in range(23)]))
    found = language.decompose(model, text, site, PARAMS)
    assert found.sweep["penalty"].tolist() == [0.1, 1.0]
    assert found.sweep["l0"].iloc[0] > found.sweep["l0"].iloc[1]
    assert len(found.densities) == 12 and len(found.features) == 6
    check = language.spread_windows(text.valid, model.n_ctx, 5)
    one = found.autoencoders[slice(0, 1)]
    f = one.features(sites.activations(model, check, site)[None])[0]
    assert found.features["density"].tolist() == pytest.approx((f > 0).float().mean(1).tolist())
    for row in found.contexts.itertuples():
        per_window = f[row.feature].unflatten(0, (5, 6))
        strongest = per_window.amax(1).sort(descending=True).values
        assert row.activation == pytest.approx(strongest[row.rank].item(), rel=1e-4)
        window, position = divmod(int(per_window.argmax()), 6)
        if row.rank == 0:
            assert row.token_id == int(check[window, position + 1]) and row.token == f"t{row.token_id}"
    again = language.decompose(model, text, site, PARAMS)
    assert torch.equal(again.autoencoders.decoder, found.autoencoders.decoder)


def test_a_feature_matches_by_head_source_and_out():
    features = pd.DataFrame({"feature": [0, 1, 2], "out_ids": [[7, 8], [7], [9]], "outs": [["a"], ["a"], ["b"]]})
    contexts = pd.DataFrame({"feature": [0, 1, 2], "head": [1, 0, 1], "source_id": [4, 4, 4]})
    mined = pd.DataFrame(
        {
            "layer": [0, 0],
            "head": [1, 1],
            "source_id": [4, 4],
            "out_id": [8, 3],
            "source": ["s", "s"],
            "out": ["x", "y"],
        }
    )
    found = match(features, contexts, mined)
    assert [(m.feature, m.rows) for m in found] == [(0, ((1, "s", "x"),))]
    assert match(features, contexts, mined.head(0)) == []
    # Dealt at random, out 8 reaches feature 0 or 2 (head 1, source 4) two times in three.
    assert null(features, contexts, mined, 300, 0) == pytest.approx(2 / 3, abs=0.1)


def test_token_means_by_hand():
    x = torch.tensor([[1.0, 2.0, 6.0, 3.0], [0.0, 4.0, 2.0, 2.0]])
    found = language.token_means(x, torch.tensor([2, 2, 0, 2]), 4)
    assert found.T.tolist() == [[6, 2], [3, 2], [2, 2], [3, 2]]  # tokens 1 and 3 were never read


def test_a_model_without_attention_to_context_is_recovered_by_the_mean_for_the_token(make_model, windows):
    """Its residual stream is a function of the token, so that nothing is left for a dictionary to find."""
    model = make_model(1).float()
    model.blocks[0].o.zero_()
    text = language.Text(windows.flatten().numpy(), windows.flatten().numpy(), pd.Series([f"t{i}" for i in range(23)]))
    params = PARAMS.model_copy(update={"windows": 40})
    sweep = language.decompose(model, text, "residual", params).sweep
    assert sweep["token_mean_recovered"].tolist() == pytest.approx([1.0, 1.0], abs=1e-5)
    assert (sweep["loss_recovered"] <= 1 + 1e-6).all()
