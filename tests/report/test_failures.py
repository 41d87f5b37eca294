"""What of a report stands when a part of it cannot be made."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from skiptrace.exploration import circuits
from skiptrace.report import order
from skiptrace.report.contents import build
from skiptrace.report.page import payload
from skiptrace.report.rendering import render
from skiptrace.report.rendering.document import Failed
from skiptrace.report.rendering.failures import attempt, figure
from skiptrace.report.sections.models.bigrams import draw_bigram_scatter
from tests.report.conftest import study_of


def test_a_section_that_fails_is_a_box_and_the_rest_stands(hostile, built):
    def bugs(study):
        if study.model.params.n_layers:
            raise ValueError(f"no <b>bugs</b> in\n{study.name} | _x_")

    bugs.__module__ = order.bugs.__name__
    broken = tuple(
        part._replace(sections=tuple(bugs if make is order.bugs.bugs else make for make in part.sections))
        for part in order.PARTS
    )
    report = build(study_of(hostile), broken)
    one, two = report.failures()
    assert [s.anchor for s in report.sections] == [s.anchor for s in built.sections]
    assert (one.title, two.title) == ("one: bugs", "two: bugs")
    assert one.reason == "ValueError: no <b>bugs</b> in one | _x_ (SKIPTRACE_DEBUG=1 shows where)"
    page, text = render.html(report), render.markdown(report, "figures")
    assert page.count('<p class="failed">') == 2 and "<b>bugs</b>" not in page + text
    for section, same in zip(report.sections, built.sections, strict=True):
        if section.anchor not in ("one-bugs", "two-bugs"):
            assert len(section.blocks) == len(same.blocks)
    assert "one: bugs could not be made." in text.replace("&#58;", ":")


def test_a_figure_that_fails_takes_nothing_else_of_its_section(hostile, built):
    one = hostile.models["one"]
    broken = replace(one, offsets=one.offsets.assign(text=np.nan, position_only=np.nan))
    report = build(study_of(replace(hostile, models=hostile.models | {"one": broken})))
    (box,) = report.failures()
    assert box.title == "one: heads, figure 'Attention by distance'" and "NaN" in box.reason
    here, there = (next(s for s in r.sections if s.anchor == "one-heads") for r in (report, built))
    assert [type(b) for b in here.blocks if not isinstance(b, Failed)] == [
        type(b) for b, mine in zip(there.blocks, here.blocks, strict=True) if not isinstance(mine, Failed)
    ]
    assert built.figures().keys() - report.figures().keys() == {"offsets_one.svg"}


def test_a_model_whose_tables_cannot_be_packed_is_a_box(hostile, built):
    stream = np.random.default_rng(0).integers(0, 23, 500)
    one = hostile.models["one"]
    broken = replace(one, skip_trigrams=one.skip_trigrams.drop(columns="qk"))
    study = study_of(replace(hostile, models=hostile.models | {"one": broken}))
    report = payload.carried(built, study, {"mine": stream}, {name: [] for name in hostile.models})
    assert report.corpora.keys() == {"mine"} and report.models.keys() == {"zero", "two"}
    (box,) = report.failures()
    assert box.title == "one: explorer of model" and "qk" in box.reason


def test_whoever_debugs_sees_the_error(monkeypatch):
    def broken():
        raise ZeroDivisionError

    assert attempt("one", broken)[0].anchor == "one-broken"
    assert isinstance(figure("a", "A", "", broken), Failed)
    monkeypatch.setenv("SKIPTRACE_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        attempt("one", broken)
    with pytest.raises(ZeroDivisionError):
        figure("a", "A", "", broken)


@pytest.mark.parametrize("scale", [0.0, 1e-4, 3.0], ids=["untrained", "barely trained", "trained"])
def test_a_zero_layer_model_is_drawn_however_little_it_was_trained(make_model, hostile, scale):
    model = make_model(0).float()
    model.W_E.mul_(scale)
    tokens = hostile.models["zero"].agreement["token_id"].tolist()
    pairs = circuits.direct_against_corpus(model, tokens, hostile.corpora["mine"].bigrams)
    assert len(draw_bigram_scatter(pairs)) > 1000


def test_pairs_far_below_the_corpus_are_drawn():
    """A uniform model of many tokens beside a corpus of few: all points lay outside of the figure."""
    pairs = pd.DataFrame({"corpus": np.log([0.5, 0.25]), "model": [-9.2, -9.3]})
    assert len(draw_bigram_scatter(pairs)) > 1000
