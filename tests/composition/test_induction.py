import numpy as np
import pytest
import torch

from skiptrace.circuits.scores import prefix_matching, repeated_tokens, score_heads, softmax_causal
from skiptrace.composition import induction
from skiptrace.composition.heads import composition
from skiptrace.composition.virtual import virtual_heads
from skiptrace.models.windows import spread_windows
from tests.composition.conftest import CTX, V

STREAM = np.random.default_rng(0).integers(1, V, 400).astype(np.uint16)
EVEN = prefix_matching(softmax_causal(torch.zeros(CTX, CTX)), 4, 3).item()


def found(model, stream, params, most=None):
    texts = spread_windows(stream, model.n_ctx, params.sequences)[:, :-1]
    scored, _ = score_heads(model, texts, params)
    return induction.induction(model, stream, scored, composition(model, params), params, most)


def test_of_a_sample_the_heads_that_match_prefixes_best_have_their_circuit(wired, params):
    every, some = found(wired, STREAM, params), found(wired, STREAM, params, 1)
    later = every[every["earlier"].notna()]
    best = later["prefix_matching"].idxmax()
    assert len(later) > 1 and some["k_eigenvalues"].notna().sum() == 1
    assert some.loc[best].equals(every.loc[best])
    assert some["prefix_matching"].equals(every["prefix_matching"])


@pytest.fixture
def tokens(params):
    found = repeated_tokens(V, 4, 3, params.sequences, params.seed)
    assert all(len(set(row.tolist())) == 5 for row in found), "a seed without repeats within a span"
    return found


def test_the_wired_circuit_passes_every_test_of_induction(wired, params, tokens):
    table = found(wired, STREAM, params).set_index("name")
    head, before = table.loc["L1H0"], table.loc["L0H0"]
    assert head["prefix_matching"] == pytest.approx(1)
    assert head["prefix_matching_uniform"] == pytest.approx(EVEN)
    assert head["copying_share"] == pytest.approx(1)
    assert (head["copying"], head["k_eigenvalues"]) == (pytest.approx(1), pytest.approx(1))
    assert head["earlier"] == "L0H0" and head["k_own_top1"] == 1 and head["in_corner"]
    assert before["previous_token"] == pytest.approx(1)
    assert before["copying_share"] == 0  # what it writes is not read by the unembedding
    assert table["in_corner"].sum() == 1
    assert table.loc[["L0H0", "L0H1"], "k_eigenvalues"].isna().all()


def test_cutting_the_previous_token_head_leaves_even_attention(wired, params, tokens):
    table = induction.knockouts(wired, params).set_index(["from", "to", "via"])
    assert len(table) == 2 * 2 * 3
    for via in ("all", "keys"):
        row = table.loc[("L0H0", "L1H0", via)]
        assert (row["intact"], row["without"]) == (pytest.approx(1), pytest.approx(EVEN))
        assert row["change"] == pytest.approx(EVEN - 1)
    assert table.loc[("L0H0", "L1H0", "queries"), "change"] == pytest.approx(0)
    assert table.xs("L0H1", level="from")["change"].abs().max() < 1e-12


def test_a_cut_head_is_absent_from_what_follows(make_model, tokens):
    """The patterns without a head are those of a model whose W_O for that head is zero."""
    model, text = make_model(3), tokens[:, :7] % 23
    cut = induction.patterns_without(model, text, (1, 2), "all")
    silent = make_model(3)
    silent.blocks[1].W_O[2].zero_()
    for found, expected in zip(cut, silent.patterns(text), strict=True):
        torch.testing.assert_close(found, expected)


def test_repeated_spans_are_real_text_repeated(params):
    found = induction.repeated_spans(STREAM, 4, 3, 5)
    assert found.shape == (5, 13)
    for row in found.tolist():
        assert row[0] == 0 and row[1:5] == row[5:9] == row[9:13]
        assert any(STREAM[i : i + 4].tolist() == row[1:5] for i in range(len(STREAM)))


def test_copying_share_by_a_slow_twin(make_model):
    model = make_model(2)
    tokens = repeated_tokens(23, 3, 2, 2, 0)
    share = induction.copying_share(model, tokens, 3)
    x = model.W_E[tokens] + model.blocks[0](model.W_E[tokens], model.W_pos[:7])
    layer, total = model.blocks[1], []
    for text in range(2):
        for position in range(1, 7):
            logits = x[text, position] @ layer.W_V[1] @ layer.W_O[1] @ model.W_U
            raised = [logits[t].item() for t in tokens[text, 1:4]]
            raised = [max(0.0, r - sum(raised) / 3) for r in raised]
            total.append(raised[(position - 1) % 3] / sum(raised))
    assert share[1, 1].item() == pytest.approx(sum(total) / len(total))


def test_virtual_heads_of_the_wired_model(wired, params):
    table = virtual_heads(wired, params).set_index("name")
    assert len(table) == 4
    one = table.loc["L0H0 → L1H0"]
    assert one["k_own_top1"] == 1 and one["k_eigenvalues"] == pytest.approx(1)
    assert one["copying"] == 0 and not one["copies"]  # it writes where the later head's values do not look
    assert (table[["own_top1", "own_top5"]] == 0).all().all() and (table["k_own_top1"].drop("L0H0 → L1H0") == 0).all()


@pytest.mark.parametrize("n_layers", [0, 1])
def test_shallow_models_have_nothing_to_report(make_model, params, n_layers):
    model = make_model(n_layers)
    stream = STREAM % 23
    table = found(model, stream, params)
    assert len(table) == 3 * n_layers
    assert table["k_eigenvalues"].isna().all() and not table["in_corner"].any()
    assert induction.knockouts(model, params).empty
    assert virtual_heads(model, params).empty


def test_virtual_heads_are_the_strongest_if_not_all_are_asked_for(wired, params):
    every, two = virtual_heads(wired, params), virtual_heads(wired, params, 2)
    assert len(every) > 2 and two.equals(every.head(2))
    assert virtual_heads(wired, params, 0).columns.equals(every.columns)
