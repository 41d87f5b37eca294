"""A report as JSON: what is read back is what was written, and rendering it takes neither torch nor matplotlib."""

import json
import subprocess
import sys
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skiptrace.report.rendering import render
from skiptrace.report.rendering.document import Block, Cell, Report, Section
from skiptrace.report.rendering.stored import CLASS, CLASSES, from_json, to_json

REPORTS = st.builds(
    Report,
    st.text(),
    st.text(),
    st.lists(st.builds(Section, blocks=st.lists(st.from_type(Block), max_size=3)), max_size=3),
    st.dictionaries(st.text() | st.just(CLASS), st.text(), max_size=2),
    st.dictionaries(st.text(), st.text(), max_size=2),
)


def read_back(report: Report) -> Report:
    return from_json(json.loads(json.dumps(to_json(report))))


# The check of types while tests run picks at random which element of a list it looks at.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module")
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], max_examples=30)
@given(REPORTS)
def test_any_report_is_read_back_as_it_was(report):
    assert read_back(report) == report


def test_every_kind_of_block_and_cell_can_be_stored():
    kinds = {*get_args(Block), *get_args(Cell)} - {str}
    assert kinds <= set(CLASSES.values())
    assert all(CLASSES[kind.__name__] is kind for kind in kinds)


def test_a_report_that_was_read_back_gives_the_same_page(built):
    again = read_back(built)
    assert again.sections == built.sections
    assert render.html(again) == render.html(built)
    assert render.markdown(again, "figures") == render.markdown(built, "figures")


@pytest.mark.parametrize(
    "value", [None, [], {"title": "", "lead": ""}, {"title": "", "lead": "", "sections": [{CLASS: "Nothing"}]}]
)
def test_what_is_no_report_is_refused(value):
    with pytest.raises(ValueError, match="not a report as it is stored here"):
        from_json(value)


def test_rendering_imports_nothing_that_computes_or_draws():
    code = "import sys, stages.report; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=True)
    loaded = set(done.stdout.split())
    assert "skiptrace.report.rendering.render" in loaded
    assert not {"torch", "matplotlib", "scipy", "numba", "skiptrace.report.contents"} & loaded
