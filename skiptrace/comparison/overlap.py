"""Two rankings of skip-trigrams: what one gained, lost and moved, and how much they overlap."""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Int

PERSISTENCE = 0.98  # half of the weight lies on the first 14 ranks, a seventh below the fiftieth
SHUFFLES = 20

Triple = tuple[str, str, str]  # source, destination, out


def rank_biased_overlap(a: Sequence[Hashable], b: Sequence[Hashable], p: float = PERSISTENCE) -> float:
    """Agreement of two rankings without repetitions, from 0 (disjoint) to 1 (the same), the top weighing most.

    RBO_ext of Webber, Moffat & Zobel, "A similarity measure for indefinite rankings" (2010), equation
    32: depth d weighs (1-p)·p^(d-1), and what lies below the lists agrees as they do at their ends.
    Two empty rankings are the same.
    """
    rank_a, rank_b = ({item: i for i, item in enumerate(items)} for items in (a, b))
    later = [max(i, rank_b[item]) for item, i in rank_a.items() if item in rank_b]
    return _overlap(np.asarray(later, dtype=int), len(a), len(b), p)


def _overlap(later: Int[np.ndarray, " shared"], n_a: int, n_b: int, p: float) -> float:
    """Rank-biased overlap from the later of the two ranks, from 0, of every shared item."""
    s, depth = sorted((n_a, n_b))
    if s == 0:
        return 1.0 if depth == 0 else 0.0
    shared = np.cumsum(np.bincount(later, minlength=depth)).astype(float)
    d = np.arange(1, depth + 1)
    agreement = shared / d
    agreement[s:] += shared[s - 1] * (d[s:] - s) / (s * d[s:])
    tail = (shared[-1] - shared[s - 1]) / depth + shared[s - 1] / s
    return float((1 - p) / p * (agreement * p**d).sum() + tail * p**depth)


def _shuffled(rank_a: Int[np.ndarray, " shared"], rank_b: Int[np.ndarray, " shared"], n_a: int, n_b: int) -> float:
    """The mean overlap when the second ranking is shuffled."""
    generator = np.random.default_rng(0)
    drawn = (np.maximum(rank_a, generator.permutation(n_b)[rank_b]) for _ in range(SHUFFLES))
    return float(np.mean([_overlap(later, n_a, n_b, PERSISTENCE) for later in drawn]))


class Place(NamedTuple):
    """Where a skip-trigram stands in each version, counted from 1 (None: not there), and whether it survives."""

    triple: Triple
    a: int | None
    b: int | None
    survives_a: bool | None
    survives_b: bool | None


class Changes(NamedTuple):
    """What became of the skip-trigrams of a model.

    `gained` by their new rank, `lost` by their old, `moved` by how far on a logarithmic scale;
    `shuffled` is the overlap that remains, on average, when the second ranking is shuffled.
    """

    rows_a: int
    rows_b: int
    shared: int
    overlap: float
    shuffled: float
    gained: list[Place]
    lost: list[Place]
    moved: list[Place]


def changes(a: pd.DataFrame, b: pd.DataFrame) -> Changes:
    """Compare two tables by the texts of their tokens, whichever head a row is of, its best rank counting."""
    places = [ranked(table) for table in (a, b)]
    before, after = ({place.triple: place for place in table} for table in places)
    orders = list(before), list(after)
    shared = [triple for triple in orders[0] if triple in after]
    both = [
        Place(t, before[t].rank, after[t].rank, before[t].survives, after[t].survives)
        for t in shared
        if before[t].rank != after[t].rank
    ]
    ranks = [np.asarray([side[t].rank - 1 for t in shared], dtype=int) for side in (before, after)]
    return Changes(
        len(before),
        len(after),
        len(shared),
        rank_biased_overlap(*orders),
        _shuffled(ranks[0], ranks[1], len(before), len(after)),
        [Place(t, None, after[t].rank, None, after[t].survives) for t in orders[1] if t not in before],
        [Place(t, before[t].rank, None, before[t].survives, None) for t in orders[0] if t not in after],
        sorted(both, key=lambda place: -abs(np.log((place.b or 1) / (place.a or 1)))),
    )


class Ranked(NamedTuple):
    """A skip-trigram in its ranking, counted from 1 without repetitions."""

    triple: Triple
    rank: int
    survives: bool | None


def ranked(table: pd.DataFrame) -> list[Ranked]:
    """The distinct skip-trigrams of a table, best rank first."""
    distinct = table.sort_values("rank", kind="stable").drop_duplicates(["source", "destination", "out"])
    texts = distinct[["source", "destination", "out"]].itertuples(index=False, name=None)
    survives = [None if pd.isna(v) else bool(v) for v in distinct["survives"]]
    return [Ranked(triple, i, v) for i, (triple, v) in enumerate(zip(texts, survives, strict=True), 1)]
