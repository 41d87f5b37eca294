"""Sentences of the report on tables whose right answer is known."""

import numpy as np
import pandas as pd
import pytest

from skiptrace.composition.formation import Rise
from skiptrace.evidence.truth import Score, to_frame
from skiptrace.report.inputs import Results
from skiptrace.report.sections.models import formation as how_it_formed
from skiptrace.report.sections.models.features import _verdict
from skiptrace.report.sections.models.truth import _against_counting
from skiptrace.report.sections.superposition.geometry import geometry
from skiptrace.report.sections.superposition.neurons import neurons
from tests.report.conftest import study_of


def test_monosemantic_neurons_are_counted_over_all_seeds_and_not_only_the_best():
    """At S = 0 the best of six models has ten of ten and all have 29 of 60; without the ReLU none has any."""
    own = {0: 10, 1: 5, 2: 5, 3: 4, 4: 3, 5: 2}
    rows = [
        (
            sparsity,
            seed,
            seed == 0,
            hidden,
            10,
            "monosemantic" if hidden == "relu" and neuron < count else "polysemantic",
        )
        for sparsity in (0.0, 0.5)
        for seed, count in own.items()
        for neuron in range(10)
        for hidden in ("relu", "linear")
    ]
    table = pd.DataFrame(rows, columns=["sparsity", "seed", "best", "hidden", "kept", "semantics"]).assign(
        neuron=lambda t: t.groupby(["sparsity", "seed", "hidden"]).cumcount(), share=0.5
    )
    (said,) = neurons(study_of(Results({}, {}, {"neurons": table}))).paragraphs
    assert "29 of 60 (S = 0), 29 of 60 (S = 0.5)" in said
    assert "the more favourable count: with the ReLU 100% to 100%" in said


def test_dimensions_of_one_without_a_represented_feature_are_said_to_be_none():
    """Model 0 has D* = 1 by 14 columns of norm 0.27, model 1 by one column of norm 1."""
    dstar = pd.DataFrame({"density": [1.0, 0.1], "seed": 0, "dstar": [1 / (14 * 0.27**2), 1.0], "loss": 0.1})
    features = pd.DataFrame({"density": 1.0, "seed": 0, "feature": range(14), "norm": 0.27, "dimensionality": 0.07})
    other = features.assign(density=0.1, norm=[1.0] + 13 * [0.0])
    levels = pd.DataFrame(
        [("D*", "1", 1.0, 0.03, 2, 1.0, 3, False)],
        columns=["measure", "name", "level", "within", "found", "null", "needed", "passes"],
    )
    tables = {"dstar": dstar, "geometry": pd.concat([features, other]), "levels": levels}
    (said,) = geometry(study_of(Results({}, {}, tables))).paragraphs
    assert "1 of the 2 models there represent no feature at all" in said


@pytest.mark.parametrize(
    ("counting", "weights", "said"),
    [(1.0, 1.0, "finds as many as the weights"), (0.8, 0.1, "finds more than"), (0.1, 0.8, "finds fewer than")],
)
def test_the_page_says_whether_counting_wins(counting, weights, said):
    scores = [
        Score("skip_trigrams", ranking, 10, 10, round(10 * share), share, share, 0, 0, 0)
        for ranking, share in (
            ("consistent, by evidence", weights),
            ("corpus lift, no model", counting / 2),
            ("corpus G², no model", counting),
        )
    ]
    text = _against_counting(to_frame(scores))
    assert (
        said.split()[1] in text and f"corpus G², no model, recall {counting:.2f}" in text and f"({weights:.2f})" in text
    )


def test_one_direction_is_shown_only_where_both_tests_say_so():
    """The parallelogram has to beat the nearest neighbour by more than its error, not only be right often."""
    table = pd.DataFrame(
        [
            ("both", "W_U", 60, 10.0, 0.425, 0.0),
            ("only the cosine", "W_E", 60, 9.1, 0.769, 0.767),
            ("only the parallelogram", "W_E", 60, 0.1, 0.9, 0.1),
        ],
        columns=["family", "matrix", "pairs", "z", "accuracy", "accuracy_nearest"],
    )
    said = _verdict(table, 3.0)
    assert (
        "over pairs, for both (W_U). It is not shown for only the cosine (W_E), only the parallelogram (W_E)." in said
    )


def test_what_rose_first_and_what_cannot_be_told_apart_is_said():
    def one(kind, label, *halves, leads=True):
        rises = dict(zip(how_it_formed.SHARES, (Rise(*half) for half in halves), strict=True)) if halves else None
        step = np.array([1, 9])
        return how_it_formed.Followed(
            kind, "", label, step, step, "", "", rises or dict.fromkeys(how_it_formed.SHARES), leads
        )

    early = one("a", "early", (2, 1, 3), (4, 3, 5), (6, 5, 7))
    late = one("b", "late", (9, 8, 10), (11, 10, 12), (13, 12, 14))
    near = one("c", "near", (1, 1, 1), (11.5, 11, 12), (5, 5, 6))
    follows = one("d", "follower", (1, 1, 1), (1, 1, 1), (1, 1, 1), leads=False)
    loss, rows = (
        one("loss", "loss", (1, 1, 1), (1, 1, 1), (1, 1, 1)),
        [one("row", "row"), one("row", "row", *[(7, 6, 8)] * 3)],
    )
    said, run = how_it_formed._said([late, loss, early, follows, *rows], 5)
    assert "early (4 [3, 5]), late (11 [10, 12])" in said and "tell all of these apart" in said
    assert "give the same first" in said and "follower" not in said and "loss" not in said
    assert "first 2 rows 1 end above random rows" in said and "seed 5" in run
    said, _ = how_it_formed._said([near, late, early], 5)
    assert "do not tell apart late before near." in said
    assert "near at 25%, early at 50%, near at 75%" in said and "rows" not in said
    assert how_it_formed._said([one("a", "never"), loss], 5)[0].startswith("Nothing that is followed")
