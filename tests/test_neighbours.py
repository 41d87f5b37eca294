import pytest
import torch

from skiptrace.circuits.factored import direct, ov, qk
from skiptrace.config.expansion import ExpansionParams
from skiptrace.errors import InputError
from skiptrace.expansion.writer import write
from skiptrace.neighbours import VIEWS, neighbours

PARAMS = ExpansionParams(
    store="full", circuits=["ov"], heads="all", virtual_heads=0, max_bytes=10**9, chunk_rows=7, row_group_rows=3
)
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


@pytest.mark.parametrize("stored", [True, False], ids=["from Parquet", "from factors"])
def test_neighbours_are_the_largest_of_the_whole_matrix(make_model, probability, tmp_path, stored):
    model = make_model(2).float()
    if stored:
        circuits = [direct(model), *(c(model, i, h) for c in (ov, qk) for i in range(2) for h in range(3))]
        write(circuits, V, str(tmp_path), PARAMS)
    allowed = torch.ones(V, dtype=torch.bool)
    allowed[[0, 4]] = False
    heads = [None, (0, 2), (1, 0)]
    found = list(neighbours(model, tmp_path, 9, VIEWS, heads, probability, allowed, 5))
    assert len(found) == 2 * 1 + 4 * 2
    for one in found:
        head = None if one.head == "direct" else (int(one.head[1]), int(one.head[3]))
        line = slowly(model, one.view, head, 9, probability)
        best = line.masked_fill(~allowed, -torch.inf).topk(5)
        # Half precision holds three digits.
        assert [entry.centred for entry in one.entries] == pytest.approx(best.values.tolist(), rel=2e-3, abs=2e-3)
        for entry in one.entries:
            assert line[entry.token_id].item() == pytest.approx(entry.centred, rel=2e-3, abs=2e-3)
            assert allowed[entry.token_id]


def test_of_equal_entries_the_smaller_id_comes_first(make_model, probability, tmp_path):
    model = make_model(1).float()
    with torch.no_grad():
        model.W_U.copy_(model.W_U[:, :1].expand(-1, V))
    view = next(v for v in VIEWS if v.circuit == "ov" and v.row)
    (found,) = neighbours(model, tmp_path, 3, (view,), [(0, 0)], probability, torch.ones(V, dtype=torch.bool), 4)
    assert [entry.token_id for entry in found.entries] == [0, 1, 2, 3]


def test_a_damaged_or_missing_part_is_told(make_model, probability, tmp_path):
    model, allowed = make_model(1).float(), torch.ones(V, dtype=torch.bool)
    write([ov(model, 0, 0)], V, str(tmp_path), PARAMS)
    views = [v for v in VIEWS if v.circuit == "ov"]
    parts = sorted(tmp_path.rglob("part-*.parquet"))
    parts[1].unlink()
    for view in views:
        with pytest.raises(InputError, match=r"layer=0/head=0.*reproduce|part-0000\d.*row 7"):
            list(neighbours(model, tmp_path, 9, (view,), [(0, 0)], probability, allowed, 5))
    parts[1].write_bytes(b"PAR1")
    for view in views:
        with pytest.raises(InputError, match="not"):
            list(neighbours(model, tmp_path, 9, (view,), [(0, 0)], probability, allowed, 5))
