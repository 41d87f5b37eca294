import pytest
import torch

from skiptrace.circuits.factored import direct, ov, qk
from skiptrace.exploration.neighbours import VIEWS, neighbours

V = 23


@pytest.fixture
def probability():
    return torch.rand(V, generator=torch.Generator().manual_seed(1)).softmax(0)


def slowly(model, view, head, token, probability):
    """The centred line of the whole matrix."""
    circuit = {"ov": ov, "qk": qk}[view.circuit](model, *head) if head else direct(model)
    whole = circuit.left @ circuit.right
    weights = probability if view.circuit == "qk" else torch.full((V,), 1 / V)
    centred = whole - (whole * weights).sum(1, keepdim=True)
    return centred[token] if view.row else centred[:, token]


def test_neighbours_are_the_largest_of_the_whole_matrix(make_model, probability):
    model = make_model(2).float()
    allowed = torch.ones(V, dtype=torch.bool)
    allowed[[0, 4]] = False
    heads = [None, (0, 2), (1, 0)]
    found = list(neighbours(model, 9, VIEWS, heads, probability, allowed, 5))
    assert len(found) == 2 * 1 + 4 * 2
    for one in found:
        head = None if one.head == "direct" else (int(one.head[1]), int(one.head[3]))
        line = slowly(model, one.view, head, 9, probability)
        best = line.masked_fill(~allowed, -torch.inf).topk(5)
        assert [entry.centred for entry in one.entries] == pytest.approx(best.values.tolist(), rel=1e-4, abs=1e-5)
        for entry in one.entries:
            assert line[entry.token_id].item() == pytest.approx(entry.centred, rel=1e-4, abs=1e-5)
            assert allowed[entry.token_id]


def test_of_equal_entries_the_smaller_id_comes_first(make_model, probability):
    model = make_model(1).float()
    with torch.no_grad():
        model.W_U.copy_(model.W_U[:, :1].expand(-1, V))
    view = next(v for v in VIEWS if v.circuit == "ov" and v.row)
    (found,) = neighbours(model, 3, (view,), [(0, 0)], probability, torch.ones(V, dtype=torch.bool), 4)
    assert [entry.token_id for entry in found.entries] == [0, 1, 2, 3]
