"""What of a report stands when a part of it cannot be made."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from skiptrace.exploration import circuits
from skiptrace.report import evidence, figures, render
from skiptrace.report.document import Failed, Figure, Section
from skiptrace.report.failures import attempt, failures
from skiptrace.report.sections import build
from tests.report.conftest import SETTINGS


def test_a_section_that_fails_is_a_box_and_the_rest_stands(hostile, built, tmp_path, monkeypatch):
    def broken(name, model, settings):
        raise ValueError(f"no <b>bugs</b> in\n{name} | _x_")

    broken.__name__ = evidence.bugs.__name__
    monkeypatch.setattr(evidence, "bugs", broken)
    report = build(hostile, SETTINGS, tmp_path / "figures")
    whole = built[0]
    assert [s.anchor for s in report.sections] == [s.anchor for s in whole.sections]
    one, two = failures(report)
    assert (one.title, two.title) == ("one: bugs", "two: bugs")
    assert one.reason == "ValueError: no <b>bugs</b> in one | _x_ (SKIPTRACE_DEBUG=1 shows where)"
    page, text = render.html(report), render.markdown(report, tmp_path / "figures")
    assert page.count('<p class="failed">') == 2 and "<b>bugs</b>" not in page + text
    for section, same in zip(report.sections, whole.sections, strict=True):
        if section.anchor not in ("one-bugs", "two-bugs"):
            assert len(section.blocks) == len(same.blocks)
    assert "one: bugs could not be made." in text.replace("&#58;", ":")


def test_a_figure_that_fails_takes_nothing_else_of_its_section(hostile, built, tmp_path):
    results = hostile
    one = results.models["one"]
    broken = replace(one, offsets=one.offsets.assign(text=np.nan, position_only=np.nan))
    folder = tmp_path / "figures"
    folder.mkdir()
    (folder / "offsets_one.svg").write_text("<svg>of an earlier run</svg>")
    report = build(replace(results, models=results.models | {"one": broken}), SETTINGS, folder)
    (box,) = failures(report)
    assert box.title.startswith("one: heads, figure ") and "NaN" in box.reason
    here, there = (next(s for s in r.sections if s.anchor == "one-heads") for r in (report, built[0]))
    assert [type(b) for b in here.blocks if not isinstance(b, Failed)] == [
        type(b) for b, mine in zip(there.blocks, here.blocks, strict=True) if not isinstance(mine, Failed)
    ]
    assert not (folder / "offsets_one.svg").exists()
    assert "of an earlier run" not in render.html(report)
    render.markdown(report, folder)


def test_outside_of_a_report_a_figure_that_fails_is_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), figures.figure(tmp_path / "x.svg", 1.0, 1.0):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_whoever_debugs_sees_the_error(monkeypatch):
    def broken():
        raise ZeroDivisionError

    assert attempt("one", broken)[0].anchor == "one-broken"
    monkeypatch.setenv("SKIPTRACE_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        attempt("one", broken)


def test_figures_of_one_part_are_not_those_of_another(tmp_path):
    def part(fails: bool) -> Section:
        with figures.figure(tmp_path / "x.svg", 3.0, 3.0) as drawn:
            drawn.subplots()
            assert not fails
        return Section("x", "X", [], [Figure(tmp_path / "x.svg", "x", "")])

    assert isinstance(attempt("", part, True)[0].blocks[0], Failed)
    assert isinstance(attempt("", part, False)[0].blocks[0], Figure)


@pytest.mark.parametrize("scale", [0.0, 1e-4, 3.0], ids=["untrained", "barely trained", "trained"])
def test_a_zero_layer_model_is_drawn_however_little_it_was_trained(make_model, hostile, tmp_path, scale):
    model = make_model(0).float()
    model.W_E.mul_(scale)
    tokens = hostile.models["zero"].agreement["token_id"].tolist()
    pairs = circuits.direct_against_corpus(model, tokens, hostile.corpora["mine"].bigrams)
    figures.bigram_scatter(tmp_path / "bigrams.svg", pairs)
    assert (tmp_path / "bigrams.svg").stat().st_size > 1000


def test_pairs_far_below_the_corpus_are_drawn(tmp_path):
    """A uniform model of many tokens beside a corpus of few: all points lay outside of the figure."""
    pairs = pd.DataFrame({"corpus": np.log([0.5, 0.25]), "model": [-9.2, -9.3]})
    figures.bigram_scatter(tmp_path / "bigrams.svg", pairs)
    assert (tmp_path / "bigrams.svg").stat().st_size > 1000
