import dataclasses
import math

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skiptrace.circuits.factored import Circuit, ov, qk
from skiptrace.config.mining import MiningParams
from skiptrace.errors import InputError
from skiptrace.mining import skip_trigrams
from skiptrace.mining.skip_trigrams import Circuits
from skiptrace.mining.tables import POSITIONAL, SKIP_TRIGRAMS
from skiptrace.models.config import ModelConfig
from skiptrace.models.transformer import Transformer


def factored(matrix: torch.Tensor) -> Circuit:
    """A matrix as two factors that are not thin, the one of which is the identity."""
    return Circuit("ov", "0", "0", matrix, torch.eye(matrix.shape[1]))


def mine(circuits, vocabulary, params):
    return skip_trigrams.mine([skip_trigrams.of_head(circuits, vocabulary, params)], vocabulary, params).to_pandas()


def head_wired_for(source: int, destination: int, out: int) -> Transformer:
    """One head that does one skip-trigram and nothing else."""
    d = 8
    model = Transformer(ModelConfig(d_vocab=d, d_model=d, n_ctx=4, n_layers=1, n_heads=1, d_head=2))
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        model.W_E.copy_(torch.eye(d))
        model.W_U.copy_(torch.eye(d))
        layer = model.blocks[0]
        layer.W_Q[0, destination, 0] = 5
        layer.W_K[0, source, 0] = 5
        layer.W_V[0, source, 1] = 3
        layer.W_O[0, 1, out] = 3
    return model.requires_grad_(False)


@settings(deadline=None)  # the first call compiles
@given(st.permutations(range(1, 8)))
def test_the_one_skip_trigram_a_head_is_wired_for_comes_first(order):
    source, destination, out = order[:3]
    model = head_wired_for(source, destination, out)
    circuits = Circuits(0, 0, qk(model, 0, 0), ov(model, 0, 0))
    params = MiningParams(
        ranking="published",
        context=8,
        bigrams=1,
        sources=3,
        destinations=2,
        outs=2,
        min_count=0,
        frequency_power=0.1,
        frequent_tokens=1,
        largest=1,
        bins=1,
    )
    table = mine(circuits, even_vocabulary(8), params)
    first = table.iloc[0]
    assert (first["source_id"], first["destination_id"], first["out_id"]) == (source, destination, out)
    # 25/√2 less its mean over eight equally likely sources; 9 less its mean over eight outs.
    assert first["qk"] == pytest.approx(25 / 2**0.5 * 7 / 8, rel=1e-5)
    assert first["ov"] == pytest.approx(9 * 7 / 8, rel=1e-5)
    assert first["score"] == pytest.approx(first["qk"] * first["ov"] * (1 / 8) ** 0.2, rel=1e-5)


def even_vocabulary(size: int) -> skip_trigrams.Vocabulary:
    token, count = pd.Series([f"t{i}" for i in range(size)]), pd.Series([10] * size)
    return skip_trigrams.Vocabulary(token, count, torch.full((size,), 1 / size))


def test_selection_equals_the_published_rule_by_loops(make_vocabulary, params):
    generator = torch.Generator().manual_seed(0)
    counts = [50, 40, 30, 20, 10, 5, 3, 2, 1]
    vocabulary = make_vocabulary(counts)
    qk, ov = (torch.randn(9, 9, generator=generator) for _ in range(2))
    circuits = Circuits(1, 2, factored(qk), factored(ov))
    chosen = params.model_copy(update={"min_count": 2})
    table = mine(circuits, vocabulary, chosen)

    p = [c / sum(counts) for c in counts]
    allowed = range(1, 8)
    QK = [[(qk[b, a] - sum(p[s] * qk[b, s] for s in range(9))).item() for a in range(9)] for b in range(9)]
    OV = [[(ov[a, c] - ov[a].mean()).item() for c in range(9)] for a in range(9)]
    best = sorted(
        allowed,
        key=lambda a: -max(QK[b][a] * p[b] ** 0.1 for b in allowed) * max(OV[a][c] for c in allowed) * p[a] ** 0.1,
    )[:3]
    expected = {}
    for a in best:
        for b in sorted(allowed, key=lambda b: -QK[b][a] * p[b] ** 0.1)[:2]:
            for c in sorted(allowed, key=lambda c: -OV[a][c])[:2]:
                if QK[b][a] > 0 and OV[a][c] > 0:
                    expected[a, b, c] = QK[b][a] * p[b] ** 0.1 * OV[a][c] * p[a] ** 0.1
    table = table[table["rank_published"].notna()]
    found = {(r.source_id, r.destination_id, r.out_id): r.score for r in table.itertuples()}
    assert found.keys() == expected.keys()
    for triple, score in expected.items():
        assert found[triple] == pytest.approx(score, rel=1e-4)
    assert table["score"].is_monotonic_decreasing
    assert table["rank"].tolist() == list(range(1, len(table) + 1))
    assert (table["layer"] == 1).all() and (table["head"] == 2).all()
    for row in table.itertuples():
        assert row.qk == pytest.approx(QK[row.destination_id][row.source_id], abs=1e-5)
        assert row.ov == pytest.approx(OV[row.source_id][row.out_id], abs=1e-5)


def test_expected_gain_equals_its_definition_by_loops(make_vocabulary, params):
    generator = torch.Generator().manual_seed(1)
    counts, n = [50, 40, 30, 20, 10, 5, 3, 2, 1], params.context
    qk, ov = (2 * torch.randn(9, 9, generator=generator) for _ in range(2))
    chosen = params.model_copy(update={"min_count": 2, "ranking": "expected", "frequency_power": 0.3})
    circuits = Circuits(0, 0, factored(qk), factored(ov))
    table = mine(circuits, make_vocabulary(counts), chosen)

    p = [c / sum(counts) for c in counts]
    allowed = range(1, 8)
    ratio = [
        [math.exp(qk[b, a]) / sum(p[s] * math.exp(qk[b, s]) for s in range(9)) for a in range(9)] for b in range(9)
    ]
    share = [[r / (n + r) for r in row] for row in ratio]
    gain = [
        [(share[b][a] - sum(p[d] * share[d][a] for d in range(9))) * p[b] ** 0.3 for a in range(9)] for b in range(9)
    ]
    OV = [[(ov[a, c] - ov[a].mean()).item() for c in range(9)] for a in range(9)]
    best = sorted(allowed, key=lambda a: -max(gain[b][a] for b in allowed) * max(OV[a][c] for c in allowed))[:3]
    expected = {
        (a, b, c): gain[b][a] * OV[a][c]
        for a in best
        for b in sorted(allowed, key=lambda b: -gain[b][a])[:2]
        for c in sorted(allowed, key=lambda c: -OV[a][c])[:2]
        if gain[b][a] > 0 and OV[a][c] > 0
    }
    table = table[table["rank_expected"].notna()]
    found = {(r.source_id, r.destination_id, r.out_id): r.expected for r in table.itertuples()}
    assert found.keys() == expected.keys()
    for triple, value in expected.items():
        assert found[triple] == pytest.approx(value, rel=1e-4)
    assert table["rank"].tolist() == table["rank_expected"].tolist() == list(range(1, len(table) + 1))


def test_outs_follow_their_destinations_where_text_is_known(make_vocabulary, params):
    """Each source has its best pairs that stand in the text often enough; of those that are no words, one."""
    generator = torch.Generator().manual_seed(1)
    counts, n, power = [50, 40, 30, 20, 10, 5, 3, 2, 1], params.context, 0.3
    qk, ov = (2 * torch.randn(9, 9, generator=generator) for _ in range(2))
    changes = {"min_count": 2, "ranking": "expected", "text_power": power, "min_pairs": 2, "plain_share": 0.4}
    chosen = params.model_copy(update=changes)
    pairs = {
        (1, 2): 9,
        (1, 4): 4,
        (2, 2): 3,
        (3, 6): 2,
        (4, 1): 5,
        (6, 5): 2,
        (7, 3): 4,
        (5, 5): 1,
        (3, 8): 9,
        (0, 1): 9,
    }
    followers = pd.DataFrame([(b, c, n) for (b, c), n in pairs.items()], columns=["token_id", "next_id", "count"])
    token = pd.Series(["\n", " ", "a", ".", "b", " c", "--", "d1", "e"])
    vocabulary = dataclasses.replace(make_vocabulary(counts), token=token, followers=followers)
    table = mine(Circuits(0, 0, factored(qk), factored(ov)), vocabulary, chosen)
    table = table[table["rank_expected"].notna()]

    p = [c / sum(counts) for c in counts]
    ratio = [
        [math.exp(qk[b, a]) / sum(p[s] * math.exp(qk[b, s]) for s in range(9)) for a in range(9)] for b in range(9)
    ]
    share = [[r / (n + r) for r in row] for row in ratio]
    worth = {
        (a, b, c): max(0.0, share[b][a] - sum(p[d] * share[d][a] for d in range(9)))
        * (ov[a, c] - ov[a].mean()).item()
        * ((1 - (1 - p[a]) ** n) * count / sum(pairs.values())) ** power
        for a in range(1, 8)
        for (b, c), count in pairs.items()
        if count >= 2 and b in range(1, 8) and c in range(1, 8)
    }
    best = sorted(range(1, 8), key=lambda a: -max(worth[t] for t in worth if t[0] == a))
    plain = [a for a in best if a in (1, 3, 6)][:1]
    kept = [a for a in best if a in plain or a not in (1, 3, 6)][:3]
    expected = {}
    for a in kept:
        triples = sorted((t for t in worth if t[0] == a), key=lambda t: -worth[t])[:4]
        expected |= {t: worth[t] for t in triples if worth[t] > 0}
    found = {(r.source_id, r.destination_id, r.out_id): r.expected for r in table.itertuples()}
    assert found == pytest.approx(expected, rel=1e-4)
    none = chosen.model_copy(update={"min_pairs": 10})
    with pytest.raises(InputError, match=r"mining\.min_pairs: no two tokens stand side by side 10 times; lower it"):
        mine(Circuits(0, 0, factored(qk), factored(ov)), vocabulary, none)


def test_copies_are_the_largest_diagonal_entries(make_vocabulary, params):
    ov = torch.zeros(5, 5)
    ov[3, 3], ov[1, 1], ov[2, 2], ov[2, 4] = 9, 4, 2, 7
    vocabulary = make_vocabulary([9, 4, 4, 4, 4])
    found = skip_trigrams.copies(factored(ov), vocabulary, params).assign(layer=0, head=1)
    table = skip_trigrams.mine_copies([found], vocabulary).to_pandas()
    assert table["source"].tolist() == ["t3", "t1", "t2"]
    assert table["own_rank"].tolist() == [1, 1, 2]
    assert table["ov"].tolist() == pytest.approx([9 * 4 / 5, 4 * 4 / 5, 2 - 9 / 5])


def test_what_softmax_ignores_changes_nothing(make_vocabulary, params):
    generator = torch.Generator().manual_seed(3)
    vocabulary = make_vocabulary([5, 4, 3, 2, 1, 1])
    qk, ov, shift = (torch.randn(6, n, generator=generator) for n in (6, 6, 1))

    def mined(qk, ov):
        return mine(Circuits(0, 0, factored(qk), factored(ov)), vocabulary, params)

    plain, shifted = mined(qk, ov), mined(qk + shift, ov - 2 * shift)
    ids = ["source_id", "destination_id", "out_id"]
    assert plain[ids].equals(shifted[ids])
    torch.testing.assert_close(torch.tensor(plain["score"]), torch.tensor(shifted["score"]), rtol=1e-4, atol=1e-5)


def test_positional_rows_name_no_destination(make_vocabulary, params):
    ov = torch.zeros(5, 5)
    ov[3, 1], ov[2, 4] = 9, 4
    vocabulary = make_vocabulary([9, 4, 4, 4, 4])
    found = skip_trigrams.best_outs(factored(ov), vocabulary, params).assign(layer=0, head=1)
    table = skip_trigrams.mine_positional([found], vocabulary).to_pandas()
    assert table.loc[0, ["source", "destination", "out"]].tolist() == ["t3", "Primarily Positional", "t1"]
    assert table.loc[0, "ov"] == pytest.approx(9 * 4 / 5)
    assert "destination_id" not in table and "qk" not in table


def test_no_heads_no_rows(make_vocabulary, params):
    vocabulary = make_vocabulary([1, 1])
    assert skip_trigrams.mine([], vocabulary, params).schema == SKIP_TRIGRAMS.schema
    positional = skip_trigrams.mine_positional([], vocabulary)
    assert positional.num_rows == 0 and positional.schema == POSITIONAL.schema
