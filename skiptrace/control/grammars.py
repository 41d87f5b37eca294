"""Small grammars whose rules share their words, so that what stands together in the text is not always a rule.

Words follow a Zipf law, and each has preferred followers. A rule is a law of the text: wherever its source stands
within reach of its destination, planned or by chance, the output token follows with its probability. Sources,
destinations and output tokens are drawn from the same words, frequent ones among them. Beside the rules stand decoys:
associations of the same words that are no skip-trigrams.
"""

import itertools
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pandas as pd
from jaxtyping import Bool, Integer

from skiptrace.config.control import ControlParams
from skiptrace.evidence.truth import Row, triples
from skiptrace.models.windows import BOS_ID

NOBODY = -1  # no second source
LIKELY = 0.4  # share of a destination's followers that is the output token a negative rule, or a decoy, is about
COLUMNS = ("kind", "source_id", "other_id", "destination_id", "out_id", "probability")
FOLLOWERS = 4  # preferred followers of every word


class Kind(StrEnum):
    """What a rule or a decoy is, with words A, A′ … B → C.

    `skip_trigram`: C follows B with the rule's probability if A is within reach. `incoherent`: the same, in squares of
    sources and destinations in which every output token stands once in every row and column, so that no product
    QK · OV of one head has them and not their crossings. `two_sources`: C follows if both sources are within reach.
    `negative`: C, which often follows B, does not if A is within reach.
    Decoys: `companion`: A′, a rare word, mostly stands next to the source A of a skip-trigram, so that C follows A′ … B
    about as often, but because of A. `topic`: C becomes likelier after any token if A is within reach, and often
    follows B besides.
    """

    SKIP_TRIGRAM = "skip_trigram"
    INCOHERENT = "incoherent"
    TWO_SOURCES = "two_sources"
    NEGATIVE = "negative"
    COMPANION = "companion"
    TOPIC = "topic"


PLANTED = (Kind.SKIP_TRIGRAM, Kind.INCOHERENT, Kind.TWO_SOURCES)  # those that raise an output token


@dataclass(frozen=True)
class Grammar:
    """Rules and decoys (`COLUMNS`; a rule of two sources is two rows), what follows each word, and word frequencies."""

    rules: pd.DataFrame
    followers: Integer[np.ndarray, "words followers"]
    frequency: np.ndarray

    def of(self, *kinds: Kind, rows: "pd.Series | None" = None) -> set[Row]:
        """(source, destination, out) of the rows of some kinds, or of those of them that `rows` marks."""
        chosen = self.rules["kind"].isin(kinds)
        return set(triples(self.rules[chosen if rows is None else chosen & rows]))

    def crossings(self) -> set[Row]:
        """Triples of a source, a destination and an output token of one square that are not planted."""
        squares = self.rules[self.rules["kind"] == Kind.INCOHERENT]
        found: set[Row] = set()
        for start in range(0, len(squares), 9):
            square = squares.iloc[start : start + 9]
            parts = (square[f"{role}_id"].unique() for role in ("source", "destination", "out"))
            found |= {(int(a), int(b), int(c)) for a, b, c in itertools.product(*parts)}
        return found - self.of(*PLANTED)


def grammar(params: ControlParams, seed: int) -> Grammar:
    """Draw the rules and decoys of one grammar; word ids begin at 1, 0 is the start of a document."""
    generator = np.random.default_rng([seed, 0])
    words = np.arange(1, params.words + 1)
    frequency = 1 / np.arange(1, params.words + 1) ** params.zipf
    frequency = generator.permutation(frequency / frequency.sum())
    followers = generator.choice(words, (params.words + 1, FOLLOWERS), p=frequency)
    used: set[Row] = set()
    rows: list[tuple[Kind, int, int, int, int, float]] = []

    mixed = 0.5 * frequency + 0.5 / params.words  # frequent and rare words

    def draw(count: int) -> list[int]:
        return [int(word) for word in generator.choice(words, count, replace=False, p=mixed)]

    def add(kind: Kind, source: int, destination: int, out: int, probability: float, other: int = NOBODY) -> bool:
        """Note a row, unless the triple is there already."""
        if (source, destination, out) in used:
            return False
        used.add((source, destination, out))
        rows.append((kind, source, other, destination, out, probability))
        return True

    def probability() -> float:
        return round(float(generator.uniform(*params.probability)), 3)

    while sum(row[0] == Kind.SKIP_TRIGRAM for row in rows) < params.skip_trigrams:
        source, destination, out = draw(3)
        add(Kind.SKIP_TRIGRAM, source, destination, out, probability())
    for _ in range(params.squares):
        square = draw(9)
        sources, destinations, outs = square[:3], square[3:6], square[6:]
        p = probability()
        for i, source in enumerate(sources):
            for j, destination in enumerate(destinations):
                add(Kind.INCOHERENT, source, destination, outs[(i + j) % 3], p)
    for _ in range(params.two_sources):
        one, two, destination, out = draw(4)
        p = probability()
        add(Kind.TWO_SOURCES, one, destination, out, p, two)
        add(Kind.TWO_SOURCES, two, destination, out, p, one)
    plain = [row[1:5] for row in rows if row[0] == Kind.SKIP_TRIGRAM]
    rare = (1 / frequency) / (1 / frequency).sum()
    for index in generator.choice(len(plain), min(params.companions, len(plain)), replace=False):
        source, _, destination, out = (int(ids) for ids in plain[index])
        companion = int(generator.choice(words, p=rare))
        if companion not in (source, destination):
            add(Kind.COMPANION, companion, destination, out, 0.0, source)
    for kind, count, p in ((Kind.TOPIC, params.topics, params.topic_share), (Kind.NEGATIVE, params.negative, 0.0)):
        for _ in range(count):
            source, destination, out = draw(3)
            if add(kind, source, destination, out, p):
                followers[destination, 0] = out
    return Grammar(pd.DataFrame(rows, columns=COLUMNS), followers, frequency)


def text(params: ControlParams, drawn: Grammar, seed: int, documents: int) -> Integer[np.ndarray, "documents width"]:
    """Documents, each BOS and then its words, written from left to right by followers, decoys and rules."""
    generator = np.random.default_rng([seed, 1])
    n, words = documents, params.words + 1
    found = np.full((n, params.length + 1), BOS_ID)
    latest = np.full((n, words), -(10**6))  # where each word stood last
    rules = drawn.rules
    laws = rules[rules["kind"].isin(PLANTED)]
    # A rule of two sources is two rows and one law.
    laws = laws[(laws["other_id"] == NOBODY) | (laws["source_id"] < laws["other_id"])]
    by_destination = _padded(laws["destination_id"].to_numpy(), words)
    source, other, out, p = (
        np.append(laws[name].to_numpy(), fill)
        for name, fill in (("source_id", 0), ("other_id", NOBODY), ("out_id", 0), ("probability", 0.0))
    )
    special = {kind: rules[rules["kind"] == kind] for kind in (Kind.COMPANION, Kind.TOPIC, Kind.NEGATIVE)}
    liked = np.zeros(words, dtype=bool)
    liked[[*special[Kind.TOPIC]["destination_id"], *special[Kind.NEGATIVE]["destination_id"]]] = True
    every = np.arange(n)
    for place in range(1, params.length + 1):
        before = found[:, place - 1]
        near = place - 1 - latest <= params.reach
        near[every, before] &= False  # a destination is not its own source
        token = generator.choice(np.arange(1, words), n, p=drawn.frequency)
        chance = generator.random(n)
        which = generator.integers(0, FOLLOWERS, n)
        which = np.where(liked[before] & (chance < LIKELY), 0, which)
        follows = chance < np.where(liked[before], LIKELY + 0.2, params.follow_share)
        token = np.where(follows, drawn.followers[before, which], token)
        for topic in special[Kind.TOPIC].itertuples():
            raised = near[:, topic.source_id] & (generator.random(n) < topic.probability)
            token[raised] = topic.out_id
        for pair in special[Kind.COMPANION].itertuples():
            beside = (before == pair.other_id) & (generator.random(n) < params.companion_share)
            token[beside] = pair.source_id
        for rule in special[Kind.NEGATIVE].itertuples():
            forbidden = (before == rule.destination_id) & near[:, rule.source_id]
            while (wrong := forbidden & (token == rule.out_id)).any():
                token[wrong] = generator.choice(np.arange(1, words), int(wrong.sum()), p=drawn.frequency)
        law = by_destination[before]
        active = near[every[:, None], source[law]] & ((other[law] == NOBODY) | near[every[:, None], other[law]])
        weight = np.where(active, p[law], 0.0)
        weight /= np.maximum(1.0, weight.sum(1, keepdims=True))
        reached = generator.random(n)[:, None] < weight.cumsum(1)
        fires = reached.any(1)
        token[fires] = out[law][every, reached.argmax(1)][fires]
        found[:, place] = token
        latest[every, token] = place
    return found


def _padded(group: Integer[np.ndarray, " n"], groups: int) -> Integer[np.ndarray, "groups most"]:
    """The places of the members of each group, filled up with n, which is no member."""
    most = max(1, int(np.bincount(group, minlength=groups).max(initial=0)))
    table = np.full((groups, most), len(group))
    for g in np.unique(group):
        members = np.flatnonzero(group == g)
        table[g, : len(members)] = members
    return table


def presence(
    texts: Integer[np.ndarray, "documents width"], words: int, reach: int
) -> tuple[Bool[np.ndarray, "places words"], Integer[np.ndarray, " places"], Integer[np.ndarray, " places"]]:
    """Which words stand within reach before each destination, the destination, and the token after it."""
    seen, here, after = [], [], []
    latest = np.full((len(texts), words), -(10**6))
    every = np.arange(len(texts))
    for place in range(1, texts.shape[1] - 1):
        near = place - latest <= reach
        near[every, texts[:, place]] = False
        seen.append(near)
        here.append(texts[:, place])
        after.append(texts[:, place + 1])
        latest[every, texts[:, place]] = place
    return np.concatenate(seen), np.concatenate(here), np.concatenate(after)
