"""Mined tables against planted truth: precision and recall at K, beside baselines without the method."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Integer

from skiptrace.evidence.bugs import crossings

Row = tuple[int, ...]
FACTORS = (1, 2, 5, 20)


class Score(NamedTuple):
    """How many of the planted rows are among the first k of a ranking."""

    kind: str
    ranking: str
    planted: int
    k: int
    found: int
    recall: float
    precision: float
    false_forced: int  # false rows that are crossings of planted quartets
    false_real: int  # other false rows that the running model does do, by its verification
    false_wrong: int  # false rows that it does not do, or that were not checked


@dataclass(frozen=True)
class Known:
    """Planted truth in token ids, by kind; words that the training text lacks are left out."""

    table: pd.DataFrame
    vocabulary: pd.DataFrame

    def of(self, kind: str) -> set[Row]:
        """The planted rows of one kind: (source, out), or (source, destination, out)."""
        ids = dict(zip(self.vocabulary["token"], self.vocabulary["token_id"], strict=True))
        rows = self.table[self.table["kind"] == kind]
        words = (
            tuple(w for w in row if isinstance(w, str)) for row in rows[["source", "destination", "out"]].to_numpy()
        )
        return {tuple(int(ids[w]) for w in row) for row in words if all(w in ids for w in row)}


def evaluate(
    known: Known,
    tables: dict[str, pd.DataFrame],
    checked: pd.DataFrame,
    bugs: pd.DataFrame,
    bigrams: pd.DataFrame,
    stream: Integer[np.ndarray, " n"],
    window: int,
) -> list[Score]:
    """Precision and recall of every table and of the baselines: OV alone, QK alone, corpus PMI."""
    mined = tables["skip_trigrams"]
    rankings = {
        "weights, published rule": mined.dropna(subset="rank_published").sort_values("rank_published"),
        "weights, expected gain": mined.dropna(subset="rank_expected").sort_values("rank_expected"),
        "verified, by evidence": checked.sort_values("rank_evidence"),
        "OV alone": mined.sort_values("ov", ascending=False, kind="stable"),
        "QK alone": mined.sort_values("qk", ascending=False, kind="stable"),
    }
    ranked = {name: triples(table) for name, table in rankings.items()}
    ranked["corpus PMI, no model"] = corpus_pmi(stream, len(known.vocabulary), window)
    forced, real = known.of("bug"), set(triples(checked[checked["verified"]]))
    scores = []
    for name, rows in ranked.items():
        scores += score("skip_trigrams", name, known.of("skip_trigram"), rows, forced, real)
    direct = list(zip(tables["bigrams"]["token_id"], tables["bigrams"]["next_id"], strict=True))
    scores += score("bigrams", "weights", known.of("bigram"), direct)
    scores += score("bigrams", "corpus PMI, no model", known.of("bigram"), bigram_pmi(bigrams))
    copied = [(token, token) for token in tables["copies"]["source_id"].tolist()]
    scores += score("copies", "weights", known.of("copy"), copied)
    return scores + score("bugs", "crossed and verified", known.of("bug"), crossings(bugs))


def score(
    kind: str,
    ranking: str,
    truth: set[Row],
    ranked: Sequence[Row],
    forced: Collection[Row] = (),
    real: Collection[Row] = (),
) -> list[Score]:
    """Precision and recall at K = the number planted, and at multiples of it.

    A repeated row counts once. Precision counts against k also where the ranking is shorter.
    """
    distinct, scores = list(dict.fromkeys(ranked)), []
    for factor in FACTORS if truth else ():
        k = factor * len(truth)
        taken = distinct[:k]
        wrong = [row for row in taken if row not in truth]
        found = len(taken) - len(wrong)
        crossed = sum(row in forced for row in wrong)
        done = sum(row in real and row not in forced for row in wrong)
        rest = len(wrong) - crossed - done
        scores.append(Score(kind, ranking, len(truth), k, found, found / len(truth), found / k, crossed, done, rest))
    return scores


def to_frame(scores: Sequence[Score]) -> pd.DataFrame:
    """The scores as a table, empty where nothing was planted."""
    return pd.DataFrame(scores, columns=list(Score._fields))


def bigram_pmi(bigrams: pd.DataFrame, min_count: int = 5) -> list[Row]:
    """Adjacent pairs by pointwise mutual information, without a model."""
    seen = bigrams[bigrams["count"] >= min_count]
    first, second = (bigrams.groupby(name)["count"].sum() for name in ("token_id", "next_id"))
    pmi = np.log(seen["count"] / seen["token_id"].map(first) / seen["next_id"].map(second))
    best = seen.iloc[np.argsort(-pmi.to_numpy(), kind="stable")]
    return list(zip(best["token_id"].tolist(), best["next_id"].tolist(), strict=True))


def corpus_pmi(
    stream: Integer[np.ndarray, " n"], d_vocab: int, window: int, tokens: int = 200_000, min_count: int = 5
) -> list[Row]:
    """Triples A … B C by pointwise mutual information of (A … B) and C, without a model.

    All triples within `window` in the first `tokens` of the stream that occur at least
    `min_count` times; PMI = log p(C | A … B)/p(C).
    """
    text = np.asarray(stream[: tokens + window]).astype(np.int64)
    here, after = text[window:-1], text[window + 1 :]
    pair_keys, triple_keys = [], []
    for back in range(1, window + 1):
        pair = text[window - back : -1 - back] * d_vocab + here
        pair_keys.append(pair)
        triple_keys.append(pair * d_vocab + after)
    triples, n_triple = np.unique(np.concatenate(triple_keys), return_counts=True)
    kept = n_triple >= min_count
    triples, n_triple = triples[kept], n_triple[kept]
    pairs, n_pair = np.unique(np.concatenate(pair_keys), return_counts=True)
    n_pair = n_pair[np.searchsorted(pairs, triples // d_vocab)]
    out = triples % d_vocab
    pmi = np.log(n_triple / n_pair) - np.log(np.bincount(after, minlength=d_vocab)[out] / len(after))
    best = np.argsort(-pmi, kind="stable")
    found = triples[best]
    return list(
        zip(
            (found // d_vocab**2).tolist(),
            (found // d_vocab % d_vocab).tolist(),
            (found % d_vocab).tolist(),
            strict=True,
        )
    )


def triples(table: pd.DataFrame) -> list[Row]:
    """(source, destination, out) of each row, in order."""
    return list(
        zip(table["source_id"].tolist(), table["destination_id"].tolist(), table["out_id"].tolist(), strict=True)
    )
