"""What the page carries for its tools, against slow and obvious twins."""

import base64
import gzip
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiptrace.evidence.support import Positions
from skiptrace.models.windows import BOS_ID
from skiptrace.report.page import contexts, payload
from tests.report.conftest import REPORT


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


@pytest.fixture(scope="module")
def packed_two(hostile):
    results = hostile
    stream = np.random.default_rng(3).integers(0, 23, 300)
    made = payload.model(results.models["two"], stream, REPORT)
    return made, json.loads(gzip.decompress(base64.b64decode(payload.packed(made))))


def test_rows_with_evidence_come_first_and_none_twice(packed_two, hostile):
    skips, result = packed_two[1]["skips"], hostile.models["two"]
    assert len(skips["head"]) == min(REPORT.explorer_rows, len(result.skip_trigrams))
    rows = list(zip(skips["head"], *skips["ids"].values(), strict=True))
    assert len(set(rows)) == len(rows)
    # Those with evidence stand as a reader of the account meets them, the others as they were mined.
    ids = ["layer", "head", "source_id", "destination_id", "out_id"]
    listed = result.accounted.rows.query("mined").sort_values("rank")[[*ids, "nats"]].merge(result.evidence, on=ids)
    assert len(listed) == len(result.evidence) == len(skips["survives"]) == len(skips["saves"]) < len(rows)
    for place, checked in enumerate(listed.itertuples()):
        row = (checked.layer * 3 + checked.head, checked.source_id, checked.destination_id, checked.out_id)
        assert rows[place] == row
        assert skips["survives"][place] == checked.survives
        assert skips["checked"]["effect_nats"][place] == pytest.approx(checked.effect_nats * 100, abs=0.51)
    later = skips["rank"][len(listed) :]
    assert later == sorted(later) and len(set(skips["rank"])) == len(rows)


def test_a_payload_packs_to_the_same_bytes_and_reads_back(packed_two):
    made, read = packed_two
    assert payload.packed(made) == payload.packed(replace(made))
    assert read["heads"] == ["L0H0", "L0H1", "L0H2", "L1H0", "L1H1", "L1H2"]
    assert [head["name"] for head in read["entries"]] == ["direct", *read["heads"]]
    assert read["shown"] == list(range(20))  # the most frequent of 23


def test_the_card_of_a_head_has_the_numbers_of_the_tables(packed_two, hostile):
    result, card = hostile.models["two"], packed_two[1]["cards"][4]
    assert len(packed_two[1]["cards"]) == 6
    head = result.heads[result.heads["name"] == "L1H1"].iloc[0]
    copying = card["scores"]["copying"]
    assert [copying[k] for k in ("value", "beside", "spread")] == pytest.approx(
        [head["copying"], head["copying_null_mean"], head["copying_null_sd"]], abs=1e-4
    )
    term = result.composed.terms.query("scope == 'head' and name == 'L1H1'").iloc[0]
    assert [card["removed"][k] for k in ("value", "error")] == pytest.approx(
        [term["removed"], term["removed_se"]], abs=1e-4
    )
    groups = result.directed.groups.query("name == 'L1H1' and circuit == 'qk'").sort_values("group")
    found = [each for each in card["directions"] if each["circuit"] == "qk"]
    assert [each["share"]["value"] for each in found] == pytest.approx(groups["share"].head(2).tolist(), abs=1e-4)
    ends = result.directed.ends.query("name == 'L1H1' and circuit == 'qk' and group == 1 and role == 'destination'")
    assert found[0]["reads"] == [rows["token_id"].tolist() for _, rows in ends.groupby("pole", sort=False)]
    assert card["steps"] == [1, 4, 9] and len(card["attention"]) == 5


def test_corners_are_those_of_every_head_in_hundredths(packed_two, hostile):
    table = hostile.models["two"].explored.corners
    assert len(packed_two[1]["corners"]) == 6
    for number, (layer, head) in ((2, (0, 2)), (5, (1, 2))):
        for circuit in ("ov", "qk"):
            corner = packed_two[1]["corners"][number][circuit]
            cells = [(i, j) for i in corner["row_ids"] for j in corner["column_ids"]]
            part = table[(table["layer"] == layer) & (table["head"] == head) & (table["circuit"] == circuit)]
            expected = part.set_index(["row_id", "column_id"])["value"].loc[cells]
            assert corner["values"] == pytest.approx((100 * expected).tolist(), abs=0.51)


def test_tokens_are_shown_and_short_in_the_payload(hostile):
    corpus = hostile.corpora["mine"]
    made = payload.corpus(corpus, list(range(20)), np.array([0, 3, 4, 3, 5]))
    assert max(map(len, made.tokens)) == 40 and "\n" not in made.tokens
    assert made.places[3] == [contexts.Places([0, 3, 4, 3, 5], [1]), contexts.Places([0, 3, 4, 3, 5], [3])]
    assert made.places[6] == []
