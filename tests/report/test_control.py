"""What the report and metrics.json say of the control, from readings whose numbers are known."""

from dataclasses import replace

import pytest

from skiptrace.control import study
from skiptrace.report import grammars
from skiptrace.report.sections.models.control import control_study
from skiptrace.report.sections.run import findings
from tests.control.test_study import ANYWHERE, FIRST, NEXT_TO, OTHER, SECOND, reading
from tests.report.conftest import study_of


@pytest.fixture(scope="module")
def tables():
    """On both reported grammars the model has learned the first of two rules; only counts find the second."""
    first = reading(0, [FIRST, OTHER], [FIRST, SECOND], [NEXT_TO])
    one = reading(1, [FIRST, ANYWHERE], [FIRST, SECOND], [OTHER])
    two = reading(2, [FIRST, SECOND], [FIRST, NEXT_TO], [OTHER])
    return study.tables([first, one, two])


def test_metrics_are_means_over_the_grammars_that_nothing_was_chosen_on(tables):
    found = grammars.control(tables)
    assert found["recall"] == pytest.approx((1 / 2 + 2 / 2) / 2)
    assert found["precision"] == pytest.approx((1 / 2 + 2 / 2) / 2)
    assert found["best_baseline"] == pytest.approx((2 / 2 + 1 / 2) / 2)
    assert found["best_baseline_precision"] == pytest.approx((2 / 2 + 1 / 2) / 2)
    assert found["average_precision"] == pytest.approx((1 / 2 + 1) / 2)
    assert found["learned"] == 0.5
    assert found["learned_recall"] == 1.0 and found["unlearned_recall"] == 0.5
    assert found["best_baseline_learned_recall"] == 1.0 and found["best_baseline_unlearned_recall"] == 0.5
    low, high = grammars.control_intervals(tables)["recall"]
    assert (low, high) == (0.0, 1.0)  # two grammars say next to nothing
    assert grammars.control_intervals(tables)["learned_recall"] == [1.0, 1.0]


def test_the_section_says_who_wins_and_what_weights_tell(hostile, tables):
    results = replace(hostile, control=tables)
    section = control_study(study_of(results, name="two"))
    assert section is not None and section.anchor == "two-control"
    text = section.paragraphs[0]
    assert "chosen on grammar 0" in text and "grammars 1, 2" in text
    ours, theirs = (grammars.control(tables)[n] for n in ("average_precision", "best_baseline_average_precision"))
    assert ("Counting wins" in text) == (theirs > ours) and ("The weights win" in text) == (ours > theirs)
    assert "the rows accepted from weights hold 100%, of the others 50%" in text
    assert control_study(study_of(hostile, name="two")) is None


def test_the_first_screen_says_how_the_control_came_out(hostile, tables):
    told = findings._planted(study_of(replace(hostile, control=tables)))
    assert told == "; of planted rules that models have learned 100% are found"
    assert findings._planted(study_of(hostile)) == ""
