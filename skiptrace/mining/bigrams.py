"""The direct path as a table of bigrams (section "Zero-Layer Transformers")."""

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from scipy.stats import spearmanr

from skiptrace.circuits.factored import Circuit
from skiptrace.config.mining import MiningParams
from skiptrace.mining.scan import Request, scan
from skiptrace.mining.tables import AGREEMENT, BIGRAMS
from skiptrace.mining.vocabulary import Vocabulary


def mine(
    direct: Circuit, counts: pd.DataFrame, vocabulary: Vocabulary, params: MiningParams
) -> tuple[pa.Table, pa.Table]:
    """The largest bigrams of the direct path, and how well it orders what follows frequent tokens.

    `value` is the logit minus the mean of its row, which softmax ignores. The second table has,
    for each of the most frequent tokens, the rank correlation of the model's log-probabilities
    with the corpus's over the continuations observed, and beside it that of a unigram model.
    """
    eligible = vocabulary.eligible_ids(params.min_count)
    largest = scan(
        direct.centred().restricted(eligible, eligible), Request(whole=params.bigrams), threads=torch.get_num_threads()
    ).whole
    assert largest is not None
    best = pd.DataFrame(
        {
            "token_id": eligible[largest.rows.long()].numpy(),
            "next_id": eligible[largest.columns.long()].numpy(),
            "value": largest.values.numpy(),
        }
    )
    best["model_logprob"] = _logprobs(direct, best)
    frequent = torch.from_numpy(np.sort(vocabulary.count[eligible.numpy()].nlargest(params.frequent_tokens).index))
    # A data frame for every token of a large vocabulary takes more memory than all else here.
    followers = {int(t): g for t, g in counts[counts["token_id"].isin(frequent.numpy())].groupby("token_id")}
    agreement = [
        _agreement(int(frequent[place]), row, followers.get(int(frequent[place])), vocabulary)
        for places, entries in direct.restricted(frequent, torch.arange(direct.shape[1])).row_panels()
        for place, row in zip(places, entries.log_softmax(1), strict=True)
    ]
    return _table(best, counts, vocabulary), pa.Table.from_pylist(agreement, AGREEMENT.schema)


def _logprobs(direct: Circuit, pairs: pd.DataFrame) -> np.ndarray:
    """The model's log-probability of each pair, by the direct path alone, in nats."""
    tokens, place = np.unique(pairs["token_id"], return_inverse=True)
    following, found = torch.from_numpy(pairs["next_id"].to_numpy().copy()), torch.empty(len(pairs))
    for rows, entries in direct.restricted(torch.from_numpy(tokens), torch.arange(direct.shape[1])).row_panels():
        here = torch.from_numpy(np.isin(place, rows.numpy())).nonzero().squeeze(1)
        found[here] = entries.log_softmax(1)[torch.from_numpy(place)[here] - rows[0], following[here]]
    return found.numpy()


def _table(best: pd.DataFrame, counts: pd.DataFrame, vocabulary: Vocabulary) -> pa.Table:
    counts = counts[counts["token_id"].isin(best["token_id"])]  # a join with all pairs of a corpus takes much memory
    table = best.merge(counts, on=["token_id", "next_id"], how="left")
    table["corpus_count"] = table.pop("count").fillna(0).astype(np.int64)
    total = table["token_id"].map(counts.groupby("token_id")["count"].sum())
    with np.errstate(divide="ignore"):
        table["corpus_logprob"] = np.log(table["corpus_count"] / total)
    table["rank"] = np.arange(1, len(table) + 1)
    table["token"] = vocabulary.token.iloc[table["token_id"]].to_numpy()
    table["next"] = vocabulary.token.iloc[table["next_id"]].to_numpy()
    return BIGRAMS.arrow(table[BIGRAMS.names])


def _agreement(
    token: int, logprob: torch.Tensor, followers: pd.DataFrame | None, vocabulary: Vocabulary
) -> dict[str, object]:
    row: dict[str, object] = {"token_id": token, "token": vocabulary.token.iloc[token], "observed": 0}
    # A rank correlation over fewer than three points says nothing.
    if followers is None or len(followers) < 3:
        return row
    following, count = followers["next_id"].to_numpy(), followers["count"].to_numpy()
    return row | {
        "observed": len(count),
        "spearman": _rank_correlation(logprob.numpy()[following], count),
        "spearman_unigram": _rank_correlation(vocabulary.probability.numpy()[following], count),
    }


def _rank_correlation(scores: np.ndarray, count: np.ndarray) -> float | None:
    """Spearman's correlation; None where either side is constant, which leaves it undefined."""
    if np.ptp(scores) == 0 or np.ptp(count) == 0:
        return None
    return float(spearmanr(scores, count).statistic)
