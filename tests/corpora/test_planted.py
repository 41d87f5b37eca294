import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skiptrace.config.corpora import PlantedCorpus
from skiptrace.corpora import planted

SETTING = {
    "kind": "planted", "path": "x", "seed": 0, "words": 120, "documents": 400, "length": 60, "zipf": 1.0,
    "followers": 3, "follow_share": 0.5, "stray_share": 0.0, "decoy_share": 0.5, "destinations": 4, "valid_share": 0.1,
    "bigrams": {"count": 3, "probability": 0.9, "rate": 20.0, "distance": [1, 1]},
    "skip_trigrams": {"count": 8, "probability": 0.8, "rate": 60.0, "distance": [3, 9]},
    "copies": {"count": 3, "probability": 1.0, "rate": 20.0, "distance": [2, 5]},
    "positional": {"count": 2, "probability": 1.0, "rate": 20.0, "distance": [2, 2]},
    "quartets": {"count": 2, "probability": 0.7, "rate": 40.0, "distance": [3, 9]},
}  # fmt: skip


def made(**changed: object) -> tuple[PlantedCorpus, list[list[str]]]:
    params = PlantedCorpus(**SETTING | changed)
    return params, [d.text.split() for d in planted.generate(params)]


def episodes(texts: list[list[str]], source: str, destination: str) -> tuple[list[int], list[str]]:
    """Distances from the source to the first destination after it, and what follows there."""
    distances, following = [], []
    for text in texts:
        for i, word in enumerate(text):
            if word == source:
                near = [j for j in range(i + 1, len(text) - 1) if text[j] == destination]
                if near:
                    distances.append(near[0] - i)
                    following.append(text[near[0] + 1])
    return distances, following


def test_truth_names_every_rule_once():
    params, _ = made()
    table = planted.truth(params).to_pandas()
    assert table["kind"].value_counts().to_dict() == {
        "skip_trigram": 8 + 4, "bug": 4, "bigram": 3, "copy": 3, "positional": 2,
    }  # fmt: skip
    assert not table.duplicated().any()
    bugs, real = (
        set(table[table["kind"] == k][["source", "destination", "out"]].itertuples(index=False, name=None))
        for k in ("bug", "skip_trigram")
    )
    assert not bugs & real
    for source, destination, out in bugs:
        assert {(s, d) for s, d, o in real if s == source and o == out and d != destination}


def test_planted_skip_trigrams_are_written_with_their_probability_and_distances():
    params, texts = made()
    g = planted.grammar(params)
    agree, total = 0, 0
    for source, destination, out in g.skip_trigrams:
        distances, following = episodes(texts, g.words[source], g.words[destination])
        agree += following.count(g.words[out])
        total += len(following)
        assert min(distances) >= 1 and np.median(distances) <= 9
    assert total > 300
    assert agree / total == pytest.approx(0.8, abs=0.08)


def test_crossings_of_quartets_are_never_written_but_by_chance():
    params, texts = made(length=60, skip_trigrams=SETTING["skip_trigrams"] | {"count": 0})
    g = planted.grammar(params)
    for source, destination, out in g.bugs:
        _, following = episodes(texts, g.words[source], g.words[destination])
        assert following.count(g.words[out]) <= 0.1 * max(10, len(following))


def test_bigrams_follow_at_once_and_offsets_at_theirs():
    params, texts = made()
    g = planted.grammar(params)
    for kind, back in ((g.bigrams, 1), (g.positional, 2)):
        for source, _, out in kind:
            pairs = [(t[i], t[i + back]) for t in texts for i in range(len(t) - back)]
            after = [b for a, b in pairs if a == g.words[source]]
            assert after.count(g.words[out]) > 0.75 * len(after)


def test_in_half_of_the_episodes_the_destination_stands_alone():
    params, texts = made(
        skip_trigrams=SETTING["skip_trigrams"] | {"probability": 1.0}, quartets=SETTING["quartets"] | {"count": 0}
    )
    g = planted.grammar(params)
    destinations, outs = {g.words[b] for _, b, _ in g.skip_trigrams}, {g.words[c] for _, _, c in g.skip_trigrams}
    follows = [t[i + 1] in outs for t in texts for i in range(len(t) - 1) if t[i] in destinations]
    assert np.mean(follows) == pytest.approx(0.5, abs=0.06)


def test_the_same_seed_writes_the_same_text():
    assert made()[1] == made()[1]
    assert made()[1] != made(seed=1)[1]


COUNTS = st.integers(0, 4)
DISTANCES = st.tuples(st.integers(1, 6), st.integers(1, 6)).map(sorted)


@settings(max_examples=25)
@given(
    counts=st.tuples(COUNTS, COUNTS, COUNTS, COUNTS, COUNTS),
    distance=DISTANCES,
    destinations=st.integers(2, 5),
    shares=st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 0.99)),
    documents=st.integers(2, 20),
)
def test_any_parameters_work(counts, distance, destinations, shares, documents):
    rules = {
        kind: {"count": count, "probability": 0.5, "rate": 100.0, "distance": distance}
        for kind, count in zip(("bigrams", "skip_trigrams", "copies", "positional", "quartets"), counts, strict=True)
    }
    follow, stray, decoy = shares
    params, texts = made(
        **rules,
        destinations=destinations,
        follow_share=follow,
        stray_share=stray,
        decoy_share=decoy,
        documents=documents,
    )
    assert [len(t) for t in texts] == [params.length] * documents
    assert {w for t in texts for w in t} <= set(planted.grammar(params).words)
    assert planted.truth(params).num_rows == sum(counts[:4]) + 4 * counts[4]
