import math
from dataclasses import replace

import pytest
import torch

import skiptrace
from skiptrace.circuits import factored
from skiptrace.errors import InputError


def test_circuits_equal_their_dense_products(make_model):
    model = make_model(2)
    torch.testing.assert_close(factored.direct(model).dense(), model.W_E @ model.W_U)
    for layer, head in factored.heads(model):
        w = model.blocks[layer]
        W_Q, W_K, W_V, W_O = w.W_Q[head], w.W_K[head], w.W_V[head], w.W_O[head]
        ov = model.W_E @ (W_V @ W_O) @ model.W_U
        qk = model.W_E @ (W_Q @ W_K.T) @ model.W_E.T / math.sqrt(model.d_head)
        torch.testing.assert_close(factored.ov(model, layer, head).dense(), ov)
        torch.testing.assert_close(factored.qk(model, layer, head).dense(), qk)
        torch.testing.assert_close(factored.ov(model, layer, head).column_means(), ov.mean(1))


def kinds(heads):
    return [name for name, kind in factored.KINDS.items() if kind.heads == heads]


def test_every_head_has_its_circuits(make_model):
    found = [factored.named(make_model(2), n).label for n in factored.names(make_model(2), 0)]
    assert len(found) == len(set(found)) == len(kinds(0)) + len(kinds(1)) * 6
    assert found[:3] == ["direct", "qk L0H0", "ov L0H0"] and "qk L0H1" in found


def test_the_strongest_pairs_have_circuits_of_their_own(make_model):
    model = make_model(3)
    found = [factored.named(model, n).label for n in factored.names(model, 2)]
    assert len(found) == len(kinds(0)) + len(kinds(1)) * 9 + len(kinds(2)) * 2
    assert len(factored.pairs(model)) == 3 * 9

    def size(pair):
        (i, h), (j, g) = pair
        one, two = model.blocks[i], model.blocks[j]
        return (one.W_V[h] @ one.W_O[h] @ two.W_V[g] @ two.W_O[g]).norm()

    (i, h), (j, g) = max(factored.pairs(model), key=size)
    first = found[-2 * len(kinds(2)) : -len(kinds(2))]
    assert first == [f"{kind} L{i}H{h} L{j}H{g}" for kind in kinds(2)] and kinds(2)[:2] == [
        "virtual_ov",
        "k_composition",
    ]


def test_circuits_of_pairs_are_dense_products(make_model):
    model = make_model(2)
    one, two = model.blocks
    moved = one.W_V[2] @ one.W_O[2]
    expected = model.W_E @ moved @ two.W_V[0] @ two.W_O[0] @ model.W_U
    torch.testing.assert_close(factored.virtual_ov(model, (0, 2), (1, 0)).dense(), expected)
    expected = (model.W_E @ two.W_Q[0]) @ (model.W_E @ moved @ two.W_K[0]).T / 2  # √d_head = 2
    torch.testing.assert_close(factored.k_composition(model, (0, 2), (1, 0)).dense(), expected)


def test_eigenvalues_are_those_of_the_dense_matrix(make_model):
    circuit = factored.ov(make_model(1), 0, 2)
    dense = torch.linalg.eigvals(circuit.dense())
    largest = dense[dense.abs().argsort(descending=True)][:4]
    for value in circuit.eigenvalues():
        assert (largest - value).abs().min() < 1e-8


def test_without_positions_the_score_between_two_tokens_is_their_QK_entry(make_model, tokens):
    model = make_model(1)
    model.W_pos.zero_()
    qk = factored.qk(model, 0, 1).dense()
    scores = model.patterns(tokens)[0][:, 1].log()
    for text, row in enumerate(tokens):
        expected = qk[row][:, row].tril()
        i = len(row) - 1
        torch.testing.assert_close(scores[text, i], expected[i].log_softmax(0))


def test_rows_columns_and_the_whole_are_those_of_the_product(make_model, monkeypatch):
    circuit = factored.ov(make_model(1), 0, 1).restricted(torch.arange(5), torch.arange(7))
    slow = torch.stack(
        [torch.stack([(circuit.left[i] * circuit.right[:, j]).sum() for j in range(7)]) for i in range(5)]
    )
    torch.testing.assert_close(circuit.dense(), slow)
    torch.testing.assert_close(circuit.row(3), slow[3])
    torch.testing.assert_close(circuit.column(4), slow[:, 4])
    torch.testing.assert_close(circuit.rows(torch.tensor([3, 1])), slow[[3, 1]])
    weights = torch.arange(slow.shape[1]).to(slow)
    torch.testing.assert_close(circuit.weighted_sums(weights), (slow * weights).sum(1))
    monkeypatch.setattr(factored, "PANEL", 34)
    with pytest.raises(ValueError, match=r"ov L0H1: 5 × 7 entries are more than 34; use row"):
        circuit.dense()


def test_a_new_kind_is_one_entry_of_the_registry(make_model, monkeypatch):
    """It is named, formed, found by the library, chosen by name, and told in the error about a wrong name."""

    def back(model, layer, head):
        """W_E W_K W_Qᵀ W_Eᵀ: how much each source is looked for by each destination."""
        circuit = factored.qk(model, layer, head).transposed()
        return replace(circuit, name="back")

    monkeypatch.setitem(factored.KINDS, "back", factored.Kind(back, 1, scores=True))
    model = make_model(2)
    found = factored.names(model, 1)
    expected = factored.qk(model, 1, 2).dense().T
    torch.testing.assert_close(skiptrace.circuit(model, "back L1H2").dense(), expected)
    (name,) = factored.chosen(found, ["back"], ["L1H2"])
    torch.testing.assert_close(factored.named(model, name).dense(), expected)
    factored.refuse_unknown(["back"])
    with pytest.raises(InputError, match=r"expansion\.circuits: no circuit 'up'; there is all, or a list of .*, back"):
        factored.refuse_unknown(["back", "up"])
