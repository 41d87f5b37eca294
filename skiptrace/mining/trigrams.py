"""The largest of all V³ skip-trigrams of a head, exact, from its two thin circuits."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from skiptrace.circuits.factored import Circuit
from skiptrace.mining.scan import Request, scan

FIRST = 8  # partners looked at per source to begin with
DEEPER = 4  # times as many where that was not enough


class Trigrams(NamedTuple):
    """Skip-trigrams source … destination → out with score QK[b, a]·OV[a, c], largest first."""

    source: Int[np.ndarray, " k"]
    destination: Int[np.ndarray, " k"]
    out: Int[np.ndarray, " k"]
    score: Float[np.ndarray, " k"]


def largest(qk: Circuit, ov: Circuit, k: int, threads: int = 1) -> Trigrams:
    """The k largest score(a, b, c) = max(QK[b, a], 0)·max(OV[a, c], 0) above zero; ties by (source, destination, out).

    `qk` has destinations b in its rows and sources a in its columns, `ov` sources in its rows and outs in its columns;
    centre them first. Of every source the few best destinations and outs are looked at. Where the last of them, with
    the best of the other side, could still reach the k-th best score, more are, until none could.
    """
    by_source, found = qk.transposed(), _NONE
    sources, depth = torch.arange(ov.shape[0]), FIRST
    everything = torch.arange(qk.shape[0]), torch.arange(ov.shape[1])
    while len(sources):
        destinations = scan(by_source.restricted(sources, everything[0]), Request(rows=depth), threads=threads).rows
        outs = scan(ov.restricted(sources, everything[1]), Request(rows=depth), threads=threads).rows
        assert destinations is not None and outs is not None
        # The product of two single-precision numbers is exact in double precision.
        qk_best, ov_best = (t.values.double().clamp(min=0) for t in (destinations, outs))
        again = np.isin(found.source, sources.numpy())
        kept = _chosen(found, ~again)
        found = _first(kept, _products(sources, destinations.index, outs.index, qk_best, ov_best, k), k)
        threshold = found.score[-1] if len(found.score) == k else 0.0
        unseen = torch.zeros(len(sources), dtype=torch.bool)
        if destinations.index.shape[1] < min(k, len(everything[0])):
            unseen |= (qk_best[:, -1] > 0) & (qk_best[:, -1] * ov_best[:, 0] >= threshold)
        if outs.index.shape[1] < min(k, len(everything[1])):
            unseen |= (ov_best[:, -1] > 0) & (ov_best[:, -1] * qk_best[:, 0] >= threshold)
        sources, depth = sources[unseen], depth * DEEPER
    return found


_NONE = Trigrams(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))


def _products(sources: Tensor, destination: Tensor, out: Tensor, qk: Tensor, ov: Tensor, k: int) -> Trigrams:
    """Every pair of the kept destinations and outs that may be among a source's k best, above zero."""
    # A source's best k × best k hold its k best pairs, and of those only the ones with (i + 1)(j + 1) ≤ k.
    i, j = np.nonzero(np.outer(np.arange(1, qk.shape[1] + 1), np.arange(1, ov.shape[1] + 1)) <= k)
    # Sources whose best pair is below the k-th best of all best pairs cannot matter.
    best = qk[:, 0] * ov[:, 0]
    least = best.topk(min(k, len(best))).values[-1]
    rows = ((best >= least) & (best > 0)).nonzero().squeeze(1)
    score = qk[rows][:, i] * ov[rows][:, j]
    columns = (
        sources[rows, None].expand(-1, len(i)),
        destination[rows][:, i],
        out[rows][:, j],
        score,
    )
    source, b, c, value = (column.flatten().numpy() for column in columns)
    return _chosen(Trigrams(source, b, c, value), value > 0)


def _first(one: Trigrams, other: Trigrams, k: int) -> Trigrams:
    source, destination, out, score = (np.concatenate(pair) for pair in zip(one, other, strict=True))
    order = np.lexsort((out, destination, source, -score))[:k]
    return _chosen(Trigrams(source, destination, out, score), order)


def _chosen(found: Trigrams, which: np.ndarray) -> Trigrams:
    ids = [column[which].astype(np.int64) for column in found[:3]]
    return Trigrams(ids[0], ids[1], ids[2], found.score[which])
