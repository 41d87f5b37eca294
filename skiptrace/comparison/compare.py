"""Everything that two versions differ in."""

from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from skiptrace.circuits.matching import Match, Similarity, match, shared_tokens, similarity
from skiptrace.comparison.overlap import Changes, changes
from skiptrace.comparison.scalars import Measure, Parameter, measures, parameters, twins
from skiptrace.comparison.version import Studied, Twin, Version

SCORES = {
    "copying": "copying",
    "previous_token": "previous token",
    "prefix_matching": "prefix matching",
    "position_share": "position share",
}


class Became(NamedTuple):
    """A head of the first version, its counterpart in the second, and the scores of both by name."""

    match: Match
    scores_a: dict[str, float]
    scores_b: dict[str, float]
    kind_a: str
    kind_b: str


class Floor(NamedTuple):
    """What two seeds of the same parameters reach: mean overlap of skip-trigrams, mean similarity of heads."""

    pairs: int
    overlap: float
    similarity: float


@dataclass(frozen=True)
class ModelChange:
    """What became of a model; None where a part does not exist, as heads of a model without attention."""

    name: str
    same_tokens: bool
    shared_tokens: int
    changes: Changes | None
    heads: list[Became]
    floor: Floor | None
    similarity: Similarity | None


@dataclass(frozen=True)
class FigurePair:
    """A figure of both versions; `same` if their bytes are."""

    name: str
    a: bytes
    b: bytes

    @property
    def same(self) -> bool:
        """Whether nothing changed."""
        return self.a == self.b


@dataclass(frozen=True)
class Comparison:
    """Two versions, side by side."""

    a: str
    b: str
    parameters: list[Parameter]
    measures: list[Measure]
    models: list[ModelChange]
    only_a: list[str]
    only_b: list[str]
    figures: list[FigurePair]
    figures_only: list[str]
    notes: list[str]


def compare(a: Version, b: Version) -> Comparison:
    """Compare the second version with the first; models are the same when they have the same name."""
    both = [name for name in a.models if name in b.models]
    figures = [FigurePair(name, a.figures[name], b.figures[name]) for name in a.figures if name in b.figures]
    return Comparison(
        a.name,
        b.name,
        parameters(a, b),
        measures(a, b),
        [_model(name, a, b) for name in both],
        [name for name in a.named if name not in b.named],
        [name for name in b.named if name not in a.named],
        figures,
        [] if a.notes or b.notes else sorted(a.figures.keys() ^ b.figures.keys()),
        [*a.notes, *b.notes],
    )


def _model(name: str, a: Version, b: Version) -> ModelChange:
    one, two = a.models[name], b.models[name]
    tokens = shared_tokens(one.vocabulary, two.vocabulary)
    same = one.vocabulary["token"].tolist() == two.vocabulary["token"].tolist()
    attends = one.weights.n_layers > 0 and two.weights.n_layers > 0
    if not attends:
        return ModelChange(name, same, len(tokens.a), None, [], None, None)
    alike = similarity(one.weights, two.weights, tokens)
    heads = [Became(m, scores(one, m.a), scores(two, m.b), kind(one, m.a), kind(two, m.b)) for m in match(alike)]
    found = changes(one.skip_trigrams, two.skip_trigrams)
    return ModelChange(name, same, len(tokens.a), found, heads, _floor(name, a, b), alike)


def _floor(name: str, a: Version, b: Version) -> Floor | None:
    """Over the pairs of seeds in either version: models under their own names, and twins trained beside them.

    A pair that both versions have, the same runs twice, counts once.
    """
    pairs: dict[tuple[float, ...], None] = {}
    for version in (a, b):
        named = [version.models[twin] for twin in twins(version, name) if twin in version.models]
        every = [seed for each in named for seed in (Twin(each.weights, each.skip_trigrams), *each.twins)]
        words = version.models[name].vocabulary
        for one, two in combinations(every, 2):
            overlap = changes(one.skip_trigrams, two.skip_trigrams).overlap
            alike = similarity(one.weights, two.weights, shared_tokens(words, words))
            pairs[overlap, *(m.similarity for m in match(alike) if m.similarity is not None)] = None
    if not pairs:
        return None
    similarities = [similarity for _, *each in pairs for similarity in each]
    return Floor(len(pairs), float(np.mean([overlap for overlap, *_ in pairs])), float(np.mean(similarities)))


def scores(studied: Studied, head: str | None) -> dict[str, float]:
    """The scores of a head that its table has, by name."""
    row = _row(studied, head)
    return {shown: float(row[column]) for column, shown in SCORES.items() if column in row}


def kind(studied: Studied, head: str | None) -> str:
    """What a head is called by its scores: copying, positional, both, or neither; empty without a head."""
    row = _row(studied, head)
    named = {"copies": "copying", "positional": "positional"}
    return ", ".join(shown for column, shown in named.items() if row.get(column)) or ("other" if row else "")


def _row(studied: Studied, head: str | None) -> dict[str, Any]:
    found = studied.heads[studied.heads["name"] == head]
    return {} if found.empty else dict(found.iloc[0])
