from dataclasses import fields, replace

import pytest

from skiptrace.corpora.card import Card, Notes, Size, Survival, Tally
from skiptrace.models.config import ModelConfig
from skiptrace.report.inputs import Results
from skiptrace.report.rendering.document import Report, Section
from skiptrace.report.rendering.render import html, markdown
from skiptrace.report.sections.run.corpora import cards, survivals
from skiptrace.report.sections.run.imports import imports, left_out
from tests.report.conftest import study_of
from tests.report.test_tokens import HOSTILE, read

NOTES = Notes(Tally(7), Tally(1), Tally(4), Tally(5), Tally(6))
CARD = Card(Size(90, 9000), Size(10, 1000), 3, 2, NOTES, "long.txt", 512, lines=40, lines_seen=10, leaking=1)
CONFIG = ModelConfig(n_layers=2, n_heads=3, d_model=13, d_head=4, n_ctx=7, d_vocab=23)


def test_a_card_is_a_row_of_counts():
    (table,) = cards({"mine": CARD})
    assert table.rows == (("mine", "3", "2", "7", "1", "4", "5", "6", "0", "512", "1 of 10", "25.0% of 40"),)
    assert len(table.columns) == 12


@pytest.mark.parametrize("kind", [field.name for field in fields(Notes)])
def test_all_that_readers_note_is_shown_with_its_first_files(kind):
    noted = replace(NOTES, **{kind: Tally(9876, ["some.file"])})
    counts, first = cards({"mine": replace(CARD, notes=noted)})
    assert "9,876" in counts.rows[0]
    assert [(corpus, file) for corpus, _, file in first.rows] == [("mine", "some.file")]


def test_what_tokens_lose_is_a_row():
    (table,) = survivals({"mine": Survival(2000, 50, 100, 25, "ü\u200b")})
    assert table.rows == (("mine", "2.500% of 2,000", "25.0%", "ü \\u200b"),)
    (table,) = survivals({"mine": Survival(0, 0, 0, 0, "")})
    assert table.rows == (("mine", "0.000% of 0", "0.0%", "–"),)


@pytest.mark.parametrize("name", [*HOSTILE, "line\nbreak.txt", "=HYPERLINK(1)"])
def test_file_names_cannot_inject_into_either_page(name):
    tables = cards({"mine": replace(CARD, notes=replace(NOTES, skipped=Tally(4, [name])))})
    report = Report("t", "l", [Section("corpora", "Corpora", [], tables)])
    plain = Report("t", "l", [Section("corpora", "Corpora", [], cards({"mine": CARD}))])
    added = set(read(html(report)).elements) - set(read(html(plain)).elements)
    assert added == set()
    assert "<script>alert" not in markdown(report, "figures") and "<img" not in markdown(report, "figures")
    rows = [line for line in markdown(report, "figures").splitlines() if line.startswith("| mine")]
    (row,) = [line for line in rows if "25.0" not in line]
    assert row.count("|") - row.count("\\|") == 4


def test_trained_models_need_no_word_about_imports(hostile):
    trained = replace(hostile.models["one"], config=CONFIG)
    assert imports(study_of(Results({}, {"trained": trained}))) is None
    assert left_out(trained) == []


def test_steps_and_what_is_left_out_are_told(hostile):
    config = replace(CONFIG, imported_from="gpt2", d_model_imported=12, processing=["folded"], approximate=["MLPs"])
    theirs, trained = (replace(hostile.models["one"], config=c) for c in (config, CONFIG))
    section = imports(study_of(Results({}, {"theirs": theirs, "trained": trained})))
    shape, steps = section.blocks
    assert shape.rows[0][:2] == ("theirs", "gpt2") and "12" in shape.rows[0] and "13" in shape.rows[0]
    assert steps.rows == (
        ("theirs", "done to the weights", "folded"),
        ("theirs", "left out", "MLPs"),
    )
    assert left_out(theirs) == ["This model was imported: MLPs."]
