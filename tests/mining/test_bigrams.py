import math

import numpy as np
import pandas as pd
import pytest
import torch

from skiptrace.circuits.factored import Circuit
from skiptrace.mining import bigrams


@pytest.fixture
def counts():
    rows = [(1, 2, 6), (1, 3, 2), (1, 4, 1), (2, 1, 5), (3, 4, 4), (3, 1, 2), (3, 2, 1), (4, 1, 1)]
    return pd.DataFrame(rows, columns=["token_id", "next_id", "count"])


def factored(matrix: torch.Tensor) -> Circuit:
    return Circuit("direct", "none", "none", matrix, torch.eye(matrix.shape[1]))


def test_the_table_equals_a_double_loop(make_vocabulary, params, counts):
    matrix = torch.randn(5, 5, generator=torch.Generator().manual_seed(0))
    vocabulary = make_vocabulary([9, 4, 3, 2, 1])
    table = bigrams.mine(factored(matrix), counts, vocabulary, params)[0].to_pandas()
    pairs = [(a, b) for a in range(1, 5) for b in range(1, 5)]
    value = {(a, b): (matrix[a, b] - matrix[a].mean()).item() for a, b in pairs}
    best = sorted(pairs, key=lambda p: (-value[p], p))[:5]
    assert list(zip(table["token_id"], table["next_id"], strict=True)) == best
    assert table["rank"].tolist() == [1, 2, 3, 4, 5]
    for row in table.itertuples():
        assert row.value == pytest.approx(value[row.token_id, row.next_id], abs=1e-6)
        expected = (matrix[row.token_id].log_softmax(0))[row.next_id].item()
        assert row.model_logprob == pytest.approx(expected, abs=1e-6)
        seen = counts[(counts["token_id"] == row.token_id) & (counts["next_id"] == row.next_id)]["count"].sum()
        total = counts[counts["token_id"] == row.token_id]["count"].sum()
        assert row.corpus_count == seen
        assert row.corpus_logprob == pytest.approx(math.log(seen / total) if seen else -math.inf)
        assert (row.token, row.next) == (f"t{row.token_id}", f"t{row.next_id}")


def test_rare_tokens_and_bos_stay_out(make_vocabulary, params, counts):
    matrix = torch.zeros(5, 5)
    matrix[0, 1] = matrix[1, 0] = matrix[4, 1] = matrix[1, 4] = 100
    matrix[2, 3] = 1
    vocabulary = make_vocabulary([90, 40, 30, 20, 1])
    chosen = params.model_copy(update={"min_count": 10})
    table = bigrams.mine(factored(matrix), counts, vocabulary, chosen)[0].to_pandas()
    assert table.loc[0, ["token", "next"]].tolist() == ["t2", "t3"]
    assert not table[["token_id", "next_id"]].isin([0, 4]).to_numpy().any()


def test_rank_correlation_is_one_where_the_path_holds_the_log_counts(make_vocabulary, params, counts):
    matrix = torch.zeros(5, 5)
    matrix[1, [2, 3, 4]] = torch.tensor([6.0, 2.0, 1.0]).log()
    matrix[3, [4, 1, 2]] = torch.tensor([1.0, 2.0, 4.0]).log()
    agreement = bigrams.mine(factored(matrix), counts, make_vocabulary([9, 4, 3, 2, 1]), params)[1].to_pandas()
    agreement = agreement.set_index("token_id")
    assert agreement.loc[1, "spearman"] == pytest.approx(1)
    assert agreement.loc[3, "spearman"] == pytest.approx(-1)
    assert np.isnan(agreement.loc[2, "spearman"])
    assert agreement.loc[1, "spearman_unigram"] == pytest.approx(1)
