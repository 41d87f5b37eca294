import numpy as np
import pandas as pd
import pytest

from skiptrace.config.control import ControlParams
from skiptrace.control import grammars
from skiptrace.control.grammars import COLUMNS, NOBODY, PLANTED, Grammar, Kind

SMALL = ControlParams(words=30, documents=400, length=60, reach=6, n_ctx=12, skip_trigrams=10, companions=5, topics=2)


def alone(*rows: tuple, words: int = 9, follow: int = 1) -> Grammar:
    """A grammar with these rows and no other structure: words are drawn evenly, each followed by `follow` at times."""
    followers = np.full((words + 1, grammars.FOLLOWERS), follow)
    return Grammar(pd.DataFrame(rows, columns=COLUMNS), followers, np.full(words, 1 / words))


def shares(drawn: Grammar, triple: tuple[int, int, int], other: int = NOBODY, **changed: object) -> tuple[float, float]:
    """How often C follows B with A (and the other source) within reach, and without A; read word by word."""
    params = ControlParams(**{"words": 9, "length": 40, "reach": 4, "n_ctx": 8, "follow_share": 0.1} | changed)
    text = grammars.text(params, drawn, 0, 2000)
    with_a, without = [], []
    for words in text.tolist():
        for here in range(1, len(words) - 1):
            if words[here] == triple[1]:
                near = words[max(1, here - params.reach) : here]
                if other == NOBODY or other in near:
                    (with_a if triple[0] in near else without).append(words[here + 1] == triple[2])
    return float(np.mean(with_a)), float(np.mean(without))


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_a_rule_holds_with_its_probability_wherever_its_words_stand(probability):
    drawn = alone((Kind.SKIP_TRIGRAM, 2, NOBODY, 3, 4, probability))
    with_a, without = shares(drawn, (2, 3, 4), words=9)
    base = 0.9 / 9
    assert with_a == pytest.approx(probability + (1 - probability) * base, abs=0.03)
    assert without == pytest.approx(base, abs=0.03)


def test_a_rule_of_two_sources_needs_both():
    drawn = alone((Kind.TWO_SOURCES, 2, 5, 3, 4, 0.8), (Kind.TWO_SOURCES, 5, 2, 3, 4, 0.8))
    both, second_alone = shares(drawn, (2, 3, 4), other=5)
    assert both == pytest.approx(0.8 + 0.2 * 0.1, abs=0.06)
    assert second_alone == pytest.approx(0.1, abs=0.03)


def test_a_negative_rule_takes_a_likely_word_away():
    drawn = alone((Kind.NEGATIVE, 2, NOBODY, 3, 4, 0.0), follow=4)
    with_a, without = shares(drawn, (2, 3, 4))
    assert with_a == 0.0
    assert without > 0.4


def test_a_companion_follows_the_source_and_has_no_effect_of_its_own():
    drawn = alone((Kind.SKIP_TRIGRAM, 2, NOBODY, 3, 4, 0.9), (Kind.COMPANION, 6, 2, 3, 4, 0.0))
    params = ControlParams(words=9, length=40, reach=4, n_ctx=8, follow_share=0.1)
    text = grammars.text(params, drawn, 0, 2000)
    after_source = text[:, 2:][text[:, 1:-1] == 2]
    assert np.mean(after_source == 6) == pytest.approx(0.9 + 0.1 * 0.1, abs=0.03)
    with_companion, _ = shares(drawn, (6, 3, 4))
    only_companion = shares(drawn, (6, 3, 4), companion_share=0.0)[0]
    assert with_companion > only_companion + 0.1  # by association alone
    assert only_companion < 0.5


def test_a_topic_acts_after_any_word():
    drawn = alone((Kind.TOPIC, 2, NOBODY, 3, 4, 0.3))
    for destination in (5, 7):
        with_a, without = shares(drawn, (2, destination, 4))
        assert with_a - without > 0.15


def test_grammars_have_what_was_asked_for_and_differ_by_seed():
    drawn, other = grammars.grammar(SMALL, 1), grammars.grammar(SMALL, 2)
    count = drawn.rules["kind"].value_counts().to_dict()
    assert count[Kind.SKIP_TRIGRAM] == 10 and count[Kind.INCOHERENT] == 9 and count[Kind.TWO_SOURCES] == 8
    assert drawn.of(*PLANTED) != other.of(*PLANTED)
    assert not drawn.rules.duplicated(["source_id", "destination_id", "out_id"]).any()
    assert drawn.rules.query("kind == 'skip_trigram'")["probability"].between(0.1, 0.9).all()
    again = grammars.text(SMALL, drawn, 1, 5)
    assert (again == grammars.text(SMALL, drawn, 1, 5)).all()
    assert again.shape == (5, 61) and (again[:, 0] == 0).all() and (again[:, 1:] > 0).all()


def test_no_product_of_two_matrices_has_a_square_without_its_crossings():
    """Of 27 triples of a square 9 are planted; each source, destination and output token is in three of them."""
    drawn = grammars.grammar(SMALL, 0)
    square = drawn.of(Kind.INCOHERENT)
    assert len(square) == 9 and len(drawn.crossings()) == 18
    for place in range(3):
        assert sorted(np.unique([row[place] for row in square], return_counts=True)[1]) == [3, 3, 3]
    for source, destination, out in drawn.crossings():
        assert any((source, d, out) in square for d in {row[1] for row in square} - {destination})


def test_presence_is_what_a_loop_over_words_finds():
    text = np.array([[0, 1, 2, 1, 3, 2], [0, 3, 3, 1, 2, 2]])
    seen, here, after = grammars.presence(text, 4, 2)
    expected = []
    for place in range(1, 5):
        for words in text.tolist():
            near = {w for w in words[max(1, place - 2) : place]} - {words[place]}
            expected.append(([w in near for w in range(4)], words[place], words[place + 1]))
    assert [(s.tolist(), h, a) for s, h, a in zip(seen, here.tolist(), after.tolist(), strict=True)] == expected
