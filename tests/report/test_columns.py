"""The page says of a column what its declaration says."""

import html
import re

import pytest

from skiptrace import catalogue
from skiptrace.circuits.tables import HEADS
from skiptrace.evidence.tables import CHECKED
from skiptrace.report.rendering import render
from skiptrace.report.rendering.document import Table, explained, meaning, numbers


def test_headings_carry_the_meaning_and_unit_of_what_they_show():
    found = explained(numbers("Offset", "z", "Copying"), HEADS, "best_offset - copying")
    assert [c.name for c in found] == ["Offset", "z", "Copying"]
    assert [c.help for c in found] == [
        "the offset that the position term alone attends to most (tokens back)",
        "",
        HEADS["copying"].meaning,
    ]
    with pytest.raises(ValueError, match="shorter"):
        explained(numbers("Copying", "z"), HEADS, "copying")
    with pytest.raises(ValueError, match="not in list"):
        explained(numbers("Copying"), HEADS, "copied")


def test_every_heading_of_scores_has_help_and_the_page_shows_it(built):
    declared = {meaning(column) for table in catalogue.TABLES for column in table.columns}
    tables = [b for section in built.sections for b in section.blocks if isinstance(b, Table)]
    helps = [column.help for table in tables for column in table.columns if column.help]
    assert set(helps) <= declared
    (scored,) = (s for s in built.sections if s.anchor == "one-heads")
    assert [c.name for c in scored.blocks[0].columns if not c.help] == ["z"]
    shown = [html.unescape(title) for title in re.findall(r'<th scope="col"[^>]*? title="([^"]*)"', render.html(built))]
    assert shown == helps


def test_the_table_of_skip_trigrams_says_what_its_columns_are(built):
    (shown,) = (s.blocks[0] for s in built.sections if s.anchor == "skip-trigrams")
    said = {column.name: column.help for column in shown.help}
    words = {"Consistent": "consistent", "On text": "use", "Corpus": "support", "Survives": "survives"}
    for heading, column in (words | {"Effect": "effect_nats", "Lift": "corpus_lift"}).items():
        assert said[heading] == meaning(CHECKED[column])
