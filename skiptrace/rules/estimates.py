"""Rules that are counted in training text, and those that a context itself gives."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Integer
from numpy.lib.stride_tricks import sliding_window_view

from skiptrace.config.rules import RulesParams
from skiptrace.models.windows import BOS_ID
from skiptrace.rules.followers import Followers, certain, followers, joined
from skiptrace.rules.places import Ids, Places
from skiptrace.tokens import kneser_ney

Text = Integer[np.ndarray, " text"]
BLOCK = 2**16  # places of training text whose sources are held at once, more where one token stands at more
CHUNK = 2**20  # tokens of training text that are looked through at once
BACKOFF, SKIP, COPY, MINED, INDUCTION, PAIRS = (
    "backoff n-gram", "skip-trigram", "copy", "mined row", "induction", "induction of pairs",
)  # fmt: skip


class Rule(NamedTuple):
    """What a rule says at every place: a token, and its shares of tokens as a row of `said`; -1 where it is silent."""

    name: str
    word: Ids
    row: Ids
    said: Followers


class Estimates(NamedTuple):
    """All rules; `backoff` is one of the n-grams at each place, and has no shares of its own."""

    ngrams: list[Rule]
    others: list[Rule]
    backoff: Ids


def ngram_name(order: int) -> str:
    """What the rule of so many tokens is called: the last one is what it says."""
    return f"{order}-gram"


def estimates(places: Places, train: Text, rows: pd.DataFrame, vocab_size: int, params: RulesParams) -> Estimates:
    """The rules at every place; counts are of the training text alone, `rows` those mined from the model's weights."""
    text = np.asarray(train[: kneser_ney.MOST])
    ngrams = list(ngram_rules(places, text, vocab_size))
    backoff = np.full(len(places.at), -1)
    for rule in ngrams:  # the longest comes last
        backoff = np.where(rule.word >= 0, rule.word, backoff)
    skips, copied = skip_rules(places, text, vocab_size, params)
    alone = certain(vocab_size)
    words = {
        COPY: copied,
        MINED: of_rows(places, rows, vocab_size, params.window),
        INDUCTION: repeated(places, vocab_size, 1),
        PAIRS: repeated(places, vocab_size, 2),
    }
    return Estimates(ngrams, [skips, *(Rule(name, word, word, alone) for name, word in words.items())], backoff)


def ngram_rules(places: Places, text: Text, vocab_size: int) -> Iterator[Rule]:
    """Of every order, the most frequent token of the text after the last order − 1 ones, where the text has them.

    Only contexts that the places have are counted; of a place near the start of its context those that fit into it.
    """
    none = np.zeros(len(places.at), np.int64)
    counted = followers(np.zeros(len(text), np.int64), text, vocab_size)
    yield Rule(ngram_name(1), counted.most()[0][none], none, counted)
    needed = kneser_ney.count(places.stream, vocab_size, kneser_ney.ORDERS - 1)
    here = kneser_ney.places(needed, places.stream, vocab_size)
    found: list[list[tuple[Ids, Ids]]] = [[] for _ in needed]
    for start in range(0, len(text) - 1, CHUNK):
        first = max(0, start - len(needed) + 1)
        part = text[first : min(start + CHUNK, len(text) - 1)].astype(np.int64)
        for each, ends in zip(found, kneser_ney.places(needed, part, vocab_size), strict=True):
            known = np.flatnonzero(ends[start - first :] >= 0)
            each.append((ends[start - first :][known].astype(np.int32), text[start + 1 + known]))
    for order, (each, ends) in enumerate(zip(found, here, strict=True), 2):
        contexts, following = (np.concatenate(side) for side in zip(*each, strict=True))
        each.clear()
        counted = followers(contexts, following, vocab_size)
        row = np.where(places.position >= order - 1, counted.find(ends[places.at]), -1)
        yield Rule(ngram_name(order), np.append(counted.most()[0], -1)[row], row, counted)


def skip_rules(places: Places, text: Text, vocab_size: int, params: RulesParams) -> tuple[Rule, Ids]:
    """The best rule source … destination → out at every place, and the best that says its own source, which copies.

    Sources stand in the same document, at most `window` tokens before the destination. Best is the one whose output
    follows in the largest share of the places that the text has of source … destination, at least `min_count`; of
    equal ones that of the nearest source.
    """
    word, row = (np.full(len(places.at), -1) for _ in range(2))
    copied, best_copy = np.full(len(places.at), -1), np.zeros(len(places.at), np.float32)
    found: list[Followers] = []
    held = 0
    candidates = _sources(places, params.window)
    for tokens, counted in _blocks(text, vocab_size, params):
        mine = np.flatnonzero(np.isin(places.token, tokens))
        if not len(mine) or not len(counted.key):
            continue
        likeliest, confidence = counted.most()
        best, chosen = np.zeros(len(mine), np.float32), np.full(len(mine), -1)
        for sources in candidates:
            source = sources[mine]
            at = np.where(source >= 0, counted.find(source * vocab_size + places.token[mine]), -1)
            sure = np.where(at >= 0, confidence[at], 0)
            chosen, best = np.where(sure > best, at, chosen), np.maximum(best, sure)
            again = counted.share_of(at, source, vocab_size)
            better = again > best_copy[mine]
            copied[mine], best_copy[mine] = np.where(better, source, copied[mine]), np.maximum(again, best_copy[mine])
        says = chosen >= 0
        kept, which = np.unique(chosen[says], return_inverse=True)
        word[mine[says]], row[mine[says]] = likeliest[chosen[says]], held + which
        found.append(counted.take(kept))
        held += len(kept)
    return Rule(SKIP, word, row, joined(found) if found else certain(0)), copied


def _blocks(text: Text, vocab_size: int, params: RulesParams) -> Iterator[tuple[Ids, Followers]]:
    """Some destinations at a time, and what follows source · V + destination for every source before them.

    A source counts once for each destination, where it stands last before it.
    """
    n, window = len(text), params.window
    count = min(params.places, n - 1)
    at = np.arange(count) * (n - 1) // max(1, count)
    at = at[np.argsort(text[at], kind="stable")]
    place = np.arange(n, dtype=np.int32)
    since = place - np.maximum.accumulate(np.where(text == BOS_ID, place, 0))  # the start of the document
    again = np.full(n, window + 1, np.int32)  # tokens until each stands again
    for distance in range(window, 0, -1):
        again[:-distance][text[:-distance] == text[distance:]] = distance
    # Row i of either holds the `window` tokens before token i, the nearest last.
    before, ahead = (sliding_window_view(np.append(np.zeros(window, x.dtype), x), window) for x in (text, again))
    distances = np.arange(window, 0, -1)
    groups = np.append(np.flatnonzero(np.diff(text[at].astype(np.int64), prepend=-1)), len(at))
    while len(groups) > 1:
        end = max(1, int(np.searchsorted(groups, groups[0] + BLOCK, side="right")) - 1)
        here = at[groups[0] : groups[end]]
        sources = before[here].astype(np.int64)
        last = (ahead[here] >= distances) & (distances <= since[here, None]) & (sources != BOS_ID)
        pairs = (sources * vocab_size + text[here, None])[last]
        following = np.repeat(text[here + 1].astype(np.int64), last.sum(1))
        counted = followers(pairs, following, vocab_size)
        yield text[at[groups[:end]]], counted.often(params.min_count)
        groups = groups[end:]


def _sources(places: Places, window: int) -> list[Ids]:
    """The token so many before each place, for each distance of the window; -1 where its document has begun after."""
    found = []
    for distance in range(1, min(window, int(places.position.max(initial=0)) - 1) + 1):
        inside = places.position > distance  # the start token is no source
        before = np.where(inside, places.at - distance, places.at)
        same = inside & (places.run[before] == places.run[places.at])
        token = places.stream[before]
        found.append(np.where(same & (token != BOS_ID), token, -1))
    return found


def of_rows(places: Places, rows: pd.DataFrame, vocab_size: int, window: int) -> Ids:
    """What the first mined row says, by rank, whose source stands in the window and whose destination is the token."""
    first = rows.sort_values("rank", kind="stable").drop_duplicates(["source_id", "destination_id"])
    key = (first["source_id"].astype(np.int64) * vocab_size + first["destination_id"]).to_numpy()
    order = np.argsort(key)
    table = followers(key[order], np.zeros(len(key), np.int64), vocab_size)
    rank, out = np.append(order, len(order)), np.append(first["out_id"].to_numpy(np.int64), -1)
    best = np.full(len(places.at), len(order))
    for source in _sources(places, window):
        at = np.where(source >= 0, table.find(source * vocab_size + places.token), -1)
        best = np.minimum(best, rank[at])
    return out[best]


def repeated(places: Places, vocab_size: int, length: int) -> Ids:
    """The token that followed the last earlier occurrence, in the same document, of the last `length` tokens."""
    stream, n = places.stream, len(places.stream)
    key = places.run.astype(np.int64)
    start = np.zeros(n, bool)
    start[np.unique(places.at - places.position)] = True  # tokens that begin every context stand for no text
    known = ~start
    for back in range(length):
        key[back:] = key[back:] * vocab_size + stream[: n - back]
        known[back:] &= (places.run[back:] == places.run[: n - back]) & ~start[: n - back]
    known[: length - 1] = False
    found = np.flatnonzero(known)
    order = found[np.argsort(key[found], kind="stable")]
    word = np.full(n, -1)
    same = np.flatnonzero(key[order[1:]] == key[order[:-1]])
    word[order[same + 1]] = stream[order[same] + 1]
    return word[places.at]
