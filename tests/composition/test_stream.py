import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from skiptrace.composition import features, stream
from skiptrace.composition.deletion import deletion
from skiptrace.composition.virtual_weights import virtual_weights
from skiptrace.errors import InputError
from skiptrace.models.config import ModelConfig
from skiptrace.models.transformer import Transformer
from tests.composition.conftest import V


def test_virtual_weights_are_norms_of_dense_products(make_model, params):
    model = make_model(2)
    table = virtual_weights(model, params).set_index(["writer", "reader"])
    readers, later = 2 * 9, 9
    assert len(table) == (readers + 1) + 2 * 6 + 3 * (later + 1) + 3
    pairs = {
        ("W_E", "L1H2 W_K"): (model.W_E, model.blocks[1].W_K[2]),
        ("W_pos", "L0H1 W_Q"): (model.W_pos, model.blocks[0].W_Q[1]),
        ("L0H2 W_O", "L1H0 W_V"): (model.blocks[0].W_O[2], model.blocks[1].W_V[0]),
        ("L1H1 W_O", "W_U"): (model.blocks[1].W_O[1], model.W_U),
        ("W_E", "W_U"): (model.W_E, model.W_U),
    }
    for key, (writer, reader) in pairs.items():
        expected = (writer @ reader).norm() / writer.norm() / reader.norm()
        assert table.loc[key, "score"] == pytest.approx(expected.item())
    impossible = [
        ((one := model.blocks[i].W_O[h]) @ (two := model.blocks[j].W_K[g])).norm() / one.norm() / two.norm()
        for i, j in ((0, 0), (1, 0), (1, 1))
        for h in range(3)
        for g in range(3)
        if (i, h) != (j, g)
    ]
    assert table.loc[("L0H2 W_O", "L1H0 W_K"), "impossible_max"] == pytest.approx(max(impossible).item())
    assert table.loc[[("W_E", "L1H2 W_K"), ("L1H1 W_O", "W_U")], "impossible_max"].isna().all()
    assert ("W_pos", "L0H1 W_V") not in table.index and ("W_pos", "W_U") not in table.index
    assert ("L1H1 W_O", "L0H0 W_Q") not in table.index and ("L0H1 W_O", "L0H0 W_Q") not in table.index


def test_effective_rank_counts_equal_directions():
    assert stream.effective_rank(torch.tensor([4.0, 4.0, 4.0, 0.0])).item() == pytest.approx(3)
    assert stream.effective_rank(torch.tensor([7.0, 0.0])).item() == pytest.approx(1)
    assert stream.effective_rank(torch.zeros(3)).item() == 0


def test_a_subspace_is_the_fewest_directions_that_hold_the_share():
    vectors = torch.diag(torch.tensor([3.0, 2.0, 1.0, 0.0])).double()  # squares 9, 4, 1: 64 %, 93 %, 100 %
    for share, rank in ((0.6, 1), (0.65, 2), (0.9, 2), (0.95, 3), (1.0, 3)):
        assert stream.subspace(vectors, share).shape == (4, rank)
    assert stream.subspace(0 * vectors, 0.9).shape == (4, 0)


@pytest.fixture
def deleting():
    """L0H0 copies the token into other dimensions, L1H0 reads it there and takes it away; attention is on itself."""
    d, n = 8, 6
    model = Transformer(ModelConfig(d_vocab=d, d_model=2 * d, n_ctx=n, n_layers=2, n_heads=1, d_head=d)).double()
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        model.W_pos.copy_(F.pad(100 * torch.eye(n), (d, d - n)))
        model.W_E[:, :d] = torch.eye(d)
        for layer in model.blocks:
            layer.W_Q[0][d:] = torch.eye(d)
            layer.W_K[0][d:] = torch.eye(d)
        early, late = model.blocks
        early.W_V[0][:d] = torch.eye(d)
        early.W_O[0][:, d:] = torch.eye(d)
        late.W_V[0][d:] = torch.eye(d)
        late.W_O[0][:, d:] = -torch.eye(d)
    return model.requires_grad_(False)


TEXT = torch.tensor([[0, 1, 2, 3, 4, 5], [0, 7, 6, 5, 4, 3]])


def test_a_deleting_head_is_found(deleting, params):
    written = stream.on_text(deleting, TEXT, 1.0)
    table = deletion(deleting, written, params).set_index(["head", "writer"])
    one = table.loc[("L1H0", "L0H0")]
    assert one["negative"] == pytest.approx(1) and one["z"] > 2
    assert one["cosine"] == pytest.approx(-1) and one["cosine_z"] < -3
    # Seven directions hold all of it; the stream there is what L0H0 wrote, one unit vector at every place.
    assert (one["dimensions"], one["before"], one["after"]) == (7, pytest.approx(1), pytest.approx(0, abs=1e-6))
    assert one["after_shuffled"] > 0.9
    other = table.loc[("L0H0", "embedding")]
    assert other["cosine"] == pytest.approx(0) and other["after"] == pytest.approx(other["before"])
    assert len(table) == 3  # L1H0 writes after L0H0 has read: that pair is the null and no row
    # Of that pair: L0H0 reads none of what L1H0 writes, so no eigenvalue is negative and nothing is cancelled.
    assert (table["impossible_cosine"] == 0).all() and (table["impossible_z"] < 0).all()
    lenient = deletion(deleting, written, params.model_copy(update={"null_sd": 2.0})).set_index(["head", "writer"])
    assert lenient["deletes"].to_dict() == {key: key == ("L1H0", "L0H0") for key in lenient.index}


def test_what_a_head_cancels_of_a_later_writer_too_is_no_deletion(deleting, params):
    """L1H0 points against what L0H0 wrote; L0H0 points more against what only L1H0 writes, later."""
    with torch.no_grad():
        deleting.W_E[:, 8:] = torch.eye(8)
        early, late = deleting.blocks
        early.W_V[0].zero_()
        early.W_V[0][8:] = torch.eye(8)
        early.W_O[0][:, 8:] = -2 * torch.eye(8)
        late.W_O[0][:, 8:] = torch.eye(8) + torch.eye(8).roll(1, 0)
        late.W_V[0][8:] = -torch.eye(8)
    written = stream.on_text(deleting, TEXT, 1.0)
    lenient = params.model_copy(update={"null_sd": 2.0})
    one = deletion(deleting, written, lenient).set_index(["head", "writer"]).loc[("L1H0", "L0H0")]
    assert one["z"] > 2 and one["cosine"] < -0.5 and one["cosine_z"] < -2
    assert one["impossible_cosine"] == pytest.approx(-1) and not one["deletes"]


def test_an_output_that_has_nothing_to_do_with_the_stream_deletes_nothing(make_model, params):
    """Even where the writer's directions hold far more than others do."""
    generator = torch.Generator().manual_seed(0)

    def vectors(*sizes):
        return torch.randn(4000, 10, dtype=torch.float64, generator=generator) * torch.tensor(sizes).double()

    model, before = make_model(1), vectors(*[4] * 3, *[1] * 7)
    first = stream.Written("embedding", None, before, torch.eye(10, dtype=torch.float64)[:, :3])
    reader = stream.Written("L0H0", (0, 0), vectors(*[1] * 10), torch.eye(10, dtype=torch.float64))
    (row,) = deletion(model, stream.Stream([first, reader], [before]), params).to_dict("records")
    assert abs(row["cosine"]) < 0.05 and abs(row["cosine_z"]) < 3
    assert row["after"] == pytest.approx(row["after_shuffled"], rel=0.01)


def test_who_writes_nothing_has_no_room(deleting, params, shown):
    with torch.no_grad():
        deleting.blocks[0].W_O.zero_()
    written = stream.on_text(deleting, TEXT, shown.subspace_share)
    table = stream.writers(deleting, written, params).set_index("name")
    assert table.loc["L0H0", ["norm", "dimensions", "effective_rank", "weights_effective_rank"]].tolist() == [0] * 4
    assert stream.overlaps(deleting, written, params).empty  # nor does L1H0, which has nothing to take away
    assert deletion(deleting, written, params)["writer"].unique().tolist() == ["embedding"]


def test_writers_of_the_deleting_model(deleting, params, shown):
    written = stream.on_text(deleting, TEXT, shown.subspace_share)
    table = stream.writers(deleting, written, params).set_index("name")
    assert table["norm"].tolist() == pytest.approx([1, 1, 1])
    # Tokens 1 … 7 with counts 1 1 2 2 2 1 1, each a direction of its own.
    share = torch.tensor([1, 1, 2, 2, 2, 1, 1]).double() / 10
    expected = torch.special.entr(share).sum().exp().item()
    assert table["effective_rank"].tolist() == pytest.approx([expected] * 3)
    assert table.loc["embedding", "weights_effective_rank"] == pytest.approx(8)
    overlap = stream.overlaps(deleting, written, params).set_index(["writer", "other"])["overlap"]
    assert overlap["L1H0", "L0H0"] == pytest.approx(1)
    assert overlap["L0H0", "embedding"] == pytest.approx(0)


def test_a_model_without_layers_has_one_writer(make_model, tokens, params, shown):
    model = make_model(0)
    written = stream.on_text(model, tokens, shown.subspace_share)
    assert stream.writers(model, written, params)["name"].tolist() == ["embedding"]
    assert stream.overlaps(model, written, params).empty and deletion(model, written, params).empty
    assert virtual_weights(model, params)["reader"].tolist() == ["W_U"]


WORDS = ["<bos>", "cat", "dog", " cat", " dog", " cats", " dogs", "Cat", "Dog", "tree", " tree", " trees", "x1", "as",
         "a", "DOG", "A"]  # fmt: skip


def test_families_are_found_in_the_vocabulary(shown):
    token, count = pd.Series(WORDS), pd.Series([9] * 11 + [1] * 2 + [9] * 4)
    found = {f.name: f for f in features.families(token, count, shown.model_copy(update={"min_count": 2}))}
    pairs = {
        name: {(WORDS[a], WORDS[b]) for a, b in zip(f.first.tolist(), f.second.tolist(), strict=True)}
        for name, f in found.items()
    }
    assert pairs == {
        "leading space": {("cat", " cat"), ("dog", " dog"), ("tree", " tree")},
        "capitalised": {("cat", "Cat"), ("dog", "Dog"), ("a", "A")},
        "upper case": {("dog", "DOG")},
        "plural": {(" cat", " cats"), (" dog", " dogs")},  # trees are too rare; "as" is no plural
        "pets": {("cat", "dog"), (" cat", " dog")},
    }


def test_a_word_list_may_not_take_a_built_in_name(shown):
    taken = shown.model_copy(update={"word_pairs": {"plural": (("ox", "oxen"),)}})
    with pytest.raises(InputError, match=r"composition\.word_pairs\.plural"):
        features.families(pd.Series(WORDS), pd.Series([9] * len(WORDS)), taken)


def test_pairs_that_are_merely_close_share_no_direction(make_model, params):
    """b near a makes every parallelogram come out right without any common difference."""
    model = make_model(1, d_vocab=40, d_model=30)
    first, second = torch.arange(1, 17), torch.arange(17, 33)
    near = torch.randn(16, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    model.W_E[second] = model.W_E[first] + 0.2 * near
    row = features.directions(model, [features.Family("near", first, second)], params).iloc[0]
    assert abs(row["z"]) < 3
    assert row["accuracy_nearest"] == 1 and row["accuracy"] <= 1


def test_a_family_with_one_direction_is_a_perfect_parallelogram(make_model, params):
    model = make_model(1, d_vocab=40, d_model=30)
    first, second = torch.arange(1, 9), torch.arange(11, 19)
    direction = torch.ones(30).double()
    model.W_E[second] = model.W_E[first] + 3 * direction
    family = features.Family("made", first, second)
    table = features.directions(model, [family], params).set_index("matrix")
    assert table.loc["W_E", "cosine"] == pytest.approx(1)
    assert table.loc["W_E", "accuracy"] == 1
    assert table.loc["W_E", "z"] > 3
    assert table.loc["W_E", "accuracy_nearest"] < 0.3
    assert abs(table.loc["W_U", "cosine"]) < 0.5


def test_accuracy_and_cosine_by_slow_twins(make_model):
    vectors = make_model(1).W_E
    first, second = torch.tensor([1, 5, 9, 13]), torch.tensor([2, 6, 10, 14])
    hits, cosines = 0, []
    for i in range(4):
        for j in range(4):
            if i != j:
                target = vectors[first[i]] + vectors[second[j]] - vectors[first[j]]
                near = [F.cosine_similarity(v, target, dim=0).item() for v in vectors]
                excluded = {first[i].item(), first[j].item(), second[j].item()}
                best = max((k for k in range(23) if k not in excluded), key=lambda k: near[k])
                hits += best == second[i]
                a, b = (vectors[second[k]] - vectors[first[k]] for k in (i, j))
                cosines.append(F.cosine_similarity(a, b, dim=0).item())
    assert features.accuracy(vectors, first, second) == pytest.approx(hits / 12)
    assert features.mean_cosine(vectors[second] - vectors[first]) == pytest.approx(sum(cosines) / 12)


def test_small_families_are_not_applicable(make_model, params):
    family = features.Family("two", torch.tensor([1, 2]), torch.tensor([3, 4]))
    table = features.directions(make_model(1), [family], params)
    assert table["cosine"].isna().all() and table["pairs"].tolist() == [2, 2]
    assert features.plane(make_model(1), [family], 5).empty


def test_the_plane_holds_the_principal_components(make_model):
    model = make_model(1)
    family = features.Family("some", torch.tensor([1, 2, 3, 7]), torch.tensor([4, 5, 6, 8]))
    table = features.plane(model, [family], 2)
    assert table["token_id"].tolist() == [1, 2, 4, 5] and table["side"].tolist() == [0, 0, 1, 1]
    rows = model.W_E[table["token_id"].tolist()]
    sizes = torch.linalg.svdvals(rows - rows.mean(0))[:2]
    assert [table["x"].std(ddof=0) * 2, table["y"].std(ddof=0) * 2] == pytest.approx(sizes.tolist())


def test_the_wired_model_reads_positions_for_queries(wired, params):
    table = virtual_weights(wired, params).set_index(["writer", "reader"])["score"]
    assert table["W_pos", "L0H0 W_Q"] > 0.1 and table["W_pos", "L1H0 W_Q"] == pytest.approx(0)
    assert table["W_E", "W_U"] == pytest.approx(1 / math.sqrt(V))


@pytest.mark.parametrize("shape", [(40, 6), (6, 40), (5, 5)])
def test_sizes_of_a_gaussian_matrix_are_drawn_without_the_matrix(shape):
    generator = np.random.default_rng(0)
    drawn = torch.stack([stream.gaussian_sizes(*shape, generator) for _ in range(2000)])
    dense = torch.linalg.svdvals(torch.from_numpy(generator.standard_normal((2000, *shape))))
    error = (drawn.var(0) / 2000 + dense.var(0) / 2000).sqrt()
    assert ((drawn.mean(0) - dense.mean(0)).abs() < 4 * error).all()
    torch.testing.assert_close(drawn.std(0), dense.std(0), rtol=0.1, atol=0)


def test_virtual_weights_are_significant_only_above_pairs_that_cannot_pass_anything(wired, params):
    """L0H0 writes what L1H0 reads for its keys; the same weights where the writer is later take that away."""

    def row():
        return virtual_weights(wired, params).set_index(["writer", "reader"]).loc[("L0H0 W_O", "L1H0 W_K")]

    assert row()["significant"] and row()["impossible_max"] == pytest.approx(0)
    with torch.no_grad():
        wired.blocks[1].W_O[1].copy_(wired.blocks[0].W_O[0])  # L1H1 writes it too, beside L1H0
    assert row()["impossible_max"] == pytest.approx(row()["score"]) and row()["z"] > params.null_sd
    assert not row()["significant"]
