"""The superposition branch in the report: from tiny results to both pages."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from skiptrace.config.dictionaries import ModelDictionaryParams, ToyDictionaryParams
from skiptrace.config.superposition import DEFAULTS, SuperpositionParams
from skiptrace.dictionary.tables import HYBRID
from skiptrace.report import contents, order
from skiptrace.report.inputs import DictionaryResult, Results
from skiptrace.report.metrics import metrics
from skiptrace.report.rendering import render
from skiptrace.report.rendering.document import Context, Contexts, Report, Section, Table, words
from skiptrace.report.sections.dictionaries import toy
from skiptrace.report.sections.superposition.phase import phase
from skiptrace.superposition.experiments import EXPERIMENTS
from tests.pipeline.conftest import tiny_superposition
from tests.report.conftest import study_of
from tests.report.test_tokens import HOSTILE, Reader


@pytest.fixture(scope="module")
def tables():
    params = tiny_superposition(DEFAULTS)
    checked = SuperpositionParams.model_validate(params)
    return {name: table for run in EXPERIMENTS.values() for name, table in run(checked).tables.items()}


TRAINING: dict = {
    "seed": 0,
    "entries": 4,
    "penalties": (0.5, 1.0),
    "steps": 1,
    "batch_size": 2,
    "learning_rate": 0.1,
    "resample_every": 1,
}
TOY = ToyDictionaryParams(kind="toy", source="x", data="y", shown=1.0, sizes=(2,), **TRAINING)
ONE = ModelDictionaryParams(
    kind="model",
    source="data/models/one",
    data="data/tokens/c",
    windows=1,
    check_windows=1,
    contexts=1,
    context_tokens=2,
    outs=1,
    k=(1,),
    shown=1,
    **TRAINING,
)


def toy_result():
    rows = [
        {
            "sparsity": s,
            "seed": seed,
            "penalty": p,
            "entries": entries,
            "mmcs": 0.9 + 0.01 * seed + 0.02 * p,
            "matched": 0.9,
            "one_entry": 3,
            "features": 4,
            "l0": 1.5,
            "variance_explained": 0.8,
            "dead_fraction": 0.0,
            "random_mmcs": 0.5,
        }
        for s in (0.9, 0.98)
        for seed in (0, 1)
        for entries, p in ((TOY.entries, 0.5), (TOY.entries, 1.0), (2, 1.0))
    ]
    return DictionaryResult(TOY, pd.DataFrame(rows), pd.DataFrame(), pd.DataFrame(), pd.DataFrame())


def one_result(text):
    numbers = {
        "l0": 3.0,
        "variance_explained": 0.5,
        "dead_fraction": 0.25,
        "loss": 3.5,
        "original_loss": 3.0,
        "mean_loss": 5.0,
        "loss_recovered_low": 0.5,
        "loss_recovered_high": 0.9,
        "token_mean_recovered": 0.4,
        "token_mean_explained": 0.3,
        "pca_explained": 0.4,
        "pca_recovered": 0.3,
    }
    both = [("heads", 0.75), ("residual", 0.6)]
    settings = ("L1", 0.5, 4), ("TopK", 0.0, 1), ("BatchTopK", 0.0, 1)
    kinds = [dict(zip(("kind", "penalty", "k"), each, strict=True)) for each in settings]
    sweep = [{"site": s, **kind, "loss_recovered": r, **numbers} for s, r in both for kind in kinds]
    density = [{"site": s, **kind, "feature": f, "density": f / 8} for s, _ in both for kind in kinds for f in range(4)]
    features = [
        {
            "site": s,
            "feature": f,
            "density": f / 8,
            "activation": 1.0,
            "out_ids": np.array([f]),
            "outs": np.array([text]),
            "logits": np.array([1.5]),
            "head": 0,
            "head_share": 0.5,
        }
        for s, _ in both
        for f in range(4)
    ]
    contexts = [
        {
            "site": s,
            "feature": f,
            "rank": 0,
            "activation": 2.0,
            "before": np.array([text]),
            "token_id": 1,
            "token": text,
            "after": np.array([text]),
            "head": 0,
            "distance": 1,
            "source_id": 9,
            "source": text,
        }
        for s, _ in both
        for f in (1, 2, 3)
    ]
    return DictionaryResult(ONE, *map(pd.DataFrame, (sweep, density, features, contexts)))


def test_every_experiment_has_its_section_and_figures(tables):
    study = study_of(Results({}, {}, tables))
    report = contents.build(study, (order.SUPERPOSITION,))
    assert len({s.anchor for s in report.sections}) == len(report.sections) == 11  # of dictionaries there is none here
    assert not report.failures()
    for section in report.sections:
        assert "Expected" in section.paragraphs[0] and "Measured" in section.paragraphs[0], section.title
        assert "nan" not in " ".join(section.paragraphs).lower(), section.title
    drawn = report.figures()
    assert all(svg.startswith("<?xml") and len(svg) < 150_000 for svg in drawn.values())
    assert drawn == contents.build(study, (order.SUPERPOSITION,)).figures()


def test_the_share_of_agreeing_cells_is_in_the_text_and_in_the_metrics(tables):
    cells = tables["phase"]
    share = cells.loc[cells["n"] == 2, "agrees"].mean()
    section = phase(study_of(Results({}, {}, tables)))
    assert f"agree on {share:.1%} of 9 cells" in section.blocks[0].caption
    assert metrics(Results({}, {}, tables), 0.05)["superposition"] == {
        "phase_agreement": round(share, 6),
        "intervals": {"phase_agreement": [0.002809, 0.482497]},  # Clopper and Pearson: one of nine
    }


@pytest.mark.parametrize(("gain", "said"), [(0.1, "is shown to work"), (0.0, "is not shown to work")])
def test_the_hybrid_way_is_said_to_work_where_the_gain_above_random_is_beyond_its_interval(gain, said):
    rows = [
        {
            "activation_penalty": penalty,
            "dictionary_steps": 7,
            "sparsity": s,
            "seed": seed,
            "loss": 0.1 + penalty,
            "all": 6,
            "features": 5,
            "mmcs": 0.7 + 0.01 * seed + (0.05 + gain + 0.001 * seed if penalty else 0.0),
            "one_entry": 3,
            "l0": 1.5,
            "variance_explained": 0.8,
            "dead_fraction": 0.0,
            "random_mmcs": 0.55 if penalty else 0.5,  # a random dictionary gains as much where nothing else does
        }
        for penalty in (0.0, 0.02)
        for s in (0.9, 0.98)
        for seed in (-1, 1)
    ]
    result = replace(toy_result(), hybrid=HYBRID.frame(rows))
    section = toy.toy(study_of(Results({}, {}, {}, {"toy": result}), name="toy"))
    assert section is not None
    assert f"The hybrid way {said}" in section.paragraphs[1]
    assert f"at 0.02 by {gain:.4f}" in section.paragraphs[1].replace("by -0.0", "by 0.0")
    assert "+20.0%" in section.paragraphs[1]
    assert len(section.blocks[-1].rows) == 2
    plain = toy.toy(study_of(Results({}, {}, {}, {"toy": toy_result()}), name="toy"))
    assert plain is not None and len(plain.paragraphs) == 1


def test_metrics_of_dictionaries_by_hand():
    found = metrics(Results({}, {}, {}, {"toy": toy_result(), "one": one_result("a")}), 0.05)["dictionary"]
    # Of four models, two at 0.92 and two at 0.93: t(3) = 3.18 standard errors of 0.0029 on each side.
    assert found["toy"] == {"mmcs": pytest.approx(0.925), "intervals": {"mmcs": [0.915813, 0.934187]}}
    expected = {
        "loss_recovered": 0.75,
        "token_mean_null": 0.4,
        "l0": 3.0,
        "dead_fraction": 0.25,
        "variance_explained": 0.5,
        "intervals": {"loss_recovered": [0.5, 0.9]},
    }
    assert found["one"] == expected | {"residual": expected | {"loss_recovered": 0.6}}


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_tokens_are_inert_in_feature_tables(hostile, text):
    mined = pd.DataFrame({"layer": [0], "head": [0], "source_id": [9], "out_id": [2], "source": [text], "out": [text]})
    results = Results(
        {},
        {"one": replace(hostile.models["one"], skip_trigrams=mined)},
        {},
        {"toy": toy_result(), "one": one_result(text)},
    )
    report = contents.build(study_of(results), (order.FEATURES,))
    assert [s.anchor for s in report.sections if s.anchor.startswith("dictionary")] == [
        "dictionary-one", "dictionary-one-heads", "dictionary-one-residual"
    ]  # fmt: skip
    assert "1 of the 3 entries that are ever active matches" in report.sections[1].paragraphs[0]
    reader = Reader()
    page = render.html(report)
    reader.feed(page)
    assert not {"img", "b", "iframe", "object"} & set(reader.elements)
    assert reader.elements.count("script") == 4  # the colours, the constants, the library, the page
    assert "onerror=alert" not in re.sub(r"<code[^>]*>.*?</code>|<text.*?</text>|<!--.*?-->", "", page, flags=re.DOTALL)


def test_the_activating_token_is_marked():
    cell = Contexts((Context((" a", "<b>"), "|hit|", ("\n",)),))
    table = Table("c", words("Context"), [(cell,)])
    report = Report("t", "l", [Section("s", "S", [], [table])])
    assert "·a&lt;b&gt;<mark>|hit|</mark>↵" in render.html(report)
    row = next(line for line in render.markdown(report, "figures").splitlines() if "hit" in line)
    assert "<code>&#124;hit&#124;</code>" in row and row.count("|") == 2
