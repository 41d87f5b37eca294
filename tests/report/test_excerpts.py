"""Sentences of the held-out text, formulas and terms, each with a known answer."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from skiptrace.evidence.support import Positions
from skiptrace.report import excerpts
from skiptrace.report.equations import FORMULAS
from skiptrace.report.glossary import GLOSSARY
from skiptrace.report.published import FRAMEWORK
from skiptrace.report.rendering.document import Part
from skiptrace.report.rendering.formulas import mathml
from skiptrace.report.rendering.render import _prose

TEXTS = ["<bos>", " either", " a", " or", " b", "\n", " c", "!"]
#          bos either a or b  bos either  c  c  \n  a or  b
STREAM = np.array([0, 1, 2, 3, 4, 0, 1, 6, 6, 5, 2, 3, 4])
POSITIONS = Positions(STREAM, len(TEXTS), 9)


def test_a_skip_trigram_is_shown_where_it_stands_without_line_breaks_if_it_can():
    """It stands twice; the nearer place has no line break, and its text ends with its document."""
    found = excerpts.skip_trigram(POSITIONS, TEXTS, 1, 2, 3)
    marked = (Part("either", "source"), Part(" "), Part("a", "destination"), Part(" "), Part("or", "out"), Part(" b"))
    assert found.parts == marked
    assert excerpts.skip_trigram(POSITIONS, TEXTS, 4, 2, 3) is None  # b stands in the document before


def test_a_line_break_and_a_long_gap_are_shown_as_such():
    ids = np.array([1, 5, *[6] * 30, 2, 3])
    found = excerpts.of_ids(ids, TEXTS, {0: "source", 1: "destination", 33: "out"})
    text = "".join(part.text for part in found.parts)
    assert text == "either↵ c c c c … c c c a or"
    after = excerpts.of_texts([").", "\n", "If", " a"], {3: "source"})
    assert after.parts == (Part("↵If "), Part("a", "source"))  # what ended the sentence before is left out


def test_a_repetition_and_a_bigram():
    found = excerpts.repetition(Positions(np.array([0, 2, 6, 2, 6, 0]), len(TEXTS), 9), TEXTS, 2)
    assert [part for part in found.parts if part.role] == [
        Part("a", "source"),
        Part("c", "destination"),
        Part("a", "out"),
    ]
    assert excerpts.bigram(POSITIONS, TEXTS, 4, 6) is None
    assert [p.text for p in excerpts.bigram(POSITIONS, TEXTS, 3, 4).parts if p.role] == ["or", "b"]


@pytest.mark.parametrize("formula", FORMULAS.values(), ids=FORMULAS)
def test_every_formula_is_mathml_that_reads_as_it_is_written(formula):
    read = "".join(ET.fromstring(mathml(formula)).itertext())
    assert read == "".join(c for c in formula if c not in " _^{}")


def test_an_index_and_an_exponent_of_one_base():
    assert mathml("W_OV^{h₁}<") == (
        '<math display="block"><mrow><msubsup><mi>W</mi><mi>OV</mi><mrow><mi>h₁</mi></mrow></msubsup>'
        "<mo>&lt;</mo></mrow></math>"
    )


def test_terms_are_explained_once_and_code_and_links_are_left_alone():
    said = _prose(f"A head's source and sources, `source`, <b>; {FRAMEWORK.link}, [x](javascript:1)")
    assert said.count("<abbr") == 1 and f'<abbr title="{GLOSSARY["source"]}">source</abbr>' in said
    assert "<code>source</code>" in said and "&lt;b&gt;" in said
    assert f'<a href="{FRAMEWORK.address}">{FRAMEWORK.name}</a>' in said and "[x](javascript:1)" in said
    assert "<abbr" not in _prose("It reads the source text of a package.")
