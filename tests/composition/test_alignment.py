import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skiptrace.composition import alignment, heads
from skiptrace.composition.heads import composition
from tests.composition.conftest import V


def test_scores_are_norms_of_dense_products(make_model, params):
    model = make_model(3)
    table = composition(model, params)
    assert len(table) == 3 * 3 * 9
    for row in table.to_dict("records"):
        one, two = model.blocks[row["from_layer"]], model.blocks[row["to_layer"]]
        W_OV = one.W_V[row["from_head"]] @ one.W_O[row["from_head"]]
        W_QK = two.W_Q[row["to_head"]] @ two.W_K[row["to_head"]].T
        later = {"Q": W_QK, "K": W_QK.T, "V": two.W_V[row["to_head"]] @ two.W_O[row["to_head"]]}[row["kind"]]
        assert row["score"] == pytest.approx(((W_OV @ later).norm() / W_OV.norm() / later.norm()).item())
        reads = {"Q": two.W_Q, "K": two.W_K, "V": two.W_V}[row["kind"]][row["to_head"]]
        frames = torch.linalg.qr(one.W_O[row["from_head"]].T).Q.T @ torch.linalg.qr(reads).Q
        cosines = torch.linalg.svdvals(frames)
        assert row["overlap"] == pytest.approx(cosines.square().mean().item())
        assert row["closest"] == pytest.approx(cosines[0].item())
        assert row["from"] == f"L{row['from_layer']}H{row['from_head']}"


def test_a_wired_previous_token_head_is_composed_with_by_keys_alone(wired, params):
    table = composition(wired, params).set_index(["kind", "from", "to"])
    one = table.loc[("K", "L0H0", "L1H0")]
    assert one["score"] == pytest.approx(1 / math.sqrt(V))
    assert one["overlap"] == pytest.approx(
        V / 64
    )  # all of what is written, in the d_head directions that could be read
    assert one["closest"] == pytest.approx(1)
    assert one["significant"]
    others = table.drop(("K", "L0H0", "L1H0"))
    assert not others["significant"].any()
    assert others["score"].max() < 1e-12 and others["overlap"].max() < 1e-12


def test_what_cannot_compose_is_the_null_of_what_can(make_model, params):
    model = make_model(3)
    table = composition(model, params)

    def score(kind: str, writer: tuple[int, int], reader: tuple[int, int]) -> float:
        one, two = model.blocks[writer[0]], model.blocks[reader[0]]
        W_OV, W_QK = one.W_V[writer[1]] @ one.W_O[writer[1]], two.W_Q[reader[1]] @ two.W_K[reader[1]].T
        later = {"Q": W_QK, "K": W_QK.T, "V": two.W_V[reader[1]] @ two.W_O[reader[1]]}[kind]
        return ((W_OV @ later).norm() / W_OV.norm() / later.norm()).item()

    every = [(layer, head) for layer in range(3) for head in range(3)]
    for kind, rows in table.groupby("kind"):
        impossible = [score(kind, w, r) for w in every for r in every if r[0] <= w[0] and r != w]
        assert sorted(heads.impossible_scores(model, kind).tolist()) == pytest.approx(sorted(impossible))
        assert rows["impossible_max"].tolist() == pytest.approx([max(impossible)] * len(rows))
        assert not (rows["significant"] & (rows["score"] <= max(impossible))).any()
    assert not (table["below"] & table["significant"]).any()
    assert (table["below"] == (table["z"] <= -params.null_sd)).all()


def test_the_nulls_have_their_known_means():
    d, r = 50, 7
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    writers = alignment.written(draw(2, d, r), draw(2, r, d))
    readers = alignment.read(draw(3, d, r), draw(3, r, d))
    (null,) = alignment.rotated([(writers, readers)], 400, 0)
    assert null.mean.shape == (2, 3)
    torch.testing.assert_close(null.mean**2 + null.sd**2, torch.full((2, 3), 1 / d).double(), rtol=0.05, atol=0)
    chance = alignment.gaussian(d, r, 200, 0)
    assert chance.mean.item() == pytest.approx(1 / math.sqrt(d), rel=0.03)
    one, two = alignment.random_overlaps(d, [(r, r), (r, 20)], 400, 0)
    assert one.mean.item() == pytest.approx(r / d, rel=0.05)
    assert two.mean.item() == pytest.approx(20 / d, rel=0.05)


def test_where_heads_are_as_wide_as_the_stream_angles_are_not_applicable(make_model, params):
    table = composition(make_model(2, d_head=10), params)
    assert table["overlap_z"].isna().all()
    assert (table["overlap"] - 1).abs().max() < 1e-9
    assert table.drop(columns="overlap_z").notna().all().all()


@pytest.mark.parametrize("n_layers", [0, 1])
def test_fewer_than_two_layers_have_no_pairs(make_model, params, n_layers):
    table = composition(make_model(n_layers), params)
    assert table.empty and "score" in table


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 99))
def test_the_score_lies_between_0_and_1_and_ignores_scale(rank_w, rank_r, seed):
    generator = torch.Generator().manual_seed(seed)
    W = torch.randn(1, rank_w, 8, dtype=torch.float64, generator=generator)
    R = torch.randn(1, 8, rank_r, dtype=torch.float64, generator=generator)
    found = alignment.scores(alignment.writes(W), alignment.reads(R))
    scaled = alignment.scores(alignment.writes(3 * W), alignment.reads(R / 7))
    for a, b in zip(found, scaled, strict=True):
        assert 0 <= a.item() <= 1 + 1e-9
        assert a.item() == pytest.approx(b.item())
