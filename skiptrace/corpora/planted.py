"""A synthetic grammar whose bigrams, skip-trigrams, copies, offsets and bugs are known.

Background words follow a Zipf law and prefer certain successors, as words do. Over that text,
episodes of the planted rules are laid at random places; what they are is the truth with which mined
tables are compared.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from skiptrace.config.corpora import PlantedCorpus, PlantedRule
from skiptrace.corpora.documents import Document
from skiptrace.corpora.tables import TRUTH

Triple = tuple[int, int, int]  # word numbers of source … destination → out; NONE for no destination
NONE = -1


@dataclass(frozen=True)
class Grammar:
    """Word numbers by the part they play; every part has words of its own, only destinations are shared."""

    words: list[str]
    background: list[int]
    bigrams: list[Triple]
    copies: list[Triple]
    positional: list[Triple]
    skip_trigrams: list[Triple]
    quartets: list[Triple]  # two skip-trigrams of one source each
    bugs: list[Triple]  # the crossings of the quartets, which are never written


def grammar(params: PlantedCorpus) -> Grammar:
    """Hand out the words and name them by their parts.

    `x1 y1` bigrams, `k1 … k1` copies, `p1 ? q1` offsets, `a1 … b1 c1` skip-trigrams,
    `e1 … b1 f1` and `e1 … b2 f2` quartets, `w1` background.
    """
    words: list[str] = []

    def take(letter: str, count: int) -> list[int]:
        words.extend(f"{letter}{i + 1}" for i in range(count))
        return list(range(len(words) - count, len(words)))

    def pairs(first: str, second: str, count: int) -> list[Triple]:
        return [(a, NONE, b) for a, b in zip(take(first, count), take(second, count), strict=True)]

    p = params
    bigrams, positional = pairs("x", "y", p.bigrams.count), pairs("p", "q", p.positional.count)
    copies = [(k, NONE, k) for k in take("k", p.copies.count)]
    b = take("b", p.destinations)
    plain = pairs("a", "c", p.skip_trigrams.count)
    skip_trigrams = [(source, b[i % len(b)], out) for i, (source, _, out) in enumerate(plain)]
    quartets: list[Triple] = []
    bugs: list[Triple] = []
    outs = take("f", 2 * p.quartets.count)
    for i, source in enumerate(take("e", p.quartets.count)):
        here = (b[2 * i % len(b)], b[(2 * i + 1) % len(b)])
        one, other = outs[2 * i], outs[2 * i + 1]
        quartets += [(source, here[0], one), (source, here[1], other)]
        bugs += [(source, here[0], other), (source, here[1], one)]
    background = take("w", p.words - len(words))
    return Grammar(words, background, bigrams, copies, positional, skip_trigrams, quartets, bugs)


def truth(params: PlantedCorpus) -> pa.Table:
    """Everything planted (`TRUTH`).

    The halves of quartets are skip-trigrams like any other; a bug is a crossing, of probability 0.
    """
    g, p = grammar(params), params
    kinds = [
        ("bigram", g.bigrams, p.bigrams.probability),
        ("skip_trigram", g.skip_trigrams, p.skip_trigrams.probability),
        ("skip_trigram", g.quartets, p.quartets.probability),
        ("copy", g.copies, p.copies.probability),
        ("positional", g.positional, p.positional.probability),
        ("bug", g.bugs, 0.0),
    ]
    rows = [
        {
            "kind": kind,
            "source": g.words[source],
            "destination": None if destination == NONE else g.words[destination],
            "out": g.words[out],
            "probability": probability,
        }
        for kind, triples, probability in kinds
        for source, destination, out in triples
    ]
    return pa.Table.from_pylist(rows, TRUTH.schema)


def generate(params: PlantedCorpus) -> Iterator[Document]:
    """Write the documents: background first, then episodes of the rules over it."""
    g, p = grammar(params), params
    generator = np.random.default_rng(p.seed)
    text = _background(p, g, generator)
    taken = np.zeros_like(text, dtype=bool)
    for rule, triples, decoys in (
        (p.skip_trigrams, g.skip_trigrams, p.decoy_share),
        (p.quartets, g.quartets, p.decoy_share),
        (p.copies, g.copies, 0.0),
        (p.positional, g.positional, 0.0),
        (p.bigrams, g.bigrams, 0.0),
    ):
        _plant(text, taken, rule, triples, decoys, generator)
    words = np.array(g.words)
    for i, row in enumerate(text):
        yield Document(f"planted/{i:06d}", " ".join(words[row]))


def _background(params: PlantedCorpus, g: Grammar, generator: np.random.Generator) -> np.ndarray:
    """Zipf-distributed words `[documents, length]`, at times one of the preferred successors of the word before.

    A share of the words are strays: words of the rules outside their episodes.
    """
    n, shape = len(g.background), (params.documents, params.length)
    p = 1 / np.arange(1, n + 1) ** params.zipf
    p /= p.sum()
    text = generator.choice(n, shape, p=p)
    preferred = generator.choice(n, (n, params.followers), p=p)
    follows = generator.random(shape) < params.follow_share
    which = generator.integers(0, params.followers, shape)
    for t in range(1, params.length):
        text[:, t] = np.where(follows[:, t], preferred[text[:, t - 1], which[:, t]], text[:, t])
    text = np.array(g.background)[text]
    parts = len(g.words) - n
    if parts:
        stray = generator.random(shape) < params.stray_share
        text = np.where(stray, generator.integers(0, parts, shape), text)
    return text


def _plant(
    text: np.ndarray,
    taken: np.ndarray,
    rule: PlantedRule,
    triples: list[Triple],
    decoys: float,
    generator: np.random.Generator,
) -> None:
    """Lay episodes of one kind over `text`, at most one at each place.

    The source stands first, `distance` words on the destination (or the out, where there is none),
    and then the out, with the rule's probability. In decoys the destination stands alone.
    """
    documents, length = text.shape
    if not triples:
        return
    table, every = np.array(triples), np.arange(documents)
    low, high = rule.distance
    for _ in range(round(rule.rate * length / 1000)):
        source, destination, out = table[generator.integers(0, len(table), documents)].T
        start = generator.integers(0, length - high - 1, documents)
        gap = generator.integers(low, high + 1, documents)
        has = destination != NONE
        middle = np.where(has, start + gap, start)
        last = start + gap + has
        free = ~(taken[every, start] | taken[every, middle] | taken[every, last])
        decoy = generator.random(documents) < decoys
        concludes = generator.random(documents) < rule.probability
        for place, word, written in (
            (middle, destination, free & has),
            (start, source, free & ~decoy),
            (last, out, free & ~decoy & concludes),
        ):
            text[every[written], place[written]] = word[written]
            taken[every[free], place[free]] = True
