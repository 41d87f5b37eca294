import numpy as np
import pandas as pd
import pytest
import torch

from skiptrace.config.verification import VerificationParams
from skiptrace.evidence import bounds, bugs, truth
from skiptrace.evidence.bugs import Crossing
from skiptrace.evidence.support import Positions
from skiptrace.evidence.verification import ADDED, Streams, evidence_score, verify
from tests.evidence.conftest import wire

PARAMS = VerificationParams(
    seed=0, rows=200, contexts=32, context_tokens=12, null_rows=100, fdr=0.05, quartets=10, other_destinations=3
)


def table(*triples: tuple[int, int, int], ov: float = 1.0) -> pd.DataFrame:
    ranks = range(1, len(triples) + 1)
    found = pd.DataFrame(triples, columns=["source_id", "destination_id", "out_id"])
    return found.assign(layer=0, head=0, ov=ov, rank=ranks, rank_published=ranks, rank_expected=ranks)


def streams(*pieces: list[int], length: int = 6000, ends: float = 0.1) -> Streams:
    """Random text over 1 … 11 with the pieces strewn in; before each, a document ends with chance `ends`."""
    generator = np.random.default_rng(0)
    text: list[int] = []
    while len(text) < length:
        text += [0] if generator.random() < ends else []
        text += generator.integers(8, 12, 4).tolist()
        text += pieces[generator.integers(len(pieces))]
    stream = np.array(text)
    return Streams(stream, stream[:3000], np.bincount(stream, minlength=12))


def test_the_wired_row_is_consistent_supported_and_first(wired_head):
    model, a, b, c = wired_head
    found = verify(model, table((8, 9, 10), (8, b, c), (a, b, c), (10, b, 11)), streams([a, 9, b, c], [b, 9]), PARAMS)
    assert found["consistent"].tolist() == [False, False, True, False]
    assert found["rank_evidence"].tolist()[2] == 1
    assert found.loc[2, "lift_low"] > 1
    assert found.loc[2, "effect_nats"] > found.loc[2, "null_mean"] + 5 * found.loc[2, "null_sd"]
    assert found.loc[2, "n_contexts"] == 32
    assert sorted(found["rank_evidence"]) == [1, 2, 3, 4]


def test_no_rows_give_no_rows_of_the_same_columns(wired_head):
    empty = table((1, 2, 3)).iloc[:0]
    found = verify(wired_head[0], empty, streams([3, 5]), PARAMS)
    assert set(ADDED) <= set(found.columns) and found.empty
    data = streams([3, 5])
    crossed = bugs.find(found, Positions(data.train, 12, 11), PARAMS)
    assert bugs.measure(wired_head[0], crossed, data, PARAMS).dtypes.astype(str).to_dict() == bugs.COLUMNS
    assert bugs.crossings(crossed) == []


def test_evidence_score_is_the_probability_that_the_edge_brings():
    checked = pd.DataFrame({"p_out": [0.5, 0.5, 0.001], "effect_nats": [np.log(2), -1.0, 9.0]})
    assert evidence_score(checked).tolist() == pytest.approx([0.25, 0.0, 0.001], abs=1e-6)


@pytest.fixture
def quartet(blank_head):
    """One source, two destinations, two outs: the head cannot but cross them."""
    wire(blank_head, 3, [5, 6], [7, 4])
    return blank_head


TRUE = ((3, 5, 7), (3, 6, 4))
CROSSED = [(3, 5, 4), (3, 6, 7)]
TEXT = ([3, 9, 5, 7], [3, 9, 6, 4], [8, 5, 9], [8, 6, 9])


def test_a_wired_quartet_is_found_and_its_crossings_cost(quartet):
    data = streams(*TEXT)
    checked = verify(quartet, table(*TRUE, *CROSSED), data, PARAMS)
    assert checked["consistent"].all()
    found = bugs.find(checked, Positions(data.train, 12, 11), PARAMS)
    assert len(found) == 1
    assert sorted(bugs.crossings(found)) == CROSSED
    measured = bugs.measure(quartet, found, data, PARAMS).iloc[0]
    assert measured["model_12"] > 0.2 and measured["model_11"] == pytest.approx(measured["model_12"], rel=0.3)
    assert measured["corpus_11"] > 0.5 and measured["corpus_12"] < 0.05
    assert measured["cost_12"] > 0.1 and measured["cost_21"] > 0.1
    assert measured["positions_12"] > 50
    costs = bugs.crossing_costs(quartet, found, data, PARAMS).set_index("what")
    assert costs.loc["crossings", "entries"] == 2
    assert costs.loc["crossings", "nats"] == pytest.approx((measured["cost_12"] + measured["cost_21"]) / 2)
    assert costs.loc["crossings: too rare to say", "low"] > 0


def test_the_cost_of_a_crossing_equals_a_slow_twin(quartet):
    data, ctx = streams(*TEXT, ends=0), 12
    positions = Positions(data.valid, 12, ctx - 2)
    crossing = Crossing(0, 0, 3, 5, 4)
    found = bugs.changes(quartet, crossing, positions, ctx, 10_000)
    changes = []
    layer = quartet.blocks[0]
    OV = quartet.W_E @ layer.W_V[0] @ layer.W_O[0] @ quartet.W_U
    for i in range(ctx - 1, len(data.valid) - 1):
        window = data.valid[i - ctx + 1 : i + 1].copy()
        if window[-1] != 5 or 3 not in window[1:-1]:
            continue
        window[0] = 0
        tokens = torch.from_numpy(window)[None]
        logits = quartet(tokens)[0, -1]
        attention = quartet.patterns(tokens)[0][0, 0, -1]
        raised = sum(attention[j] * (OV[3, 4] - OV[3].mean()) for j in range(ctx) if window[j] == 3)
        mended = logits.clone()
        mended[4] -= raised
        y = int(data.valid[i + 1])
        changes.append((mended.log_softmax(0)[y] - logits.log_softmax(0)[y]).item())
    assert found.positions == len(changes)
    assert found.nats == pytest.approx(changes, abs=1e-5)


def test_a_crossing_without_a_place_has_no_cost(quartet):
    data = streams([8, 9])
    found = bugs.changes(quartet, Crossing(0, 0, 3, 5, 4), Positions(data.valid, 12, 9), 12)
    assert found.positions == 0 and len(found.nats) == 0


def test_the_bound_of_rows_is_what_taking_the_crossings_away_saves(quartet):
    data = streams(*TEXT)
    layer = quartet.blocks[0]
    OV = quartet.W_E @ layer.W_V[0] @ layer.W_O[0] @ quartet.W_U
    centred = (OV[3, 7] - OV[3].mean()).item()
    checked = verify(quartet, table(*TRUE, *CROSSED, ov=centred), data, PARAMS)
    saved = bounds.of_rows(quartet, checked, data, PARAMS)
    assert saved.mean > 0.01 and saved.low < saved.mean < saved.high
    supported = checked[checked["support"] == "supported"]
    assert len(supported) == 2
    assert bounds.of_rows(quartet, supported, data, PARAMS).mean == 0


def test_scores_against_truth_by_hand():
    planted = {(1, 2, 3), (4, 5, 6)}
    ranked = [(9, 9, 9), (1, 2, 3), (1, 2, 3), (8, 8, 8), (7, 7, 7), (4, 5, 6)]
    found = truth.score("skip_trigrams", "x", planted, ranked, forced={(9, 9, 9)}, real={(8, 8, 8), (9, 9, 9)})
    assert [(s.k, s.found, s.recall, s.precision) for s in found[:3]] == [
        (2, 1, 0.5, 0.5), (4, 1, 0.5, 0.25), (10, 2, 1.0, 0.2),
    ]  # fmt: skip
    assert [(s.false_forced, s.false_real, s.false_wrong) for s in found[:3]] == [(1, 0, 0), (1, 1, 1), (1, 1, 1)]
    assert truth.score("bugs", "x", set(), ranked) == []


def test_the_whole_accepted_set_is_scored_at_its_own_size():
    planted, accepted = {(1, 2, 3), (4, 5, 6)}, [(1, 2, 3), (9, 9, 9), (9, 9, 9), (8, 8, 8)]
    (found,) = truth.whole("accepted", "x", planted, accepted, forced={(8, 8, 8)}, real={(9, 9, 9)})
    assert (found.k, found.found, found.recall, found.precision) == (3, 1, 0.5, 1 / 3)
    assert (found.false_forced, found.false_real, found.false_wrong) == (1, 1, 0)
    assert truth.whole("accepted", "x", planted, []) == truth.whole("accepted", "x", set(), accepted) == []


def test_pmi_finds_a_planted_triple_without_a_model():
    text = streams([1, 9, 2, 3], [2, 10], length=4000).train
    assert (1, 2, 3) in truth.corpus_rankings(text, 12, 5)["corpus PMI, no model"][:3]


@pytest.mark.parametrize("cells", [2**28, 1], ids=["dense", "sparse"])
def test_rankings_by_counts_equal_their_definitions(monkeypatch, cells):
    monkeypatch.setattr(truth, "CELLS", cells)
    text = np.random.default_rng(1).integers(0, 3, 400)
    found = truth.corpus_rankings(text, 3, 2, min_count=1)
    values: dict[str, dict] = {name: {} for name in found}
    follows = [(text[i], text[i + 1]) for i in range(2, 399)]
    for a, b, c in found["corpus PMI, no model"]:
        places = [(i, d) for i in range(2, 399) for d in (1, 2) if text[i - d] == a and text[i] == b]
        hit = sum(text[i + 1] == c for i, _ in places)
        share = hit / len(places)
        alone = sum(pair == (b, c) for pair in follows) / sum(first == b for first, _ in follows)
        values["corpus PMI, no model"][a, b, c] = np.log(share / np.mean(text[3:] == c))
        values["corpus lift, no model"][a, b, c] = share / alone
        values["corpus share difference, no model"][a, b, c] = share - alone
        values["corpus G², no model"][a, b, c] = 2 * hit * np.log(share / alone) * (share > alone)
    for name, ranked in found.items():
        ordered = [values[name][row] for row in ranked]
        assert len(ranked) == len(set(ranked)) == 27
        assert np.allclose(ordered, sorted(ordered, reverse=True)), name


def test_triples_that_are_sorted_are_those_that_are_counted_in_cells(monkeypatch):
    text = np.random.default_rng(2).zipf(1.3, 3000) % 11
    dense = [truth.corpus_rankings(text, 11, 4, min_count=count) for count in (1, 2, 9, 10**6)]
    monkeypatch.setattr(truth, "CELLS", 1)
    assert [truth.corpus_rankings(text, 11, 4, min_count=count) for count in (1, 2, 9, 10**6)] == dense
    assert len(dense[0]["corpus lift, no model"]) > len(dense[2]["corpus lift, no model"]) > 0


def test_of_a_large_vocabulary_nothing_is_held_for_pairs_that_do_not_occur():
    """All pairs of a million words would take terabytes."""
    text = streams([1, 9, 2, 3], [2, 10], length=4000).train
    wide = text.astype(np.int64) * 90_000
    found = truth.corpus_rankings(wide, 2**20, 5)["corpus PMI, no model"]
    assert found == [
        tuple(90_000 * i for i in row) for row in truth.corpus_rankings(text, 12, 5)["corpus PMI, no model"]
    ]


def test_known_rows_are_looked_up_by_word():
    vocabulary = pd.DataFrame({"token_id": [0, 1, 2, 3], "token": ["<bos>", "a", "b", "c"]})
    rows = [("skip_trigram", "a", "b", "c"), ("copy", "a", None, "a"), ("bigram", "a", None, "zz")]
    known = truth.Known(pd.DataFrame(rows, columns=["kind", "source", "destination", "out"]), vocabulary)
    assert known.of("skip_trigram") == {(1, 2, 3)}
    assert known.of("copy") == {(1, 1)}
    assert known.of("bigram") == set()
