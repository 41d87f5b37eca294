"""Read the outputs of all stages, for the stages that summarise them."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from skiptrace.account import tables as account
from skiptrace.circuits.tables import HEADS, OFFSETS, SPREADS
from skiptrace.composition import tables as composition
from skiptrace.config.base import load
from skiptrace.config.dictionaries import ToyDictionaryParams
from skiptrace.config.features import FeaturesParams
from skiptrace.config.models import AnyModel, ModelShape
from skiptrace.config.pipeline import load_pipeline
from skiptrace.config.rules import RulesParams
from skiptrace.control import tables as control
from skiptrace.corpora import card
from skiptrace.dictionary.tables import CONTEXTS, DENSITIES, FEATURES, HYBRID, SWEEP, TOY_SWEEP
from skiptrace.directions import tables as directions
from skiptrace.errors import InputError
from skiptrace.evidence.tables import BUGS, CHECKED, COSTS, FUNNEL, MATCHED, SCORES
from skiptrace.exploration import tables as exploration
from skiptrace.features import tables as features
from skiptrace.files import read_json
from skiptrace.layout import (
    ACCOUNT,
    COMPOSE,
    CONTROL,
    CORPORA,
    DICTIONARY,
    DIRECTIONS,
    EVIDENCE,
    EXPLORE,
    FEATURED,
    MODELS,
    NGRAMS,
    PARAMS,
    RULES,
    SUPERPOSITION,
    TABLES,
    TOKENS,
)
from skiptrace.mining.tables import (
    AGREEMENT,
    BIGRAMS,
    COPIES,
    K_COMPOSITION,
    POSITIONAL,
    SKIP_TRIGRAMS,
    VIRTUAL_OV,
)
from skiptrace.models.checkpoint import read_config
from skiptrace.models.config import ModelConfig
from skiptrace.models.tables import CURVE, LOSSES
from skiptrace.report.inputs import (
    Accounted,
    Composition,
    CorpusResult,
    DictionaryResult,
    Directed,
    Exploration,
    Featured,
    ModelResult,
    Results,
    Split,
)
from skiptrace.rules.tables import SHARES
from skiptrace.superposition import tables as superposition
from skiptrace.tables import declared
from skiptrace.tokens.tables import BIGRAMS as COUNTS
from skiptrace.tokens.tables import VOCAB

MINED = (
    HEADS, OFFSETS, LOSSES, SPREADS, BIGRAMS, AGREEMENT, SKIP_TRIGRAMS, POSITIONAL, COPIES, VIRTUAL_OV, K_COMPOSITION,
)  # fmt: skip


def read_results() -> Results:
    """All corpora and models that params.yaml names."""
    pipeline = load_pipeline(PARAMS)
    corpora = {}
    for name, params in pipeline.corpora.items():
        sizes = _json(TOKENS / name / "sizes.json", "train", "valid", "survival")
        baselines = _json(NGRAMS / name / "baselines.json", "unigram_loss", "bigram_loss", "ngram_losses")
        corpora[name] = CorpusResult(
            params=params,
            tokenizer=pipeline.tokenizers[name],
            train=Split(**sizes["train"]),
            valid=Split(**sizes["valid"]),
            unigram_loss=baselines["unigram_loss"],
            bigram_loss=baselines["bigram_loss"],
            ngram_losses=baselines["ngram_losses"],
            vocabulary=VOCAB.read(TOKENS / name),
            bigrams=COUNTS.read(NGRAMS / name),
            card=card.read(CORPORA / name / "card.json"),
            survival=card.Survival(**sizes["survival"]),
        )
    featured = {
        name: Featured(**{table.name: table.read(FEATURED / name) for table in declared(features)})
        for name in load(FeaturesParams, "features", PARAMS).models
    }
    ruled = {name: SHARES.read(RULES / name) for name in load(RulesParams, "rules", PARAMS).models}
    models = {}
    for name, model in pipeline.models.items():
        tables = {table.name: table.read(TABLES / name) for table in MINED}
        tables |= {table.name: table.read(EVIDENCE / name) for table in (MATCHED, FUNNEL, BUGS, COSTS, SCORES)}
        tables |= {"evidence": CHECKED.read(EVIDENCE / name), "curve": CURVE.read(MODELS / name)}
        parts = {table.name: table.read(COMPOSE / name) for table in declared(composition)}
        accounted = {table.name: table.read(ACCOUNT / name) for table in declared(account)}
        directed = {table.name: table.read(DIRECTIONS / name) for table in declared(directions)}
        looked = {table.name: table.read(EXPLORE / name) for table in declared(exploration)}
        config = read_config(MODELS / name / "config.json")
        models[name] = ModelResult(
            params=shape(model, config),
            d_vocab=config.d_vocab,
            config=config,
            composed=Composition(**parts),
            explored=Exploration(**looked),
            accounted=Accounted(**accounted),
            directed=Directed(**directed),
            featured=featured.get(name),
            rules=ruled.get(name),
            **tables,
        )
    toys = {table.name: table.read(SUPERPOSITION) for table in declared(superposition)}
    dictionaries = {}
    for name, dictionary in pipeline.dictionaries.items():
        toy = isinstance(dictionary, ToyDictionaryParams)
        sweep = (TOY_SWEEP if toy else SWEEP).read(DICTIONARY / name)
        looked_into = [table.read(DICTIONARY / name) for table in (() if toy else (DENSITIES, FEATURES, CONTEXTS))]
        densities, entries, contexts = looked_into or [pd.DataFrame()] * 3
        eased = HYBRID.read(DICTIONARY / name) if toy else pd.DataFrame()
        dictionaries[name] = DictionaryResult(dictionary, sweep, densities, entries, contexts, eased)
    controlled = {table.name: table.read(CONTROL) for table in declared(control)}
    return Results(corpora, models, toys, dictionaries, controlled)


def shape(model: AnyModel, config: ModelConfig) -> ModelShape:
    """The sizes of a model, which only its checkpoint knows if it was imported."""
    if isinstance(model, ModelShape):
        return model
    found = asdict(config)
    return ModelShape(corpus=model.corpus, **{k: found[k] for k in ModelShape.model_fields if k != "corpus"})


def _json(path: Path, *needed: str) -> Any:
    """A JSON file that has at least these keys."""
    value = read_json(path)
    if missing := [key for key in needed if not isinstance(value, dict) or key not in value]:
        raise InputError(f"{path}: {', '.join(missing)} missing; it is of another version: reproduce its stage")
    return value
