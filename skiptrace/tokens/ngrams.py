"""Bigram statistics, and the losses of models that know nothing but n-grams."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Integer

from skiptrace.tokens import kneser_ney
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


class Baselines(NamedTuple):
    """Mean loss on the validation stream, in nats per token, of models that do not attend.

    `ngram_losses` are of smoothed n-grams of one token, two, and so on.
    """

    unigram_loss: float
    bigram_loss: float
    uniform_loss: float
    ngram_losses: list[float]


def baselines(
    bigrams: Bigrams, train: Integer[np.ndarray, " n"], valid: Integer[np.ndarray, " m"], vocab_size: int
) -> Baselines:
    """The losses of unigrams (counts plus one) and of interpolated Kneser–Ney n-grams (`kneser_ney`).

    Each token of `valid` but the first is predicted once, from those before it. Of a training text of more than
    `kneser_ney.MOST` tokens, longer n-grams than one token are counted in that many.
    """
    counts = np.bincount(bigrams.next, bigrams.count, vocab_size) + 1
    unigram = np.log(counts / counts.sum())
    grams = kneser_ney.count(np.asarray(train[: kneser_ney.MOST]), vocab_size)
    losses = []
    for start in range(0, len(valid) - 1, CHUNK):  # the longest context of a chunk's first tokens is left out
        part = np.asarray(valid[start : start + CHUNK + 1]).astype(np.int64)
        losses.append([-np.log(p[1:]) for p in kneser_ney.probabilities(grams, part, vocab_size)])
    ngrams = [float(np.concatenate(parts).mean()) for parts in zip(*losses, strict=True)]
    return Baselines(
        float(-unigram[valid[1:]].mean()), ngrams[min(1, len(ngrams) - 1)], float(np.log(vocab_size)), ngrams
    )
