import re
from dataclasses import replace
from importlib import import_module, resources
from inspect import getmembers, isfunction
from pkgutil import walk_packages

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from skiptrace.evidence.support import Positions
from skiptrace.mining.vocabulary import Vocabulary
from skiptrace.report import sections
from skiptrace.report.contents import build
from skiptrace.report.inputs import Results
from skiptrace.report.intervals import bracketed, share
from skiptrace.report.metrics import _finite, attention_by_offset, in_context_learning, late_against_early, metrics
from skiptrace.report.order import PARTS
from skiptrace.report.published import PAPERS
from skiptrace.report.rendering import render
from skiptrace.report.rendering.document import Example, Examples, Figure, Question, Report, Section, Tokens
from skiptrace.report.sections.models import control, truth
from skiptrace.report.sections.models.positional import Attended, most_attended
from skiptrace.report.sections.models.skip_trigrams import published_rows
from skiptrace.report.sections.run.findings import findings
from skiptrace.report.sections.run.papers import beside_the_papers
from skiptrace.report.sections.run.provenance import flat, git_blob
from skiptrace.report.targets import targets
from tests.report.conftest import SETTINGS, result, study_of
from tests.report.test_tokens import Reader


def test_a_style_of_a_drawing_stands_once_in_the_page():
    drawing = (
        '<svg style="width:9px"><g style="fill: red"><path style="fill: red"/></g><text>style="fill: red"</text></svg>'
    )
    made = render._with_shared_styles(f"<style>{render.SHARED}</style>{drawing}<p style='a'>{drawing}")
    assert made.count("fill: red") == 3  # the rule, and the text of either drawing
    assert made.startswith("<style>.d0{fill: red}</style>") and made.count('class="d0"') == 4
    assert made.count('style="width:9px"') == 2 and "<p style='a'>" in made


def test_hostile_tokens_are_inert_in_both_forms(built):
    page = render.html(built)
    reader = Reader()
    reader.feed(page)
    assert not {"img", "b", "iframe", "object"} & set(reader.elements)
    assert reader.elements.count("script") == 4  # the colours, the constants, the library, the page
    assert page.count("<script>alert") == 0
    assert "onerror=alert" not in re.sub(r"<(code|text|blockquote)\b.*?</\1>|<!--.*?-->", "", page, flags=re.DOTALL)
    assert len(page) < 2_000_000
    text = render.markdown(built, "figures")
    assert "<script" not in text and "<img" not in text
    for block in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1, block


def test_markdown_leaves_what_a_folded_part_repeats_to_the_page():
    made = [
        Section("one-heads", "one: heads", ["said of one"], [], question="which"),
        Section("planted-heads", "planted: heads", ["said of planted"], [], question="control"),
        Section("planted-truth", "planted: truth", ["said of planted alone"], [], question="control"),
    ]
    asked = (Question("which", "Which?", "", "one"), Question("control", "Control", "", "planted", folded=False))
    both = Report("a report", "", made, questions=asked)
    folded = Report("a report", "", made, questions=(asked[0], asked[1]._replace(folded=True)))
    assert "said of planted\n" in render.markdown(both, "figures")
    text = render.markdown(folded, "figures")
    assert "said of one\n" in text and "said of planted alone\n" in text and "said of planted\n" not in text
    assert '<a id="planted-heads"></a>planted: heads: in the page alone.' in text


def test_no_two_scripts_of_the_page_use_one_name():
    scripts = [resources.files("skiptrace.report") / "templates" / name for name in render.SCRIPTS]
    declared = [
        re.findall(r"^(?:export )?(?:async )?(?:function|const|let) (\w+)", s.read_text(), re.M) for s in scripts
    ]
    names = [name for each in declared for name in each]
    assert len(names) > 50 and len(set(names)) == len(names)


def test_the_same_results_give_the_same_bytes(hostile, built):
    again = build(study_of(hostile))
    assert render.html(again) == render.html(built)
    assert again.figures() == built.figures()
    always = {
        "account",
        "directions",
        "paths",
        "terms",
        "virtual_weights",
        "overlaps",
        "deletion",
        "copying",
        "cutoffs",
        "offsets",
        "ov",
        "qk",
        "effects",
        "rules",
    }
    deeper = {"composition", "composition_graph", "corner", "knockouts", "formation", "rises"}
    expected = {f"{kind}_one" for kind in always} | {f"{kind}_two" for kind in always | deeper}
    once = {"loss_curves", "bigrams_zero", "features_one"}
    assert {name.removesuffix(".svg") for name in built.figures()} == expected | once


def test_ids_are_unique_and_every_reference_is_met(built):
    page = render.html(built)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert not [i for i in ids if ids.count(i) > 1]
    referred = set(re.findall(r'href="#([^"]+)"', page)) | set(re.findall(r"url\(#([^)]+)\)", page))
    assert referred <= set(ids)
    papers = "|".join(re.escape(paper.address) for paper in PAPERS)
    assert not re.search(rf'(src|href)="(?!#|data:image/png;|(?:{papers})")', page)


def test_what_is_undefined_is_said_to_be(make_model, tokens, hostile):
    """Three layers of one head as wide as the stream: no angles, no K-composition in layer 0, no families."""
    results = hostile
    corpus = results.corpora["mine"]
    count = corpus.vocabulary["count"]
    probability = torch.tensor(corpus.vocabulary["probability"].to_numpy(), dtype=torch.float32)
    vocabulary = Vocabulary(pd.Series([f"t{i}" for i in range(23)]), count, probability)
    model = make_model(3, n_heads=1, d_head=10).float()
    found = replace(corpus, vocabulary=corpus.vocabulary.assign(token=vocabulary.token))
    deep = Results({"mine": found}, {"deep": result(model, tokens, vocabulary)})
    page = render.html(build(study_of(deep)))
    cells = re.findall(r"<td[^>]*>(.*?)</td>", page)
    assert "n/a" in cells
    assert not [cell for cell in cells if "nan" in cell]
    assert not re.search(r"\bnan\b", " ".join(re.findall(r"<p>(.*?)</p>", page)))


def test_the_published_row_of_a_source():
    rows = [("d1", "o1", 1, 3.0), ("d1", "o2", 2, 2.0), ("d2", "o1", 3, 3.0), ("d2", "o2", 4, 2.0)]
    group = pd.DataFrame(rows, columns=["destination", "out", "rank", "ov"]).assign(source="·a")
    group["destination_id"], group["out_id"] = group["destination"].str[1:], group["out"].str[1:]
    shuffled = group.iloc[[2, 0, 3, 1]]
    source, destinations, outs, examples = published_rows(shuffled)
    assert (source, destinations, outs) == (Tokens(("·a",)), Tokens(("d1", "d2")), Tokens(("o1", "o2")))
    assert examples == Examples((Example("·a", "…", ("d1", "o1")), Example("·a", "…", ("d2", "o1"))))
    counted = published_rows(shuffled.assign(corpus_count=[0, 7, float("nan"), 3]))[-1]  # d2 o1, d1 o1, d2 o2, d1 o2
    assert counted == Examples((Example("·a", "…", ("d1", "o1")), Example("·a", "…", ("d2", "o1"))))
    other = published_rows(shuffled.assign(corpus_count=[1, 2, 5, 9]))[-1]
    assert other == Examples((Example("·a", "…", ("d1", "o2")), Example("·a", "…", ("d2", "o2"))))


def test_a_positional_head_is_placed_by_its_attention_on_text():
    """The position term alone prefers the token itself; on text the head looks one back."""
    offsets = pd.DataFrame({"offset": range(6), "text": [0.11, 0.34, 0.2, 0.0, 0.0, 0.9]}).assign(
        layer=0, head=3, position_only=[0.29, 0.2, 0.1, 0.0, 0.0, 0.0], uniform=0.02
    )
    both = pd.concat([offsets.assign(head=2, text=0.5), offsets])
    assert most_attended(both, 0, 3) == Attended(1, 0.34, 0.2, 0.02)


@pytest.mark.parametrize(
    ("estimate", "written"),
    [
        ((0.3141, 0.2512, 0.377), "0.31 [0.25, 0.38]"),
        ((0.3141, 0.3021, 0.3261), "0.314 [0.302, 0.326]"),
        ((1234.4, 1100.0, 1368.0), "1234 [1100, 1368]"),
        ((0.5, float("-inf"), float("inf")), "0.500"),
    ],
    ids=["one digit of half the interval", "two where it begins with 1", "no decimals", "no interval"],
)
def test_an_estimate_is_written_with_the_digits_of_its_interval(estimate, written):
    assert bracketed(*estimate) == written


def test_metrics_by_hand(hostile):
    results = hostile
    found = metrics(results, 0.05)["models"]
    assert found["one"]["valid_loss"] == pytest.approx(2.5)
    assert found["one"]["bigram_loss"] == pytest.approx(2.85)
    assert found["one"]["positional_heads"] == 1
    assert found["one"]["bug_cost_nats"] == 0.01
    checked = results.models["one"].evidence
    assert found["one"]["evidence"]["p_out"] == pytest.approx((checked["p_out"] >= 0.05).mean(), abs=1e-6)
    assert found["one"]["evidence"]["recurring"] == 1  # its twin holds every mined row
    assert "recurring" not in found["two"]["evidence"]
    assert "previous_token_max" not in found["zero"]
    # A context of 7: late is 500/512 of it, position 6; early is 50/512, position 1.
    assert in_context_learning(results.models["one"]) == pytest.approx(2.0 - 3.0)


def test_targets_by_hand(hostile):
    results = hostile
    heads = results.models["two"].heads.assign(previous_token=[0, 0.7, 0, 0, 0, 0], prefix_matching=[0.1] * 6)
    models = results.models | {"two": replace(results.models["two"], heads=heads)}
    found = targets(Results(results.corpora, models))
    met = [(t.model, t.met) for t in found]
    assert met[:4] == [("zero", True), ("one", False), ("two", True), ("two", False)]
    cuts = models["two"].composed.knockouts.query("`from` == 'L0H1' and via == 'all'")
    cut = cuts[cuts["to"] == found[4].what.split()[3]].iloc[0]
    assert met[4:] == [("two", cut["change"] < -2 * cut["change_se"])]
    assert found[4].what.endswith("when L0H1 is cut")
    assert found[0].reached == "-0.350 nats"
    assert found[2].reached == "0.70 (L0H1)"


def test_findings_and_the_papers_table_say_what_the_tables_hold(hostile):
    results = hostile
    held_out = {"mine": Positions(np.random.default_rng(0).integers(1, 23, 5000), 23, 6)}
    told = {f.evidence.anchor: f for f in findings(study_of(results, held_out=held_out)).rows}
    assert list(told) == ["zero-bigrams", "one-account", "one-evidence", "one-heads", "two-induction"]
    assert all(f.claim and re.search(r"\d", f.value) and f.baseline for f in told.values())
    one = results.models["one"].evidence
    low, high = metrics(results, 0.05)["models"]["one"]["intervals"]["evidence"]["survives"]
    assert low < one["survives"].mean() < high
    assert told["one-evidence"].value == share(one["survives"].mean(), low, high)
    heads, cuts = results.models["two"].heads.set_index("name"), results.models["two"].composed.knockouts
    induction = heads["prefix_matching"].drop(["L0H0", "L0H1", "L0H2"]).idxmax()
    before = heads["previous_token"].drop(["L1H0", "L1H1", "L1H2"]).idxmax()
    cut = cuts[(cuts["to"] == induction) & (cuts["from"] == before) & (cuts["via"] == "all")].iloc[0]
    assert told["two-induction"].value == f"{cut['intact']:.2f} → {cut['without']:.2f}"

    rows = {row[0]: row for row in beside_the_papers(results, SETTINGS).rows}
    copying = int(results.models["one"].heads["copies"].sum())
    assert rows["one: how many heads copy?"][1:3] == ("10 of 12", f"{copying} of 3")
    assert rows["zero: do zero layers learn bigrams?"][2].startswith("2.50 ± 0.04 nats")
    assert not [name for name in rows if name.startswith("two")]


def claimed(hostile, name: str, anchor: str, **tables: pd.DataFrame) -> tuple[str, str]:
    """The headline and its value with some tables of a model exchanged."""
    model = hostile.models[name]
    part = "accounted" if "ladder" in tables else "composed"
    changed = replace(model, **{part: replace(getattr(model, part), **tables)})
    found = findings(study_of(replace(hostile, models=hostile.models | {name: changed}))).rows
    (told,) = (f for f in found if f.evidence.anchor == anchor)
    return told.claim, told.value


@pytest.mark.parametrize(
    ("lost", "error", "claim", "value"),
    [
        (0.5, 0.1, "50% of what attention adds needs no matching of tokens", "0.50 [0.30, 0.70] nats"),
        (0.5, 0.3, "Attention is not shown to add anything to model one", "0.5 [-0.1, 1.1] nats"),
        (-0.5, 0.1, "Attention is not shown to add anything to model one", "-0.50 [-0.70, -0.30] nats"),
        (0.0, 0.0, "Attention is not shown to add anything to model one", "0.000 [0.000, 0.000] nats"),
    ],
    ids=["more than its interval", "within its interval", "harm", "no heads at all"],
)
def test_attention_adds_something_where_the_loss_without_it_lies_above_its_interval(hostile, lost, error, claim, value):
    ladder = hostile.models["one"].accounted.ladder.copy()
    every = ladder["layers"] == "all"
    whole = float(ladder.loc[every & (ladder["rung"] == "whole model"), "loss"].iloc[0])
    for rung, share_of_it in (("direct path", 1.0), ("source salience", 0.5)):
        here = every & (ladder["rung"] == rung)
        ladder.loc[here, ["loss", "lost", "lost_se"]] = [whole + share_of_it * lost, share_of_it * lost, error]
    told = claimed(hostile, "one", "one-account", ladder=ladder)
    assert told == (claim, value)


@pytest.mark.parametrize(("change", "error", "needed"), [(-0.3, 0.1, True), (-0.3, 0.2, False), (0.3, 0.1, False)])
def test_a_head_makes_another_an_induction_head_where_the_change_without_it_lies_below_zero(
    hostile, change, error, needed
):
    cuts = hostile.models["two"].composed.knockouts.assign(intact=0.5, without=0.5 + change, change=change)
    claim, value = claimed(hostile, "two", "two-induction", knockouts=cuts.assign(change_se=error))
    heads = hostile.models["two"].heads.set_index("name")
    to = heads["prefix_matching"].drop(["L0H0", "L0H1", "L0H2"]).idxmax()
    from_ = heads["previous_token"].drop(["L1H0", "L1H1", "L1H2"]).idxmax()
    assert value == f"0.50 → {0.5 + change:.2f}"
    assert claim == (
        f"{from_} makes {to} an induction head: it repeats what came next"
        if needed
        else f"No head is shown to make another an induction head: {to} does without {from_}"
    )


def test_attention_by_offset_has_a_column_per_head(hostile):
    table = attention_by_offset(hostile.models["two"])
    assert list(table.columns) == ["offset", "L0H0", "L0H1", "L0H2", "L1H0", "L1H1", "L1H2"]
    assert table["offset"].tolist() == list(range(7))
    assert table["L0H0"].iloc[0] == pytest.approx(hostile.models["two"].offsets["text"].iloc[0])


def test_git_object_ids_are_gits_own(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"what is up, doc?")
    assert git_blob(path) == "bd9dbf5aae1a3862dd1526723246b20206e5fc37"


def test_parameters_are_flattened_in_their_order():
    content = yaml.safe_load("a: {b: 1, c: [x, 'y: z']}\nd: true")
    assert flat(content) == ["a.b: 1", "a.c: x, y: z", "d: True"]


def test_every_question_shows_one_model_at_a_time(built):
    """Model two is on planted text: its sections are the control, and no question of the others shows it."""
    shown = {part.question.anchor: part for part in render.parts(built) if part.question}
    assert list(shown) == [
        "zero-layers", "attention", "which-skip-trigrams", "which-heads", "what-heads-read",
        "how-heads-compose", "how-features-share-space", "control",
    ]  # fmt: skip
    assert [name for name, _ in shown["zero-layers"].groups] == ["zero", "one"]
    assert (shown["zero-layers"].question.chosen, shown["which-heads"].question.chosen) == ("zero", "one")
    assert {name for name, _ in shown["control"].groups} == {"two"} and shown["control"].question.folded
    page = render.html(built)
    switched = [len(p.groups) for p in shown.values() if len(p.groups) > 1 and not p.question.folded]
    assert 2 in switched  # zero and one
    assert page.count('type="radio"') == page.count('class="panel"') == sum(switched)
    assert "ot applicable" not in page
    numbers = [b.number for s in built.sections for b in s.blocks if isinstance(b, Figure)]
    assert numbers == list(range(1, len(numbers) + 1))


def test_every_section_that_is_written_is_in_the_report():
    modules = [import_module(m.name) for m in walk_packages(sections.__path__, "skiptrace.report.sections.")]
    functions = [f for m in modules for _, f in getmembers(m, isfunction) if f.__module__ == m.__name__]
    written = {f for f in functions if f.__annotations__.get("return") in (Section, Section | None)}
    listed = [make for part in PARTS if not part.control for make in part.sections]
    of_control = {truth.truth, control.control_study}
    assert {*listed, *of_control} == written and len(listed) == len(written) - len(of_control)


@pytest.mark.parametrize(("slope", "said"), [(-0.5, "lower"), (0.5, "higher")])
def test_the_words_on_learning_in_context_have_its_sign(hostile, slope, said):
    one = hostile.models["one"]
    position = range(1, one.params.n_ctx)
    losses = pd.DataFrame({"position": position, "loss": [5 + slope * p for p in position]})
    told = late_against_early(replace(one, losses=losses), 2)
    assert told.split()[1:] == ["nats", said, *["late", "in", "the", "context", "than", "early", "in", "it"]]
    assert float(told.split()[0]) > 0


def test_what_is_undefined_or_without_end_is_no_number_in_metrics():
    given = {"a": {"x": float("nan"), "y": 1.5, "n": 3}, "intervals": {"y": [float("-inf"), 2.0]}, "z": float("inf")}
    assert _finite(given) == {"a": {"y": 1.5, "n": 3}, "intervals": {"y": [None, 2.0]}}
