"""What follows contexts in a text: counts as sorted arrays, a row for each context."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer

Ids = Integer[np.ndarray, " n"]


class Followers(NamedTuple):
    """The tokens that follow each context, ascending, with their shares: of row c those from start[c] to start[c+1].

    `key` is what the context is, ascending; `times` how often it stands.
    """

    key: Integer[np.ndarray, " contexts"]
    times: Integer[np.ndarray, " contexts"]
    start: Integer[np.ndarray, " ends"]
    token: Integer[np.ndarray, " entries"]
    share: Float[np.ndarray, " entries"]

    @property
    def of(self) -> Integer[np.ndarray, " entries"]:
        """The row of each entry."""
        return np.repeat(np.arange(len(self.key)), np.diff(self.start))

    def most(self) -> tuple[Integer[np.ndarray, " contexts"], Float[np.ndarray, " contexts"]]:
        """The most frequent token after each context, the first of several, and its share."""
        if not len(self.key):
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        of, top = self.of, np.maximum.reduceat(self.share, self.start[:-1])
        hits = np.flatnonzero(self.share == top[of])
        _, first = np.unique(of[hits], return_index=True)
        return self.token[hits[first]], top

    def find(self, keys: Ids) -> Ids:
        """The row of each of some keys; -1 for those that are no context here."""
        if not len(self.key):
            return np.full(len(keys), -1)
        row = np.minimum(np.searchsorted(self.key, keys), len(self.key) - 1)
        return np.where(self.key[row] == keys, row, -1)

    def share_of(self, row: Ids, token: Ids, vocab_size: int) -> Float[np.ndarray, " n"]:
        """The share of a token after the context of each row; 0 where it never follows, or the row is -1."""
        if not len(self.token):
            return np.zeros(len(row), np.float32)
        entries, asked = self.of * vocab_size + self.token, row * vocab_size + token
        at = np.minimum(np.searchsorted(entries, asked), len(entries) - 1)
        return np.where((row >= 0) & (entries[at] == asked), self.share[at], np.float32(0))

    def take(self, rows: Ids) -> "Followers":
        """Those of some rows alone, which ascend."""
        sizes = np.diff(self.start)[rows]
        start = np.append(0, np.cumsum(sizes))
        entries = np.arange(start[-1]) + np.repeat(self.start[rows] - start[:-1], sizes)
        return Followers(self.key[rows], self.times[rows], start, self.token[entries], self.share[entries])

    def often(self, least: int) -> "Followers":
        """The contexts that stand at least so many times."""
        return self.take(np.flatnonzero(self.times >= least))


def followers(context: Ids, following: Ids, vocab_size: int) -> Followers:
    """Count the pairs of a context, any whole number that is not negative, and the token that follows it."""
    keys = context.astype(np.int64)
    keys *= vocab_size
    keys += following
    keys.sort()
    begins = _new(keys)
    of, token = np.divmod(keys[begins], vocab_size)
    times = np.diff(begins, append=len(keys))
    rows = _new(of)
    total = np.diff(begins[rows], append=len(keys))
    start = np.append(rows, len(of))
    share = (times / np.repeat(total, np.diff(start))).astype(np.float32)
    return Followers(of[rows], total, start, token, share)


def joined(parts: Sequence[Followers]) -> Followers:
    """Rows of several one below the other; keys need not ascend."""
    ends = np.cumsum([0, *(len(each.token) for each in parts)])
    start = np.concatenate([*(each.start[:-1] + end for each, end in zip(parts, ends, strict=False)), ends[-1:]])
    return Followers(
        np.concatenate([each.key for each in parts]),
        np.concatenate([each.times for each in parts]),
        start,
        np.concatenate([each.token for each in parts]),
        np.concatenate([each.share for each in parts]),
    )


def certain(vocab_size: int) -> Followers:
    """Row w: the token w, and nothing else."""
    every = np.arange(vocab_size)
    ones = np.ones(vocab_size, np.int64)
    return Followers(every, ones, np.arange(vocab_size + 1), every, np.ones(vocab_size, np.float32))


def _new(ascending: Ids) -> Integer[np.ndarray, " distinct"]:
    """Where each distinct value begins."""
    return np.append(np.arange(min(1, len(ascending))), 1 + np.flatnonzero(ascending[1:] != ascending[:-1]))
