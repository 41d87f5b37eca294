"""What the page carries for its tools, against slow and obvious twins."""

import base64
import gzip
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skiptrace.evidence.support import Positions
from skiptrace.models.windows import BOS_ID
from skiptrace.report import contexts, patterns, payload
from skiptrace.report.neighbours import neighbours
from tests.report.conftest import MINING, REPORT


def dense(model, layer, head):
    """QK and OV of a head, entry by entry as the circuits are written down."""
    block = model.attention[layer]
    query, key = model.W_E @ block.W_Q[head], model.W_E @ block.W_K[head]
    value = model.W_E @ block.W_V[head] @ block.W_O[head] @ model.W_U
    return query @ key.T / math.sqrt(model.d_head), value


def test_neighbours_are_the_largest_entries_of_the_dense_circuits(make_model):
    model = make_model(2)
    shown, eligible = torch.tensor([2, 5, 22]), torch.ones(23, dtype=torch.bool)
    eligible[[0, 7]] = False
    probability = torch.arange(1, 24).double() / torch.arange(1, 24).sum()
    found = {head.name: head for head in neighbours(model, shown, eligible, probability, 4)}
    assert list(found) == ["direct", "L0H0", "L0H1", "L0H2", "L1H0", "L1H1", "L1H2"]
    allowed = eligible.nonzero()[:, 0].tolist()

    def check(entries, value):
        for place, token in enumerate(shown.tolist()):
            best = sorted(allowed, key=lambda other: -value(token, other))[:4]
            at = slice(place * 4, place * 4 + 4)
            assert entries.ids[at] == best
            assert entries.values[at] == [round(float(value(token, b)) * 100) for b in best]

    qk, ov = dense(model, 1, 2)
    attention, out = qk - (qk @ probability)[:, None], ov - ov.mean(1, keepdim=True)
    check(found["L1H2"].outs, lambda token, other: out[token, other])
    check(found["L1H2"].sources, lambda token, other: out[other, token])
    check(found["L1H2"].attended, lambda token, other: attention[token, other])
    check(found["L1H2"].destinations, lambda token, other: attention[other, token])
    path = model.W_E @ model.W_U
    check(found["direct"].outs, lambda token, other: (path - path.mean(1, keepdim=True))[token, other])
    assert found["direct"].destinations is None


def test_a_skip_trigram_in_text_by_hand():
    #                 0  1  2  3  4  5  6  7  8  9 10
    stream = np.array([0, 5, 1, 6, 2, 3, 0, 1, 2, 3, 4])
    found = contexts.of_skip_trigram(Positions(stream, 7, 10), 1, 2, 3, most=5)
    assert [p.ids for p in found] == [[0, 1, 2, 3, 4], [0, 5, 1, 6, 2, 3]]
    assert [p.marks for p in found] == [[1, 2, 3], [2, 4, 5]]
    assert contexts.of_skip_trigram(Positions(stream, 7, 10), 5, 2, 4, most=5) == []


def test_the_middle_of_a_long_skip_trigram_is_left_out():
    stream = np.array([0, 1, *[4] * 40, 2, 3])
    (found,) = contexts.of_skip_trigram(Positions(stream, 5, 99), 1, 2, 3, most=2)
    assert found.ids == [0, 1, 4, 4, 4, 4, contexts.LEFT_OUT, 4, 4, 4, 4, 2, 3]
    assert found.marks == [1, 11, 12]


@given(st.lists(st.integers(0, 4), min_size=2, max_size=80), st.integers(1, 30))
def test_places_show_what_they_claim_within_one_document(tokens, window):
    stream = np.array([0, *tokens])
    positions = Positions(stream, 5, window)
    expected = 0
    for b in range(len(stream) - 1):
        before = [a for a in range(max(0, b - window), b) if stream[a] == 1 and not (stream[a : b + 1] == 0).any()]
        expected += stream[b] == 2 and stream[b + 1] == 3 and bool(before)
    found = contexts.of_skip_trigram(positions, 1, 2, 3, most=100)
    assert len(found) == expected
    for place in found:
        assert [place.ids[m] for m in place.marks] == [1, 2, 3]
        assert BOS_ID not in place.ids[1:]
    for place in contexts.of_token(positions, 4, 2):
        assert [place.ids[m] for m in place.marks] == [4]
        assert BOS_ID not in place.ids[1:]


def test_patterns_are_those_of_the_model(make_model, hostile):
    model = make_model(2).float()
    stream = np.array([0, 3, 5, 7, 9, 11, 13, 15])
    *_, text = patterns.texts(model, hostile[0].models["two"].composed.example_texts, stream)
    assert text.ids == [0, 3, 5, 7, 9, 11, 13]  # no more than fit the context
    expected = model.patterns(torch.tensor([text.ids]))[1][0, 2]
    rows = iter(text.patterns[5])
    for destination in range(7):
        given = [next(rows) for _ in range(destination + 1)]
        assert given == [round(float(p) * 100) for p in expected[destination, : destination + 1]]
    best = model(torch.tensor([text.ids]))[0].argmax(-1)
    assert [guess[0] for guess in text.guesses] == best.tolist()


@pytest.fixture(scope="module")
def packed_two(hostile):
    results, weights = hostile
    stream = np.random.default_rng(3).integers(0, 23, 300)
    made = payload.model(results.models["two"], results.corpora["mine"], weights.models["two"], stream, MINING, REPORT)
    return made, json.loads(gzip.decompress(base64.b64decode(payload.packed(made))))


def test_rows_with_evidence_come_first_and_none_twice(packed_two, hostile):
    skips, result = packed_two[1]["skips"], hostile[0].models["two"]
    assert len(skips["head"]) == min(REPORT.explorer_rows, len(result.skip_trigrams))
    rows = list(zip(skips["head"], *skips["ids"].values(), strict=True))
    assert len(set(rows)) == len(rows)
    for place, checked in enumerate(result.evidence.sort_values("rank").itertuples()):
        row = (checked.layer * 3 + checked.head, checked.source_id, checked.destination_id, checked.out_id)
        assert rows[place] == row
        assert skips["verified"][place] == checked.verified
        assert skips["checked"]["effect_nats"][place] == pytest.approx(checked.effect_nats * 100, abs=0.51)
    assert len(skips["verified"]) == len(result.evidence) < len(rows)


def test_a_payload_packs_to_the_same_bytes_and_reads_back(packed_two):
    made, read = packed_two
    assert payload.packed(made) == payload.packed(replace(made))
    assert read["heads"] == ["L0H0", "L0H1", "L0H2", "L1H0", "L1H1", "L1H2"]
    assert [head["name"] for head in read["entries"]] == ["direct", *read["heads"]]
    assert read["shown"] == list(range(20))  # the most frequent of 23


def test_tokens_are_shown_and_short_in_the_payload(hostile):
    corpus = hostile[0].corpora["mine"]
    made = payload.corpus(corpus, np.array([0, 3, 4, 3, 5]), REPORT)
    assert max(map(len, made.tokens)) == 40 and "\n" not in made.tokens
    assert made.places[3] == [contexts.Places([0, 3, 4, 3, 5], [1]), contexts.Places([0, 3, 4, 3, 5], [3])]
    assert made.places[6] == []
