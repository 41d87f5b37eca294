"""Smoothed n-gram models: what the last few tokens alone tell of the next one."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer

ORDERS = 5  # the longest n-grams, in tokens
MOST = 12_000_000  # tokens of a training text that n-grams are counted in; each takes about 130 bytes
Ids = Integer[np.ndarray, " n"]


class Grams(NamedTuple):
    """The distinct n-grams of a stream, sorted: each is a shorter one, `prefix`, and its last token.

    `key` is prefix · V + token, `times` how often each occurs, `left` how many different tokens stand before it.
    """

    key: Integer[np.ndarray, " grams"]
    prefix: Integer[np.ndarray, " grams"]
    times: Integer[np.ndarray, " grams"]
    left: Integer[np.ndarray, " grams"]


def count(stream: Ids, vocab_size: int, orders: int = ORDERS) -> list[Grams]:
    """The n-grams of a token stream of every order up to `orders`, or to its length; `left` of the longest is 0."""
    found: list[Grams] = []
    places = np.zeros(len(stream) + 1, np.int64)  # of the shorter n-gram that begins at each token: first, of none
    for order in range(1, min(orders, len(stream)) + 1):
        last = stream[order - 1 :].astype(np.int64)
        keys = places[: len(last)] * vocab_size + last
        key, first, place, times = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
        if found:  # each n-gram of this order stands for one more token before what it ends with
            before = np.bincount(places[first + 1], minlength=len(found[-1].key))
            found[-1] = found[-1]._replace(left=before)
        found.append(Grams(key, key // vocab_size, times, np.zeros_like(times)))
        places = np.append(place, 0)
    return found


def discount(counts: Integer[np.ndarray, " grams"]) -> float:
    """D = n₁/(n₁ + 2n₂), where n_k is the number of n-grams seen k times; ½ where none is seen once."""
    once, twice = (int((counts == k).sum()) for k in (1, 2))
    return once / (once + 2 * twice) if once else 0.5


def probabilities(grams: list[Grams], stream: Ids, vocab_size: int) -> list[Float[np.ndarray, " n"]]:
    """p(token | those before it) at every token of a stream, by interpolated Kneser–Ney models of every order.

    p(w|h) = max(c(hw) − D, 0)/c(h) + D·N₊(h·)/c(h)·p'(w|h'), where h' lacks the first token of h, and p' is the same
    with N₊(·hw), how many tokens stand before hw, in the place of c(hw); p' of no token before is 1/V (Chen & Goodman
    1999, section 2.7). Every order has a D of its own, and single tokens that of the pairs. A context that the counted
    text does not have leaves all to the shorter one, as do those that begin before the stream.
    """
    shorter, results = np.full(len(stream), 1 / vocab_size), []
    discounts = [discount(each.times) for each in grams]
    discounts[0] = discounts[min(1, len(grams) - 1)]
    context = np.zeros(len(stream), np.int64)
    for each, own, place in zip(grams, discounts, places(grams, stream, vocab_size), strict=True):
        results.append(_interpolated(each.times, each.prefix, own, context, place, shorter))
        shorter = _interpolated(each.left, each.prefix, own, context, place, shorter)
        context = np.append(-1, place[:-1])
    return results


def places(grams: list[Grams], stream: Ids, vocab_size: int) -> list[Ids]:
    """Which n-gram of each order ends at each token of a stream, counted in `grams`; -1 where it is none of them."""
    context, found = np.zeros(len(stream), np.int64), []  # the shorter n-gram that ends before each token
    for each in grams:
        keys = context * vocab_size + stream
        place = np.minimum(np.searchsorted(each.key, keys), len(each.key) - 1)
        found.append(np.where((context >= 0) & (each.key[place] == keys), place, -1))
        context = np.append(-1, found[-1][:-1])
    return found


def _interpolated(
    counts: Integer[np.ndarray, " grams"],
    prefix: Integer[np.ndarray, " grams"],
    own: float,
    context: Ids,
    place: Ids,
    shorter: Float[np.ndarray, " n"],
) -> Float[np.ndarray, " n"]:
    """p(w|h) of n-grams with these counts at each token, of which `context` is h and `place` hw, -1 where not known."""
    size = int(prefix[-1]) + 1
    total, kinds = (np.append(np.bincount(prefix, weights, size), 0.0) for weights in (counts, counts > 0))
    h = np.where((context >= 0) & (context < size), context, size)
    seen = np.where(place >= 0, np.maximum(counts[place] - own, 0.0), 0.0)
    divisor = np.maximum(total[h], 1.0)
    return np.where(total[h] > 0, (seen + own * kinds[h] * shorter) / divisor, shorter)
