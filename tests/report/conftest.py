"""Results on random weights and hostile tokens, small enough to be reported in seconds."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch

from skiptrace.account import examples
from skiptrace.account import study as account
from skiptrace.account.entries import applies, split
from skiptrace.account.formed import formed
from skiptrace.account.listing import listed, with_chosen
from skiptrace.account.orders import Published
from skiptrace.account.twins import headlines, overlaps
from skiptrace.circuits import seeds
from skiptrace.circuits.factored import direct, heads, ov, qk
from skiptrace.circuits.scores import score_heads
from skiptrace.composition.formation import formation
from skiptrace.composition.heads import strongest_keys
from skiptrace.composition.study import study
from skiptrace.config.account import AccountParams
from skiptrace.config.composition import CompositionParams
from skiptrace.config.corpora import FilesCorpus
from skiptrace.config.directions import DirectionsParams
from skiptrace.config.exploration import ExplorationParams
from skiptrace.config.features import FeaturesParams
from skiptrace.config.mining import MiningParams
from skiptrace.config.models import ModelParams
from skiptrace.config.report import ReportParams
from skiptrace.config.rules import RulesParams
from skiptrace.config.scoring import ScoringParams
from skiptrace.config.tokenizers import TokenizerParams
from skiptrace.config.verification import VerificationParams
from skiptrace.devices import CPU
from skiptrace.directions.study import study as split_heads
from skiptrace.evidence import bugs, truth
from skiptrace.evidence.funnel import funnel, judged
from skiptrace.evidence.nulls import StandIn, stand_in
from skiptrace.evidence.support import Positions
from skiptrace.evidence.tables import COSTS
from skiptrace.evidence.used import use
from skiptrace.evidence.verification import Streams, verify
from skiptrace.exploration.study import Known, Text, explore
from skiptrace.features.study import study as study_features
from skiptrace.mining import bigrams, skip_trigrams, virtual
from skiptrace.mining.vocabulary import Vocabulary
from skiptrace.models.windows import spread_windows
from skiptrace.report.contents import build
from skiptrace.report.inputs import (
    Accounted,
    Composition,
    CorpusResult,
    Directed,
    Exploration,
    Featured,
    ModelResult,
    Provenance,
    Results,
    Settings,
    Split,
    Study,
)
from skiptrace.rules.study import Checkpoint
from skiptrace.rules.study import study as study_rules
from tests.report.test_tokens import HOSTILE

SCORING = ScoringParams(
    seed=0, null_draws=5, null_sd=3.0, repeated_tokens=2, repeats=2, sequences=2, loss_contexts=9, positional_share=0.5,
    positional_attention=0.15,
)  # fmt: skip
VERIFICATION = VerificationParams(
    seed=0, rows=20, contexts=4, context_tokens=6, null_rows=10, fdr=0.5, quartets=3, matched_rows=10
)
COSTED = pd.DataFrame(
    [
        ("crossings", 2, -0.031, -0.062, 0.001, 40, 9),
        ("crossings: contradicted", 1, 0.0021, 0.0012, 0.0031, 20, 7),
        ("crossings: too rare to say", 0, np.nan, np.nan, np.nan, 0, 0),
        ("bound: unsupported rows", 12, 0.01, 0.008, 0.012, 90, 9),
        ("bound: unsupported entries", 0, 1.74, 1.56, 1.92, 64, 9),
        ("factoring: saved by a table of triples beyond them", 4, 0.09, 0.08, 0.1, 90, 9),
        ("bound: contradicted entries", 0, 0.22, 0.18, 0.26, 64, 9),
    ],
    columns=COSTS.names,
)
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
ACCOUNT = AccountParams(contexts=3, selection=2, entries=[3, 10], rows=4, shown_rows=5, edges=8, edge_places=8)
EXPLORATION = ExplorationParams(tokens=20, entries=3, corner=6)
DIRECTIONS = DirectionsParams(null_draws=3, shown=3, tokens=3, removed=2, random_directions=2, contexts=2, gap=0.1)
FEATURES = FeaturesParams(
    models={}, seed=0, entries=6, k=2, steps=9, batch_size=8, learning_rate=0.01, resample_every=3, windows=6,
    selection=2, rows=6, checked=4, places=4, tokens=3,
)  # fmt: skip
RULES = RulesParams(models={}, contexts=9, window=3, places=400, min_count=2)
REPORT = ReportParams(bigrams=5, sources_per_head=2, offsets=5, explorer_rows=60)
COUNTS = pd.DataFrame({"token_id": [1, 1, 1, 2], "next_id": [2, 3, 4, 1], "count": [5, 2, 1, 4]})
COMPOSITION = CompositionParams(examples=1, example_tokens=5, word_pairs={}, pairs_per_family=5, min_count=0)
SETTINGS = Settings(SCORING, MINING, VERIFICATION, COMPOSITION, REPORT)


NOWHERE = Provenance([], [], ["a.b: <script>", "c: 1"])


def study_of(results, settings=SETTINGS, **subject) -> Study:
    return Study(results, settings, NOWHERE, **subject)


def on_the_way(model):
    """Checkpoints of a training whose heads began with nothing to say."""
    first = copy.deepcopy(model)
    for block in first.blocks:
        block.q.data.zero_()
        block.o.data.mul_(0.1)
    return [(1, first), (4, first), (9, model)]


def composed(model, stream, vocabulary, scored) -> Composition:
    words = pd.DataFrame({"token": vocabulary.token, "count": vocabulary.count})
    tables = {table.name: rows for table, rows in study(model, stream, words, scored, SCORING, COMPOSITION)}
    kept = on_the_way(model) if model.n_layers > 1 else []
    along = formation(kept, stream, SCORING, strongest_keys(tables["composition"]))
    return Composition(formation=along, **tables)


def best_outs(circuits, vocabulary):
    return skip_trigrams.best_outs(circuits.ov, vocabulary, MINING).assign(layer=circuits.layer, head=circuits.head)


def directed(model, vocabulary, stream) -> Directed:
    windows = spread_windows(stream, model.n_ctx, 2)
    twins = [model] if model.n_layers == 1 else []
    return Directed(**split_heads(model, vocabulary.probability, vocabulary.eligible(1), windows, DIRECTIONS, twins))


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
    losses = losses.assign(mean_se=0.021, learning_se=0.04)
    mined = skip_trigrams.mine(selected, vocabulary, MINING).to_pandas()
    stream = np.random.default_rng(0).integers(0, 23, 500)
    streams = Streams(stream, stream[:200], vocabulary.count.to_numpy())
    checked = verify(model, mined, streams, VERIFICATION)
    arms = {}
    for kind in StandIn:
        other = stand_in(model, kind, 0)
        found_there = skip_trigrams.of_model(other, vocabulary, MINING)
        rows = verify(other, found_there, streams, VERIFICATION, VERIFICATION.matched_rows)
        arms[kind.value] = pd.concat([rows, use(other, rows, stream, 6, 8, 0.5)], axis=1)
    twins = [mined] if model.n_layers == 1 else []
    evidence = judged(checked, arms["rotated"], twins, VERIFICATION)
    evidence = pd.concat([evidence, use(model, evidence, stream, 6, 8, 0.5)], axis=1)
    evidence["survives"] = np.arange(len(evidence)) % 3 == 0  # of random heads hardly any row would
    arms = {kind: judged(rows, arms["rotated"], twins, VERIFICATION) for kind, rows in arms.items()}
    said = {"support_12": "contradicted", "support_21": "too rare to say"}
    quartet = dict.fromkeys(bugs.COLUMNS, 1.0) | said | {"positions_21": 0, "cost_21": np.nan, "destination_1_id": 2}
    crossed = bugs.with_texts(pd.DataFrame([quartet]), vocabulary.token)
    scores = [] if model.n_layers < 2 else truth.score("skip_trigrams", "OV alone", {(1, 2, 3)}, [(1, 2, 3), (4, 5, 6)])
    composition = composed(model, stream, vocabulary, table)
    known = Known(table, mined, agreement.to_pandas(), composition.example_texts)
    looked = explore(model, known, vocabulary, Text(stream[:200], COUNTS), MINING.min_count, EXPLORATION)
    frequency = torch.tensor(vocabulary.count.to_numpy() / vocabulary.count.sum(), dtype=torch.float32)
    text = account.Text(stream, stream, frequency, vocabulary.token)
    published = Published(vocabulary.eligible_ids(MINING.min_count), MINING.frequency_power)
    accounted = account.account(model, text, ACCOUNT, published)
    parts = split(model, frequency) if applies(model) else None
    asked = with_chosen(model, evidence, accounted.skip_trigrams, streams, VERIFICATION)
    rows = listed(asked, parts, text, 0).assign(readable=True, support="supported")  # of random text hardly any would
    tested = rows.assign(chosen_use="used", used_places=40, used_nats=0.25, used_se=0.05)
    recur = [(model, mined)] if model.n_layers == 1 else []
    shown = account.of_shown_rows(model, text, rows[rows["mined"]], ACCOUNT)
    listing = {
        "curve": pd.concat([accounted.curve, shown], ignore_index=True),
        "rows": rows,
        "examples": examples.first(tested, Positions(stream, 23, 5), vocabulary.token),
        "formed": formed(on_the_way(model) if model.n_layers > 1 else [], rows, streams, VERIFICATION),
        "confirmed": examples.tested(model, rows, text, ACCOUNT, 6, 0.5).confirmed,
        "overlaps": overlaps(model, mined, recur, text, 0),
        "headlines": headlines(accounted.ladder, [twin for twin, _ in recur], text, ACCOUNT),
    }
    of_words = [model, text, vocabulary, FEATURES, ACCOUNT, MINING, 0.5]
    featured = study_features(*of_words) if applies(model) else None
    points = [Checkpoint(step, 6 * step, model) for step in (1, 2)]
    ruled = study_rules(points, stream, stream[:200], mined, model.n_ctx, model.d_vocab, RULES)
    of_heads = seeds.numbers(table, losses)
    return ModelResult(
        params=params,
        heads=table,
        offsets=offsets,
        losses=losses,
        spreads=seeds.spreads(of_heads, [of_heads] * len(recur)),
        curve=curve,
        bigrams=top.to_pandas(),
        agreement=agreement.to_pandas(),
        skip_trigrams=mined,
        positional=skip_trigrams.mine_positional(acting, vocabulary).to_pandas(),
        virtual_ov=virtual.mine_virtual_ov(virtual.pair_circuits(model, 99, CPU), vocabulary, MINING).to_pandas(),
        k_composition=virtual.mine_k_composition(virtual.pair_circuits(model, 99, CPU), vocabulary, MINING).to_pandas(),
        copies=skip_trigrams.mine_copies(copied, vocabulary).to_pandas(),
        evidence=evidence,
        matched=pd.concat([rows.assign(heads=kind) for kind, rows in arms.items()], ignore_index=True),
        funnel=funnel({"trained": evidence, **arms}, VERIFICATION),
        bugs=crossed,
        costs=COSTED if model.n_layers else COSTED.iloc[:0],
        truth=truth.to_frame(scores),
        composed=composition,
        explored=Exploration(**looked),
        accounted=Accounted(**(accounted._asdict() | listing)),
        directed=directed(model, vocabulary, stream),
        featured=Featured(**featured._asdict()) if featured else None,
        rules=ruled,
        d_vocab=model.d_vocab,
    )


@pytest.fixture(scope="session")
def hostile(make_model, tokens):
    """Results whose tokens try to break out of every page."""
    names = [
        *HOSTILE,
        "$x^2$",
        "\n",
        " ",
        "\u202e",
        "\x00",
        "'",
        "=cmd()",
        "x" * 10_000,
        "<img src=x onerror=alert(1)>&",
    ]
    token = pd.Series((names * 2)[:23])
    count = pd.Series(range(23, 0, -1))
    vocabulary = Vocabulary(token, count, torch.tensor(count.to_numpy() / count.sum(), dtype=torch.float32))
    table = pd.DataFrame({"token_id": range(23), "token": token, "count": count, "probability": count / count.sum()})
    corpus = CorpusResult(
        FilesCorpus(kind="files", path="x", valid_share=0.1), TokenizerParams(vocab_size=300),
        Split(9, 900, 300), Split(1, 90, 30), 3.1, 2.85, [3.1, 2.85, 2.7, 2.6, 2.55], table, COUNTS,
    )  # fmt: skip
    models = {"zero": make_model(0), "one": make_model(1).float(), "two": make_model(2).float()}
    models["zero"] = models["zero"].float()
    return Results({"mine": corpus}, {n: result(m, tokens, vocabulary) for n, m in models.items()})


@pytest.fixture(scope="session")
def built(hostile):
    """The report on those results."""
    return build(study_of(hostile))
