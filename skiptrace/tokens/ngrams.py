"""Bigram statistics and the losses a model without attention could reach."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Integer

from skiptrace.tokens.tables import BIGRAMS

CHUNK = 2**22  # tokens that are counted, or looked up, at once


@dataclass(frozen=True)
class Bigrams:
    """Distinct adjacent pairs of a stream, sorted by token then next token, with counts."""

    token: Integer[np.ndarray, " pairs"]
    next: Integer[np.ndarray, " pairs"]
    count: Integer[np.ndarray, " pairs"]

    def to_table(self) -> pa.Table:
        """The pairs as a table (`BIGRAMS`)."""
        return BIGRAMS.arrow(pa.table([self.token, self.next, self.count], BIGRAMS.names))


def count_bigrams(stream: Integer[np.ndarray, " n"], vocab_size: int, chunk: int = CHUNK) -> Bigrams:
    """Count the adjacent pairs of a token stream, `chunk` of them in memory beside those that differ."""
    distinct, count = np.empty(0, np.int64), np.empty(0, np.int64)
    for start in range(0, len(stream) - 1, chunk):
        part = np.asarray(stream[start : start + chunk + 1]).astype(np.int64)
        pairs, times = np.unique(part[:-1] * vocab_size + part[1:], return_counts=True)
        distinct, place = np.unique(np.concatenate([distinct, pairs]), return_inverse=True)
        count = np.bincount(place, np.concatenate([count, times]), len(distinct)).astype(np.int64)
    return Bigrams(distinct // vocab_size, distinct % vocab_size, count)


class KneserNey:
    """Interpolated Kneser–Ney bigram model (Chen & Goodman 1999, section 2.7).

    p(b|a) = max(c(ab) − D, 0)/c(a) + D·N₊(a·)/c(a)·p_cont(b), with
    p_cont(b) = N₊(·b)/N₊(··), itself discounted by the same D and interpolated with 1/V so that
    a token never seen as a continuation keeps some probability. D = n₁/(n₁ + 2n₂), where n_k is
    the number of pairs seen k times.
    """

    def __init__(self, bigrams: Bigrams, vocab_size: int) -> None:
        self.vocab_size = vocab_size
        self._pairs = bigrams.token * vocab_size + bigrams.next
        self._count = bigrams.count
        once, twice = (int((bigrams.count == k).sum()) for k in (1, 2))
        # Without pairs seen once or twice the estimate is undefined; 1/2 is then as good as any.
        self.discount = once / (once + 2 * twice) if once else 0.5
        self._total = np.bincount(bigrams.token, bigrams.count, vocab_size)
        self._followers = np.bincount(bigrams.token, minlength=vocab_size)
        histories = np.bincount(bigrams.next, minlength=vocab_size)
        n_pairs, n_types = len(bigrams.count), int((histories > 0).sum())
        kept = np.maximum(histories - self.discount, 0) / n_pairs
        self._continuation = kept + self.discount * n_types / n_pairs / vocab_size

    def probability(
        self, token: Integer[np.ndarray, " n"], next_token: Integer[np.ndarray, " n"]
    ) -> Float[np.ndarray, " n"]:
        """p(next | token) for aligned arrays of ids; a token never seen backs off entirely."""
        token, next_token = token.astype(np.int64), next_token.astype(np.int64)
        pairs = token * self.vocab_size + next_token
        place = np.minimum(np.searchsorted(self._pairs, pairs), len(self._pairs) - 1)
        count = np.where(self._pairs[place] == pairs, self._count[place], 0)
        total = np.maximum(self._total[token], 1)
        seen = np.maximum(count - self.discount, 0) / total
        share = np.where(self._total[token] > 0, self.discount * self._followers[token] / total, 1.0)
        return seen + share * self._continuation[next_token]


class Baselines(NamedTuple):
    """Mean loss on the validation stream, in nats per token, of models that do not attend."""

    unigram_loss: float
    bigram_loss: float
    uniform_loss: float
    discount: float


def baselines(bigrams: Bigrams, valid: Integer[np.ndarray, " m"], vocab_size: int) -> Baselines:
    """Unigram (counts plus one) and interpolated Kneser–Ney bigram losses.

    Each token of `valid` but the first is predicted once, from the token before it.
    """
    counts = np.bincount(bigrams.next, bigrams.count, vocab_size) + 1
    unigram = np.log(counts / counts.sum())
    bigram = KneserNey(bigrams, vocab_size)
    starts = range(0, len(valid) - 1, CHUNK)
    pairs = ((valid[s : s + CHUNK][: len(valid) - 1 - s], valid[s + 1 : s + 1 + CHUNK]) for s in starts)
    parts = [np.log(bigram.probability(*pair)) for pair in pairs]
    return Baselines(
        float(-unigram[valid[1:]].mean()),
        float(-np.concatenate(parts).mean()),
        float(np.log(vocab_size)),
        bigram.discount,
    )
