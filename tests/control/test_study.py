import numpy as np
import pandas as pd
import pytest

from skiptrace.config.control import ControlParams
from skiptrace.control import study
from skiptrace.control.grammars import COLUMNS, NOBODY, Grammar, Kind
from skiptrace.control.study import COUNTS, WEIGHTS, Ranking, Reading

RULES = [
    (Kind.SKIP_TRIGRAM, 1, NOBODY, 2, 3, 0.5),
    (Kind.SKIP_TRIGRAM, 4, NOBODY, 5, 6, 0.5),
    (Kind.COMPANION, 7, 1, 2, 3, 0.0),
    (Kind.TOPIC, 8, NOBODY, 9, 6, 0.2),
    (Kind.NEGATIVE, 1, NOBODY, 5, 9, 0.0),
]
FIRST, SECOND, NEXT_TO, ANYWHERE, LOWERED = (1, 2, 3), (4, 5, 6), (7, 2, 3), (8, 1, 6), (1, 5, 9)
OTHER = (9, 9, 1)


def reading(seed: int, weights: list, good: list, bad: list) -> Reading:
    """A grammar of two rules; the model has learned the first. Counts are ranked by two measures."""
    rules = pd.DataFrame(RULES, columns=COLUMNS)
    nats = pd.DataFrame({"model_nats": [1.0, 0.1, 0, 0.5, -1], "model_se": 0.1, "model_p": 0.2})
    empty = np.empty(0)
    rankings = [
        Ranking(COUNTS, "planted", "good", 4, 5, good, np.linspace(1, 0.1, len(good))),
        Ranking(COUNTS, "planted", "bad", 4, 5, bad, np.linspace(1, 0.1, len(bad))),
        Ranking(COUNTS, "negative", "good", 4, 0, [LOWERED], np.ones(1)),
        Ranking(WEIGHTS, "planted", "expected gain", 0, 0, weights, empty),
        Ranking(WEIGHTS, "negative", "expected gain of −OV", 0, 0, [OTHER, LOWERED], empty),
    ]
    drawn = Grammar(rules, np.zeros((10, 4), dtype=int), np.full(9, 1 / 9))
    return Reading(seed, drawn, rankings, {"survives": weights[:2]}, nats)


@pytest.mark.parametrize(
    ("ranked", "value"),
    [
        ([FIRST, SECOND], 1.0),
        ([OTHER, FIRST, SECOND], (1 / 2 + 2 / 3) / 2),
        ([FIRST], 0.5),
        ([OTHER], 0.0),
        ([], 0.0),
    ],
)
def test_average_precision(ranked, value):
    assert study.average_precision({FIRST, SECOND}, ranked) == pytest.approx(value)


def test_everything_is_chosen_on_the_first_grammar_alone():
    here = reading(0, [FIRST, OTHER], [FIRST, SECOND, NEXT_TO], [NEXT_TO, FIRST])
    there = reading(1, [FIRST, ANYWHERE], [NEXT_TO, OTHER], [FIRST, SECOND])  # where the other measure is the better
    tables = study.tables([here, there])
    best = tables["rankings"].query("best and of == 'counts' and kind == 'planted'")
    assert best["ranking"].tolist() == ["good", "good"]
    assert best["average_precision"].tolist() == [1.0, 0.0]
    accepted = tables["accepted"].query("of == 'counts' and best")
    assert accepted["accepted_by"].tolist() == ["good", "good"]
    # The threshold is the score of the second row on the first grammar: there one of two scores reaches it.
    assert accepted["rows"].tolist() == [2, 1] and accepted["precision"].tolist() == [1.0, 0.0]


def test_false_rows_are_told_apart_and_learned_rules_counted():
    rows = [FIRST, NEXT_TO, ANYWHERE, OTHER]
    found = study._accepted(reading(0, rows, rows, rows), WEIGHTS, "any", rows)
    assert found["rows"] == 4 and found["found"] == 1 and found["precision"] == 0.25 and found["recall"] == 0.5
    assert found["learned"] == 1 and found["learned_found"] == 1
    assert (found["false_companion"], found["false_topic"], found["false_crossing"], found["false_other"]) == (
        1,
        1,
        0,
        1,
    )


def test_places_in_the_rankings_are_kept_with_the_rules():
    tables = study.tables([reading(0, [OTHER, FIRST], [FIRST, SECOND], [OTHER])])
    rules = tables["rules"]
    assert rules["weights"].tolist() == [2, 0, 0, 0, 0]
    assert rules["counts"].tolist() == [1, 2, 0, 0, 0]
    curve = tables["curve"].query("of == 'weights'")
    assert curve[["k", "precision", "recall"]].values.tolist() == [[1, 0.0, 0.0], [2, 0.5, 0.5]]


def test_a_grammar_is_read_from_text_to_accepted_rows(tmp_path):
    params = ControlParams(
        words=24, documents=60, length=30, reach=6, skip_trigrams=4, n_heads=2, d_head=4, d_model=8, n_ctx=10, steps=3,
        batch_size=4, rows=20, contexts=2, companions=2, topics=1, two_sources=1, negative=1,
    )  # fmt: skip
    found = study.read(params, 3, tmp_path)
    assert set(found.accepted) == {
        "causally consistent", "passes every test", "passes every test, destination matters",
    }  # fmt: skip
    every = {(r.of, r.kind) for r in found.rankings}
    assert every == {(of, kind) for of in (WEIGHTS, COUNTS) for kind in ("planted", "negative")}
    assert len(found.behaviour) == len(found.drawn.rules) and found.behaviour.notna().all().all()
    tables = study.tables([found])
    assert set(tables) == {"rules", "rankings", "curve", "accepted"}
    assert tables["rankings"].groupby(["of", "kind"])["best"].sum().eq(1).all()


def test_what_lowers_an_output_token_is_what_the_model_with_the_opposite_output_raises(make_model):
    model = make_model(1).float()
    flipped = study._flipped(model)
    assert (flipped.blocks[0].W_O == -model.blocks[0].W_O).all()
    assert (flipped.blocks[0].W_V == model.blocks[0].W_V).all()
