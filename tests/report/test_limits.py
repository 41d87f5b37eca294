"""What a time budget leaves out stands in the report."""

from dataclasses import replace

from skiptrace import budget
from skiptrace.report.sections.run.imports import limits
from tests.report.conftest import study_of


def test_the_report_says_what_is_left_out(hostile):
    study = study_of(hostile)
    assert limits(study) is None
    section = limits(replace(study, limited={"two": [budget.Cut("verify", "null_rows", 200, 80)]}))
    assert section is not None
    assert ("two", "evidence", "null rows", "80", "200") in section.blocks[0].rows
