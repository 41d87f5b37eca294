"""Tokens of directions, random heads, and removal on text, each beside a slow and obvious twin."""

import copy
import math

import pytest
import torch

from skiptrace.circuits.directions import Directions, directions
from skiptrace.circuits.factored import heads, ov, qk
from skiptrace.config.directions import DirectionsParams
from skiptrace.directions.chance import Turned, spectra
from skiptrace.directions.removed import Runs
from skiptrace.directions.study import copying_directions, readout, study, weights
from skiptrace.models.config import ModelConfig
from skiptrace.models.evaluation import window_losses
from skiptrace.models.transformer import Transformer
from tests.conftest import SIZES

PARAMS = DirectionsParams(null_draws=5, shown=2, tokens=3, removed=2, random_directions=3, contexts=4, gap=0.01)


def drawn(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="module")
def probability():
    each = drawn(0, 23).exp()
    return each / each.sum()


@pytest.fixture(scope="module")
def windows():
    tokens = torch.randint(1, 23, (4, 8), generator=torch.Generator().manual_seed(3))
    tokens[:, 0] = 0
    return tokens


def test_both_poles_of_a_direction_are_read_out_and_a_group_by_its_size():
    rows = torch.tensor(
        [[0.1, 0.0, 0.6], [-0.9, 0.0, 0.0], [0.3, 0.8, 0.0], [0.2, 0.0, -0.8], [0.2, 0.6, 0.0]],
        dtype=torch.float64,
    )
    parts = Directions(torch.ones(3).double(), rows, rows.flip(0), torch.eye(3).double(), torch.eye(3).double())
    eligible = torch.tensor([True, True, True, True, False])

    def tokens(group, role, pole):
        found = readout(parts, group, ("source", "out"), eligible, 2)
        return [(r["token_id"], r["loading"]) for r in found if (r["role"], r["pole"]) == (role, pole)]

    assert tokens(range(1), "source", 1) == [(2, 0.3), (3, 0.2)]  # 4 is not eligible
    assert tokens(range(1), "source", -1) == [(1, 0.9)]  # the others are at the other pole
    assert tokens(range(1), "out", -1) == [(3, 0.9)]
    of_two = tokens(range(1, 3), "source", 0)
    assert [t for t, _ in of_two] == [2, 3] and [size for _, size in of_two] == pytest.approx([0.8, 0.8])


def test_the_spectra_of_random_heads_are_those_of_their_circuits(make_model, probability):
    """The fast path knows products of d_head × d_head alone."""
    model = make_model(1)
    for circuit in (ov(model, 0, 1), qk(model, 0, 1)):
        slow = directions(circuit, probability, probability)
        left = circuit.left * probability.sqrt()[:, None]
        right = (circuit.right - (circuit.right @ probability)[:, None]) * probability.sqrt()
        fast = spectra(left.T @ left, right @ right.T, right @ left)
        torch.testing.assert_close(fast.values, slow.values)
        torch.testing.assert_close(fast.copying, slow.copying)


@pytest.mark.parametrize("circuit", ["ov", "qk"])
def test_random_heads_are_the_head_with_its_weights_turned(make_model, probability, circuit):
    """Each weight in random frames of the residual stream, which keep its norm and spectrum."""
    model = make_model(1)
    found = Turned(model, probability, 5, seed=2).spectra(circuit, 0, 1)
    generator = torch.Generator().manual_seed(2)
    frames = [torch.linalg.qr(torch.randn((5, 10, 4), generator=generator, dtype=torch.float64)).Q for _ in range(2)]
    for draw in range(5):
        other = copy.deepcopy(model)
        block = other.blocks[0]
        pair = (block.W_V[1], block.W_O[1].T) if circuit == "ov" else (block.W_Q[1], block.W_K[1])
        for weight, frame in zip(pair, frames, strict=True):
            norm = weight.norm().item()
            weight.copy_(frame[draw] @ torch.linalg.qr(weight).R)
            assert weight.norm().item() == pytest.approx(norm)
        slow = directions({"ov": ov, "qk": qk}[circuit](other, 0, 1), probability, probability)
        torch.testing.assert_close(found.values[draw], slow.values)
        torch.testing.assert_close(found.copying[draw], slow.copying)


def changed(model, circuit, head, take, give):
    """A model whose weights lack what is removed."""
    other, (layer, place) = copy.deepcopy(model), head
    block = other.blocks[layer]
    if circuit == "ov":
        block.W_O[place].copy_(block.W_O[place] - take @ give @ block.W_O[place])
    else:
        block.W_Q[place].copy_(block.W_Q[place] - block.W_Q[place] @ take @ give)
    return other


@pytest.mark.parametrize("head", [(0, 1), (1, 2)])
def test_removal_on_text_is_that_of_a_model_with_other_weights(make_model, probability, windows, head):
    model = make_model(2)
    with torch.no_grad():
        model.W_pos.zero_()  # queries and keys of positions stay where a direction is removed, not where W_Q changes
    for name, circuit in (("ov", ov), ("qk", qk)):
        parts = directions(circuit(model, *head), probability, probability)
        take, give = parts.remover(parts.basis[:, :2])
        other = changed(model, name, head, take, give)
        found = Runs(model, windows).without(name, head, take, give)
        rise = (window_losses(other, windows) - window_losses(model, windows)).mean(1)
        torch.testing.assert_close(found.loss, rise)
        assert rise.abs().min() > 1e-3
        before, after = (m.patterns(windows[:, :-1])[head[0]][:, head[1]] for m in (model, other))
        moved = (before - after).abs().sum(-1)[:, 1:].mean(1) / 2
        torch.testing.assert_close(found.moved, moved)
        assert (moved.max() > 1e-3) == (name == "qk")


def test_attention_without_a_direction_keeps_what_positions_give_it(make_model, probability, windows):
    """Without all of the circuit of a first layer, scores are those of positions and of tokens with positions."""
    model = make_model(1)
    tokens, block = windows[:, :-1], model.blocks[0]
    parts = directions(qk(model, 0, 2), probability, probability)
    found = Runs(model, windows).without("qk", (0, 2), *parts.remover(parts.basis))
    x, at = model.W_E[tokens], model.W_pos
    q, k = x @ block.W_Q[2], x @ block.W_K[2]
    q_at, k_at = at @ block.W_Q[2], at @ block.W_K[2]
    score = (q @ k_at.T + q_at @ k.mT + q_at @ k_at.T) / math.sqrt(model.d_head)
    pattern = score.masked_fill(torch.ones(7, 7).triu(1).bool(), -torch.inf).softmax(-1)
    moved = (pattern - model.patterns(tokens)[0][:, 2]).abs().sum(-1)[:, 1:].mean(1) / 2
    torch.testing.assert_close(found.moved, moved)


def test_a_head_copies_by_as_many_directions_as_raise_what_they_read():
    values = torch.tensor([[2.0, 1.0, 1.0, 4.0]])
    assert copying_directions(values, torch.tensor([[1.0, 0, 0, -1]])).item() == pytest.approx(1)
    assert copying_directions(values, torch.tensor([[0.5, 1, 1, 0]])).item() == pytest.approx(3)


def test_the_tables_of_a_model(make_model, probability, windows):
    model = make_model(2)
    eligible = torch.ones(23, dtype=torch.bool)
    eligible[[0, 4]] = False
    twin = copy.deepcopy(model)
    found = study(model, probability, eligible, windows, PARAMS, [twin])
    every = [(f"L{i}H{h}", c) for i, h in heads(model) for c in ("ov", "qk")]
    assert list(zip(found["spectra"]["name"], found["spectra"]["circuit"], strict=True)) == every
    groups, whole = found["groups"], found["spectra"].set_index(["name", "circuit"])
    for (name, circuit), rows in groups.groupby(["name", "circuit"]):
        assert rows["share"].sum() == pytest.approx(1)
        assert (rows["value"] ** 2 * rows["size"]).sum() ** 0.5 == pytest.approx(whole["norm"][name, circuit])
        assert rows["size"].sum() == model.d_head
        assert rows["share_null_mean"].sum() == pytest.approx(1)
        measured = rows["group"] <= PARAMS.removed
        assert rows["loss"].notna().tolist() == rows["random_loss"].notna().tolist() == measured.tolist()
        assert rows["moved"].notna().tolist() == (measured & (circuit == "qk")).tolist()
    ends = found["ends"]
    assert not set(ends["token_id"]) & {0, 4} and ends["group"].max() == PARAMS.shown
    assert set(ends.loc[ends["circuit"] == "qk", "role"]) == {"destination", "source"}
    # A twin that is the model itself.
    assert (found["twins"]["match"] == found["twins"]["name"]).all()
    assert found["twins"]["ov"].tolist() == pytest.approx([1] * 6)


def test_a_model_without_heads_has_no_rows_and_nothing_is_removed_where_nothing_is_asked_for(
    make_model, probability, windows
):
    eligible = torch.ones(23, dtype=torch.bool)
    assert all(not len(rows) for rows in study(make_model(0), probability, eligible, windows, PARAMS).values())
    spared = study(make_model(1), probability, eligible, windows, PARAMS.model_copy(update={"removed": 0}))
    assert spared["spectra"]["loss"].isna().all() and spared["groups"]["loss"].isna().all()


def test_of_rotary_positions_nothing_is_removed_from_qk_which_is_not_the_score(probability, windows):
    positions = {"positional_embedding_type": "rotary", "rotary_frequencies": [1.0, 0.1]}
    model = Transformer(ModelConfig(n_layers=1, **SIZES, **positions)).double().requires_grad_(False).eval()
    generator = torch.Generator().manual_seed(3)
    for weight in model.parameters():
        weight.normal_(std=0.7, generator=generator)
    found = study(model, probability, torch.ones(23, dtype=torch.bool), windows, PARAMS)
    loss = found["spectra"].set_index("circuit")["loss"]
    assert loss["qk"].isna().all() and loss["ov"].notna().all()
    removed = found["groups"].groupby("circuit")["loss"].apply(lambda values: values.notna().any())
    assert removed["ov"] and not removed["qk"]


def test_tokens_weigh_what_they_weigh_in_the_text_or_all_the_same(probability):
    assert weights(probability, PARAMS).tolist() == pytest.approx(probability.tolist())
    even = weights(probability, PARAMS.model_copy(update={"weighted": False}))
    assert even.tolist() == pytest.approx([1 / 23] * 23)
