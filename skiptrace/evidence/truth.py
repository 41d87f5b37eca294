"""Mined tables against planted truth: precision and recall at K, beside baselines without the method."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor

from skiptrace.arithmetic import log
from skiptrace.evidence.bugs import crossings
from skiptrace.evidence.tables import SCORES

Row = tuple[int, ...]
FACTORS = (1, 2, 5, 20)
CELLS = 2**28  # counts of triples, one for each that there could be, that are held at once, in 1 GB
PLACES = 2**26  # triples of the text that are held where those do not fit, in 0.5 GB
ACCEPTED, CONSISTENT, SURVIVING = "accepted skip-trigrams", "all that are consistent", "all that survive"
INTEGER = 8  # bytes of a number
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
    log p(C | A … B)/p(C). Where d_vocab³ counts do not fit, the text is cut to its first `PLACES` triples.
    """
    text = np.asarray(stream).astype(np.int64)
    if d_vocab**3 > CELLS:
        text = text[: PLACES // window + window]
    here, after = text[window:-1], text[window + 1 :]
    key, n_abc, n_ab, n_bc = _counted(text, here, after, d_vocab, window, min_count)
    b, c = key // d_vocab % d_vocab, key % d_vocab
    n_b, n_c = (torch.from_numpy(np.bincount(ids, minlength=d_vocab)).double() for ids in (here, after))
    share, alone = n_abc / n_ab, n_bc / n_b[b]
    scores = {
        "lift": share / alone,
        "share difference": share - alone,
        "G²": 2 * n_abc * log(share / alone) * (share > alone),
        "PMI": log(share) - log(n_c[c] / len(after)),
    }
    a = key // d_vocab**2
    found: dict[str, list[Row]] = {}
    for name, score in scores.items():
        best = score.argsort(descending=True, stable=True)[:RANKED]
        found[f"corpus {name}, no model"] = list(zip(a[best].tolist(), b[best].tolist(), c[best].tolist(), strict=True))
    return found


class Counts(NamedTuple):
    """Triples by A·V² + B·V + C, in order, and how often A … B C, A … B and B C stand in the text."""

    key: Int[Tensor, " k"]
    n_abc: Float[Tensor, " k"]
    n_ab: Float[Tensor, " k"]
    n_bc: Float[Tensor, " k"]


def _counted(
    text: Int[np.ndarray, " n"],
    here: Int[np.ndarray, " m"],
    after: Int[np.ndarray, " m"],
    d_vocab: int,
    window: int,
    min_count: int,
) -> Counts:
    """Count the triples that occur at least `min_count` times, A within the window before B."""
    follows = here * d_vocab + after
    sources = (text[window - back : -1 - back] for back in range(1, window + 1))
    if d_vocab**3 <= CELLS:
        dense, one = torch.zeros(d_vocab**3, dtype=torch.int32), torch.ones(len(here), dtype=torch.int32)
        for source in sources:
            dense.scatter_add_(0, torch.from_numpy(source * d_vocab**2 + follows), one)
        key = (dense >= min_count).nonzero()[:, 0]
        n_ab = dense.view(-1, d_vocab).sum(1)[key // d_vocab]
        n_bc = torch.from_numpy(np.bincount(follows, minlength=d_vocab**2))[key % d_vocab**2]
        return Counts(key, dense[key].double(), n_ab.double(), n_bc.double())
    places = np.concatenate([source * d_vocab**2 + follows for source in sources])
    places.sort()
    # The first of its kind that is still the same so many places on occurs so often.
    first = places[min_count - 1 :] == places[: max(0, len(places) - min_count + 1)]
    first[1:] &= places[1 : len(first)] != places[: max(0, len(first) - 1)]
    key = places[: len(first)][first]
    pair, following = key // d_vocab * d_vocab, key % d_vocab**2
    follows.sort()
    counts = (
        _between(places, key, key + 1),
        _between(places, pair, pair + d_vocab),
        _between(follows, following, following + 1),
    )
    return Counts(torch.from_numpy(key), *(torch.from_numpy(count).double() for count in counts))


def _between(
    values: Int[np.ndarray, " n"], low: Int[np.ndarray, " k"], high: Int[np.ndarray, " k"]
) -> Int[np.ndarray, " k"]:
    """How many of the ordered values are at least `low` and below `high`."""
    return np.searchsorted(values, high) - np.searchsorted(values, low)


def memory(d_vocab: int, tokens: int, window: int) -> float:
    """Bytes that `corpus_rankings` holds of a text of so many tokens."""
    of_text, counted = 4 * INTEGER * float(tokens), 2 * INTEGER * float(PLACES)
    return of_text + (5.0 * d_vocab**3 if d_vocab**3 <= CELLS else min(counted, 2 * INTEGER * float(tokens) * window))


def triples(table: pd.DataFrame) -> list[Row]:
    """(source, destination, out) of each row, in order."""
    return list(
        zip(table["source_id"].tolist(), table["destination_id"].tolist(), table["out_id"].tolist(), strict=True)
    )
