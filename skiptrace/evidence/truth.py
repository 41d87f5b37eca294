"""Mined tables against planted truth: precision and recall at K, beside baselines without the method."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int, Integer
from torch import Tensor

from skiptrace.arithmetic import log
from skiptrace.evidence.bugs import crossings
from skiptrace.evidence.tables import SCORES

Row = tuple[int, ...]
FACTORS = (1, 2, 5, 20)
CELLS = 2**28  # counts of triples that are held at once, in 1 GB
SPARSE = 200_000  # tokens whose triples are counted where that many do not fit
ACCEPTED, CONSISTENT, SURVIVING = "accepted skip-trigrams", "all that are consistent", "all that survive"
RANKED = 20_000  # rows of a ranking by counts that are looked at


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
        "consistent, by evidence": checked.sort_values("rank_evidence"),
        "OV alone": mined.sort_values("ov", ascending=False, kind="stable"),
        "QK alone": mined.sort_values("qk", ascending=False, kind="stable"),
    }
    ranked = {name: triples(table) for name, table in rankings.items()}
    ranked |= corpus_rankings(stream, len(known.vocabulary), window)
    forced, real = known.of("bug"), set(triples(checked[checked["consistent"]]))
    scores = []
    for name, rows in ranked.items():
        scores += score("skip_trigrams", name, known.of("skip_trigram"), rows, forced, real)
    for test, name in (("consistent", CONSISTENT), ("survives", SURVIVING)):
        scores += whole(ACCEPTED, name, known.of("skip_trigram"), triples(checked[checked[test]]), forced, real)
    direct = list(zip(tables["bigrams"]["token_id"], tables["bigrams"]["next_id"], strict=True))
    scores += score("bigrams", "weights", known.of("bigram"), direct)
    scores += score("bigrams", "corpus PMI, no model", known.of("bigram"), bigram_pmi(bigrams))
    copied = [(token, token) for token in tables["copies"]["source_id"].tolist()]
    scores += score("copies", "weights", known.of("copy"), copied)
    return scores + score("bugs", "crossed and consistent", known.of("bug"), crossings(bugs))


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
    distinct = list(dict.fromkeys(ranked))
    cuts = [factor * len(truth) for factor in FACTORS] if truth else []
    return [_at(k, kind, ranking, truth, distinct, forced, real) for k in cuts]


def whole(
    kind: str,
    ranking: str,
    truth: set[Row],
    accepted: Sequence[Row],
    forced: Collection[Row] = (),
    real: Collection[Row] = (),
) -> list[Score]:
    """Precision and recall of all rows that a test accepts; k is their number. None where there is nothing to score."""
    distinct = list(dict.fromkeys(accepted))
    return [_at(len(distinct), kind, ranking, truth, distinct, forced, real)] if truth and distinct else []


def _at(
    k: int,
    kind: str,
    ranking: str,
    truth: set[Row],
    distinct: Sequence[Row],
    forced: Collection[Row],
    real: Collection[Row],
) -> Score:
    """The score of the first k of distinct rows."""
    taken = distinct[:k]
    wrong = [row for row in taken if row not in truth]
    found = len(taken) - len(wrong)
    crossed = sum(row in forced for row in wrong)
    done = sum(row in real and row not in forced for row in wrong)
    rest = len(wrong) - crossed - done
    return Score(kind, ranking, len(truth), k, found, found / len(truth), found / k, crossed, done, rest)


def to_frame(scores: Sequence[Score]) -> pd.DataFrame:
    """The scores as a table, empty where nothing was planted."""
    return SCORES.frame(scores)


def bigram_pmi(bigrams: pd.DataFrame, min_count: int = 5) -> list[Row]:
    """Adjacent pairs by pointwise mutual information, without a model."""
    seen = bigrams[bigrams["count"] >= min_count]
    first, second = (bigrams.groupby(name)["count"].sum() for name in ("token_id", "next_id"))
    pmi = np.log(seen["count"] / seen["token_id"].map(first) / seen["next_id"].map(second))
    best = seen.iloc[np.argsort(-pmi.to_numpy(), kind="stable")]
    return list(zip(best["token_id"].tolist(), best["next_id"].tolist(), strict=True))


def corpus_rankings(
    stream: Integer[np.ndarray, " n"], d_vocab: int, window: int, min_count: int = 50
) -> dict[str, list[Row]]:
    """Triples A … B C ranked by counts in the training text, without a model, in four ways.

    All triples within `window` that occur at least `min_count` times: by lift p(C | A … B)/p(C | B), by the difference
    of these shares, by the likelihood ratio G² of C and A … B among places of B, and by pointwise mutual information
    log p(C | A … B)/p(C). Where d_vocab³ counts do not fit, the text is cut to the tokens whose triples do.
    """
    text = torch.from_numpy(np.asarray(stream).astype(np.int64))
    if d_vocab**3 > CELLS:
        text = text[: SPARSE + window]
    here, after = text[window:-1], text[window + 1 :]
    pairs, triples = _counted(text, here, after, d_vocab, window)
    kept = triples[1] >= min_count
    keys, n_abc = triples[0][kept], triples[1][kept].double()
    n_ab = pairs[keys // d_vocab].double()
    b, c = keys // d_vocab % d_vocab, keys % d_vocab
    n_b, n_c = (torch.bincount(ids, minlength=d_vocab).double() for ids in (here, after))
    n_bc = torch.bincount(here * d_vocab + after, minlength=d_vocab**2).double()
    share, alone = n_abc / n_ab, n_bc[b * d_vocab + c] / n_b[b]
    scores = {
        "lift": share / alone,
        "share difference": share - alone,
        "G²": 2 * n_abc * log(share / alone) * (share > alone),
        "PMI": log(share) - log(n_c[c] / len(after)),
    }
    a = keys // d_vocab**2
    found: dict[str, list[Row]] = {}
    for name, score in scores.items():
        best = score.argsort(descending=True, stable=True)[:RANKED]
        found[f"corpus {name}, no model"] = list(zip(a[best].tolist(), b[best].tolist(), c[best].tolist(), strict=True))
    return found


def _counted(
    text: Int[Tensor, " n"], here: Int[Tensor, " m"], after: Int[Tensor, " m"], d_vocab: int, window: int
) -> tuple[Int[Tensor, " pairs"], tuple[Int[Tensor, " k"], Int[Tensor, " k"]]]:
    """How often A stands within the window before B, by A·V + B, and the keys and counts of A … B C that occur."""
    pairs = torch.zeros(d_vocab**2, dtype=torch.int32)
    dense = torch.zeros(d_vocab**3, dtype=torch.int32) if d_vocab**3 <= CELLS else None
    sparse = []
    one = torch.ones(len(here), dtype=torch.int32)
    for back in range(1, window + 1):
        pair = text[window - back : -1 - back] * d_vocab + here
        pairs.scatter_add_(0, pair, one)
        if dense is not None:
            dense.scatter_add_(0, pair * d_vocab + after, one)
        else:
            sparse.append(pair * d_vocab + after)
    if dense is not None:
        keys = dense.nonzero()[:, 0]
        return pairs, (keys, dense[keys])
    keys, counts = torch.cat(sparse).unique(return_counts=True)
    return pairs, (keys, counts)


def triples(table: pd.DataFrame) -> list[Row]:
    """(source, destination, out) of each row, in order."""
    return list(
        zip(table["source_id"].tolist(), table["destination_id"].tolist(), table["out_id"].tolist(), strict=True)
    )
