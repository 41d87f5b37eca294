import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from skiptrace.circuits.factored import direct, heads, k_composition, ov, pairs, qk, virtual_ov
from skiptrace.circuits.paths import label
from skiptrace.circuits.scores import score_heads
from skiptrace.composition.induction import formation
from skiptrace.composition.study import study
from skiptrace.config.composition import CompositionParams
from skiptrace.config.corpora import FilesCorpus
from skiptrace.config.mining import MiningParams
from skiptrace.config.models import ModelParams
from skiptrace.config.report import ReportParams
from skiptrace.config.scoring import ScoringParams
from skiptrace.config.tokenizers import TokenizerParams
from skiptrace.config.verification import VerificationParams
from skiptrace.evidence import bugs, truth
from skiptrace.evidence.verification import Streams, verify
from skiptrace.mining import bigrams, skip_trigrams, virtual
from skiptrace.mining.vocabulary import Vocabulary
from skiptrace.report import composition, figures, provenance, render
from skiptrace.report.document import Example, Examples, Report, Tokens
from skiptrace.report.inputs import Composition, CorpusResult, ModelResult, Results, Settings, Split, Weights
from skiptrace.report.metrics import attention_by_offset, in_context_learning, metrics, targets
from skiptrace.report.sections import build
from skiptrace.report.skip_trigrams import published_rows
from tests.report.test_tokens import HOSTILE, Reader

SCORING = ScoringParams(
    seed=0, null_draws=5, null_sd=3.0, repeated_tokens=2, repeats=2, sequences=2, positional_share=0.5,
    positional_attention=0.15,
)  # fmt: skip
VERIFICATION = VerificationParams(seed=0, rows=20, contexts=4, context_tokens=6, null_rows=10, fdr=0.5, quartets=3)
MINING = MiningParams(
    ranking="published",
    context=8,
    bigrams=9,
    sources=4,
    destinations=3,
    outs=3,
    min_count=1,
    frequency_power=0.1,
    frequent_tokens=5,
    largest=4,
    bins=8,
)
REPORT = ReportParams(bigrams=5, sources_per_head=2, corner=6, offsets=5)
COUNTS = pd.DataFrame({"token_id": [1, 1, 1, 2], "next_id": [2, 3, 4, 1], "count": [5, 2, 1, 4]})
COMPOSITION = CompositionParams(
    seed=0, null_draws=5, null_sd=1.0, contexts=3, repeated_tokens=2, repeats=2, subspace_share=0.9, examples=1,
    example_tokens=5, word_pairs={}, pairs_per_family=5, min_count=0,
)  # fmt: skip
SETTINGS = Settings(SCORING, MINING, VERIFICATION, COMPOSITION, REPORT)


def composed(model, stream, vocabulary) -> Composition:
    words = pd.DataFrame({"token": vocabulary.token, "count": vocabulary.count})
    tables = dict(study(model, stream, words, COMPOSITION))
    every = [virtual.PairCircuits(label(p), virtual_ov(model, *p), k_composition(model, *p)) for p in pairs(model)]
    tables["virtual_outs"] = virtual.mine_virtual(every, vocabulary, MINING).to_pandas()
    tables["wanted"] = virtual.mine_wanted(every, vocabulary, MINING).to_pandas()
    kept = [(1, model), (2, model)] if model.n_layers > 1 else []
    return Composition(formation=formation(kept, stream, COMPOSITION), **tables)


def best_outs(circuits, vocabulary):
    return skip_trigrams.best_outs(circuits.ov, vocabulary, MINING).assign(layer=circuits.layer, head=circuits.head)


def result(model, tokens, vocabulary) -> ModelResult:
    shape = {"n_layers": model.n_layers, "n_heads": model.n_heads, "d_head": model.d_head, "d_model": model.d_model}
    training = {"steps": 10, "batch_size": 1, "warmup_steps": 1, "lr_embedding": 0.1, "lr_attention": 0.1}
    params = ModelParams(corpus="mine", seed=0, n_ctx=model.n_ctx, weight_decay=0.0, **shape, **training)
    table, offsets = score_heads(model, tokens, SCORING)
    table["positional"] = table["head"] == 0
    top, agreement = bigrams.mine(direct(model), COUNTS, vocabulary, MINING)
    found = [skip_trigrams.Circuits(*h, qk(model, *h), ov(model, *h)) for h in heads(model)]
    acting = [best_outs(c, vocabulary) for c in found if c.head == 0]
    copied = [skip_trigrams.copies(c.ov, vocabulary, MINING).assign(layer=c.layer, head=c.head) for c in found]
    selected = [skip_trigrams.of_head(c, vocabulary, MINING) for c in found]
    curve = pd.DataFrame({"step": [1, 2], "tokens": [6, 12], "train_loss": [3.1, 2.9], "valid_loss": [3.0, 2.8]})
    losses = pd.DataFrame({"position": np.arange(1, 7), "loss": [3.0, 2.9, 2.5, 2.4, 2.2, 2.0]})
    mined = skip_trigrams.mine(selected, vocabulary, MINING).to_pandas()
    stream = np.random.default_rng(0).integers(0, 23, 500)
    evidence = verify(model, mined, Streams(stream, stream[:200], vocabulary.count.to_numpy()), VERIFICATION)
    quartet = dict.fromkeys(bugs.COLUMNS, 1) | {"positions_21": 0, "cost_21": np.nan, "destination_1_id": 2}
    crossed = bugs.with_texts(pd.DataFrame([quartet]), vocabulary.token)
    scores = [] if model.n_layers < 2 else truth.score("skip_trigrams", "OV alone", {(1, 2, 3)}, [(1, 2, 3), (4, 5, 6)])
    return ModelResult(
        params=params,
        heads=table,
        offsets=offsets,
        losses=losses,
        curve=curve,
        bigrams=top.to_pandas(),
        agreement=agreement.to_pandas(),
        skip_trigrams=mined,
        positional=skip_trigrams.mine_positional(acting, vocabulary).to_pandas(),
        copies=skip_trigrams.mine_copies(copied, vocabulary).to_pandas(),
        evidence=evidence,
        bugs=crossed,
        truth=truth.to_frame(scores),
        bill=0.01,
        composed=composed(model, stream, vocabulary),
    )


@pytest.fixture(scope="module")
def hostile(make_model, tokens):
    """Results whose tokens try to break out of every page."""
    names = [*HOSTILE, "$x^2$", "\n", " ", "\u202e", "\x00", "'", "=cmd()", "x" * 10_000]
    token = pd.Series((names * 2)[:23])
    count = pd.Series(range(23, 0, -1))
    vocabulary = Vocabulary(token, count, torch.tensor(count.to_numpy() / count.sum(), dtype=torch.float32))
    table = pd.DataFrame({"token_id": range(23), "token": token, "count": count, "probability": count / count.sum()})
    corpus = CorpusResult(
        FilesCorpus(kind="files", path="x", valid_share=0.1), TokenizerParams(vocab_size=300),
        Split(9, 900, 300), Split(1, 90, 30), 3.1, 2.85, table, COUNTS,
    )  # fmt: skip
    models = {"zero": make_model(0), "one": make_model(1).float(), "two": make_model(2).float()}
    models["zero"] = models["zero"].float()
    results = Results({"mine": corpus}, {n: result(m, tokens, vocabulary) for n, m in models.items()})
    return results, Weights(models)


@pytest.fixture(scope="module")
def built(hostile, tmp_path_factory):
    """The report on those results, and the folder of its figures."""
    folder = tmp_path_factory.mktemp("report") / "figures"
    return build(*hostile, SETTINGS, folder), folder


def test_hostile_tokens_are_inert_in_both_forms(built):
    report, folder = built
    told = provenance.section([], [], ["a.b: <script>", "c: 1"])
    report = replace(report, sections=[*report.sections, told])
    page = render.html(report)
    reader = Reader()
    reader.feed(page)
    assert not {"script", "img", "b", "iframe", "object"} & set(reader.elements)
    assert "onerror=alert" not in re.sub(r"<code[^>]*>.*?</code>|<text.*?</text>|<!--.*?-->", "", page, flags=re.DOTALL)
    assert len(page) < 2_000_000
    text = render.markdown(report, folder)
    assert "<script" not in text and "<img" not in text
    for block in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1, block


def test_the_same_results_give_the_same_bytes(hostile, built, tmp_path):
    again = tmp_path / "figures"
    assert render.html(build(*hostile, SETTINGS, again)) == render.html(built[0])
    drawn = [{p.name: p.read_bytes() for p in folder.iterdir()} for folder in (built[1], again)]
    assert drawn[0] == drawn[1]
    always = {"paths", "terms", "virtual_weights", "overlaps", "deletion", "copying", "offsets", "ov", "qk", "effects"}
    deeper = {"composition", "composition_graph", "corner", "knockouts", "formation"}
    expected = {f"{kind}_one" for kind in always} | {f"{kind}_two" for kind in always | deeper}
    assert {name.removesuffix(".svg") for name in drawn[0]} == expected | {"loss_curves", "bigrams_zero"}


def test_ids_are_unique_and_every_reference_is_met(built):
    page = render.html(built[0])
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert not [i for i in ids if ids.count(i) > 1]
    referred = set(re.findall(r'href="#([^"]+)"', page)) | set(re.findall(r"url\(#([^)]+)\)", page))
    assert referred <= set(ids)
    assert not re.search(r'(src|href)="(?!#|data:image/png;)', page)


def test_what_is_undefined_is_said_to_be(make_model, tokens, hostile, tmp_path):
    """Three layers of one head as wide as the stream: no angles, no K-composition in layer 0, no families."""
    results = hostile[0]
    corpus = results.corpora["mine"]
    count = corpus.vocabulary["count"]
    probability = torch.tensor(corpus.vocabulary["probability"].to_numpy(), dtype=torch.float32)
    vocabulary = Vocabulary(pd.Series([f"t{i}" for i in range(23)]), count, probability)
    model = make_model(3, n_heads=1, d_head=10).float()
    found = replace(corpus, vocabulary=corpus.vocabulary.assign(token=vocabulary.token))
    deep = Results({"mine": found}, {"deep": result(model, tokens, vocabulary)})
    sections = composition.sections("deep", deep.models["deep"], found, SETTINGS, tmp_path)
    page = render.html(Report("deep", "", sections))
    cells = re.findall(r"<td[^>]*>(.*?)</td>", page)
    assert "n/a" in cells
    assert not [cell for cell in cells if "nan" in cell]
    assert "nan" not in " ".join(re.findall(r"<p>(.*?)</p>", page))


def test_the_published_row_of_a_source():
    rows = [("d1", "o1", 1, 3.0), ("d1", "o2", 2, 2.0), ("d2", "o1", 3, 3.0), ("d2", "o2", 4, 2.0)]
    group = pd.DataFrame(rows, columns=["destination", "out", "rank", "ov"]).assign(source="·a")
    group["destination_id"], group["out_id"] = group["destination"].str[1:], group["out"].str[1:]
    shuffled = group.iloc[[2, 0, 3, 1]]
    source, destinations, outs, examples = published_rows(shuffled)
    assert (source, destinations, outs) == (Tokens(("·a",)), Tokens(("d1", "d2")), Tokens(("o1", "o2")))
    assert examples == Examples((Example("·a", "…", ("d1", "o1")), Example("·a", "…", ("d2", "o2"))))


def test_metrics_by_hand(hostile):
    results = hostile[0]
    found = metrics(results)["models"]
    assert found["one"]["valid_loss"] == pytest.approx(2.5)
    assert found["one"]["bigram_loss"] == pytest.approx(2.85)
    assert found["one"]["positional_heads"] == 1
    assert found["one"]["bug_cost_nats"] == 0.01
    assert 0 <= found["one"]["verified_share"] <= 1
    assert "previous_token_max" not in found["zero"]
    # A context of 7: late is 500/512 of it, position 6; early is 50/512, position 1.
    assert in_context_learning(results.models["one"]) == pytest.approx(2.0 - 3.0)


def test_targets_by_hand(hostile):
    results = hostile[0]
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


def test_attention_by_offset_has_a_column_per_head(hostile):
    table = attention_by_offset(hostile[0].models["two"])
    assert list(table.columns) == ["offset", "L0H0", "L0H1", "L0H2", "L1H0", "L1H1", "L1H2"]
    assert table["offset"].tolist() == list(range(7))
    assert table["L0H0"].iloc[0] == pytest.approx(hostile[0].models["two"].offsets["text"].iloc[0])


def test_a_failing_figure_leaves_no_file(tmp_path):
    with pytest.raises(RuntimeError), figures.figure(tmp_path / "a.svg", 2.0, 2.0):
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_git_object_ids_are_gits_own(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"what is up, doc?")
    assert provenance.git_blob(path) == "bd9dbf5aae1a3862dd1526723246b20206e5fc37"


def test_parameters_are_flattened_in_their_order():
    content = yaml.safe_load("a: {b: 1, c: [x, 'y: z']}\nd: true")
    assert provenance.flat(content) == ["a.b: 1", "a.c: x, y: z", "d: True"]


def test_navigation_groups_the_sections_of_a_model(built):
    sections = {s.title: (s.group, s.short) for s in built[0].sections}
    assert sections["Summary"] == ("", "Summary")
    assert sections["two: heads"] == ("two", "heads")
    page = render.html(built[0])
    assert page.count("<summary>") == 3
    assert page.index("<summary>zero<") < page.index("<summary>one<") < page.index("<summary>two<")
