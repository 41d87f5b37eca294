import torch

from skiptrace.circuits.factored import k_composition, virtual_ov
from skiptrace.devices import CPU
from skiptrace.mining.virtual import PairCircuits, mine_k_composition, mine_virtual_ov


def dense(circuit):
    return (circuit.left @ circuit.right).float()


def test_pairs_are_mined_as_their_dense_circuits_say(make_model, make_vocabulary, params):
    model = make_model(2)
    vocabulary = make_vocabulary(list(range(1, 24)))
    weight = vocabulary.weight(0.1, 1)
    found = {}
    for name, pair in {"L0H0 → L1H1": ((0, 0), (1, 1)), "L0H2 → L1H0": ((0, 2), (1, 0))}.items():
        circuits = PairCircuits(model, *pair, CPU)
        assert circuits.name == name
        found[name] = (circuits, dense(virtual_ov(model, *pair)), dense(k_composition(model, *pair)))
    every = [circuits for circuits, _, _ in found.values()]
    said = mine_virtual_ov(every, vocabulary, params).to_pandas()
    wanted = mine_k_composition(every, vocabulary, params).to_pandas()
    for name, (_, ov, k) in found.items():
        centred = ov - ov.mean(1, keepdim=True)
        centred[:, 0] = -torch.inf
        best = (centred.amax(1) * weight).argsort(descending=True)[: params.sources].tolist()
        mine = said[said["name"] == name]
        assert mine.drop_duplicates("source_id")["source_id"].tolist() == best
        assert set(mine[mine["source_id"] == best[0]]["out_id"]) == set(centred[best[0]].topk(2).indices.tolist())
        centred = k - (k @ vocabulary.probability)[:, None]
        centred[:, 0] = -torch.inf
        best = (centred.amax(1) * weight).argsort(descending=True)[: params.sources].tolist()
        mine = wanted[wanted["name"] == name]
        assert mine.drop_duplicates("destination_id")["destination_id"].tolist() == best
        assert set(mine[mine["destination_id"] == best[0]]["source_id"]) == set(
            centred[best[0]].topk(2).indices.tolist()
        )
    for table in (said, wanted):
        assert table["rank"].tolist() == list(range(1, len(table) + 1))
        assert table["score"].is_monotonic_decreasing


def test_without_pairs_the_tables_are_empty(make_vocabulary, params):
    vocabulary = make_vocabulary([1, 2, 3])
    assert mine_virtual_ov([], vocabulary, params).num_rows == 0
    assert mine_k_composition([], vocabulary, params).num_rows == 0
