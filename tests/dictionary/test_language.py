import numpy as np
import pandas as pd
import pytest
import torch

from skiptrace.config.dictionaries import ModelDictionaryParams
from skiptrace.dictionary import language, sites
from skiptrace.dictionary.matching import match, null
from skiptrace.models.evaluation import mean_loss

PARAMS = ModelDictionaryParams(
    kind="model", source="data/models/m", data="data/tokens/c", seed=0, entries=6, penalties=(0.1, 1.0), k=(2,),
    shown=2, steps=30, batch_size=16, learning_rate=0.01, resample_every=10, windows=4, check_windows=5, contexts=2,
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
    assert x.shape == (10, 5 * 6)
    assert float(sites.losses_with(model, windows, site, x).mean()) == pytest.approx(
        mean_loss(model, [windows]), rel=1e-5
    )


def test_the_residual_set_to_zero_leaves_an_even_guess(make_model, windows):
    model = make_model(1).float()
    zero = torch.zeros(10, 30)
    assert sites.losses_with(model, windows, "residual", zero).tolist() == pytest.approx([np.log(23)] * 30, rel=1e-5)


def test_the_residual_is_the_models_own(make_model, windows):
    model = make_model(2).float()
    own = model.residual(windows[:, :-1])[:, 1:].flatten(0, 1).T
    assert torch.allclose(sites.activations(model, windows, "residual"), own, atol=1e-4)


def test_the_source_of_a_feature_by_the_double_loop(make_model, windows):
    """What every head moves from every position, through the feature's encoder row, one at a time."""
    model = make_model(1).float()
    layer, tokens = model.blocks[0], windows[:, :-1]
    state = sites.run(model, tokens)
    encoder = torch.randn(10, generator=torch.Generator().manual_seed(3))
    pattern = model.patterns(tokens)[0]
    for window, position in ((0, 5), (3, 2)):
        given = {}
        for head in range(3):
            for source in range(position + 1):
                value = model.W_E[tokens[window, source]] @ layer.W_V[head]
                moved = pattern[window, head, position, source] * value
                given[head, source] = float(moved @ layer.W_O[head] @ encoder)
        best = max(given, key=given.__getitem__)
        assert sites.sources(model, state, encoder, window, position) == best


def test_what_heads_write_is_the_sum_of_each_alone(make_model, windows):
    model = make_model(1).float()
    layer, tokens = model.blocks[0], windows[:, :-1]
    pattern = model.patterns(tokens)[0]
    slow = sum(pattern[:, h] @ model.W_E[tokens] @ layer.W_V[h] @ layer.W_O[h] for h in range(3))
    assert torch.allclose(sites.activations(model, windows, "heads"), slow[:, 1:].flatten(0, 1).T, atol=1e-4)


def test_the_document_of_every_position(make_model):
    """Contexts of four tokens at even distances: their first three, after the BOS that is put before them."""
    stream = np.array([0, 7, 8, 0, 6, 5, 4, 0, 3, 2])
    assert language.documents(stream, 4, 3).tolist() == [0, 0, 0, 3, 3, 3, 3, 7, 7]


@pytest.mark.parametrize("site", sites.SITES)
def test_a_site_is_taken_apart_and_described(make_model, site):
    model = make_model(1).float()
    stream = np.random.default_rng(0).integers(1, 23, 300)
    text = language.Text(stream, stream[:120], pd.Series([f"t{i}" for i in range(23)]))
    found = language.decompose(model, text, site, PARAMS)
    assert found.sweep[["penalty", "k"]].to_numpy().tolist() == [[0.1, 6], [1.0, 6], [0, 2]]
    assert found.sweep["l0"].iloc[0] > found.sweep["l0"].iloc[1] and found.sweep["l0"].iloc[2] <= 2
    assert (
        found.sweep["loss_recovered"]
        .between(found.sweep["loss_recovered_low"], found.sweep["loss_recovered_high"])
        .all()
    )
    assert len(found.densities) == 18 and len(found.features) == 6
    check = language.spread_windows(text.valid, model.n_ctx, 5)
    one = found.autoencoders[slice(2, 3)]
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


def test_by_batch_the_floor_keeps_k_on_average_and_the_others_are_as_without(make_model):
    model = make_model(1).float()
    stream = np.random.default_rng(0).integers(1, 23, 300)
    text = language.Text(stream, stream[:120], pd.Series([f"t{i}" for i in range(23)]))
    alone = language.decompose(model, text, "residual", PARAMS)
    beside = language.decompose(model, text, "residual", PARAMS.model_copy(update={"batch_k": (2, 3)}))
    assert beside.sweep["kind"].tolist() == ["L1", "L1", "TopK", "BatchTopK", "BatchTopK"]
    pd.testing.assert_frame_equal(beside.sweep.head(3), alone.sweep)
    by_batch = beside.sweep.tail(2)
    assert by_batch["k"].tolist() == [2, 3] and by_batch["l0"].tolist() == pytest.approx([2, 3], abs=0.7)
    x = sites.activations(model, language.random_windows(stream, model.n_ctx, 40, 0, 0), "residual")
    one = beside.autoencoders[slice(3, 4)]
    together, apart = one.features(x[None])[0], [one.features(x[None, :, i : i + 1])[0] for i in range(9)]
    torch.testing.assert_close(together[:, :9], torch.cat(apart, 1))  # whatever else is in the batch
    per_input = (together > 0).sum(0)
    assert per_input.min() < 2 < per_input.max()


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
    assert sweep["token_mean_recovered"].tolist() == pytest.approx([1.0] * 3, abs=1e-5)
    assert (sweep["loss_recovered"] <= 1 + 1e-6).all()
