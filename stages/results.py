"""Read everything that the aggregate stages tell of."""

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pandas as pd

from skiptrace.config.dictionaries import ToyDictionaryParams
from skiptrace.config.models import AnyModel, ModelShape
from skiptrace.config.pipeline import load_pipeline
from skiptrace.corpora import card
from skiptrace.files import read_json
from skiptrace.layout import (
    COMPOSE,
    CORPORA,
    DICTIONARY,
    EVIDENCE,
    EXPLORE,
    MODELS,
    NGRAMS,
    PARAMS,
    SUPERPOSITION,
    TABLES,
    TOKENS,
)
from skiptrace.models.checkpoint import ModelConfig, read_config
from skiptrace.report import schema
from skiptrace.report.inputs import (
    Composition,
    CorpusResult,
    DictionaryResult,
    Exploration,
    ModelResult,
    Results,
    Split,
)


def read_results() -> Results:
    """All corpora and models that params.yaml names."""
    pipeline = load_pipeline(PARAMS)
    corpora = {}
    for name, params in pipeline.corpora.items():
        sizes = _json(TOKENS / name / "sizes.json", "train", "valid", "survival")
        baselines = _json(NGRAMS / name / "baselines.json", "unigram_loss", "bigram_loss")
        corpora[name] = CorpusResult(
            params=params,
            tokenizer=pipeline.tokenizers[name],
            train=Split(**sizes["train"]),
            valid=Split(**sizes["valid"]),
            unigram_loss=baselines["unigram_loss"],
            bigram_loss=baselines["bigram_loss"],
            vocabulary=schema.read(TOKENS / name / "vocab.parquet", schema.CORPUS["vocab"]),
            bigrams=schema.read(NGRAMS / name / "bigrams.parquet", schema.CORPUS["bigrams"]),
            card=card.read(CORPORA / name / "card.json"),
            survival=card.Survival(**sizes["survival"]),
        )
    models = {}
    for name, model in pipeline.models.items():
        tables = {key: schema.read(TABLES / name / f"{key}.parquet", need) for key, need in schema.TABLES.items()}
        for key, need in schema.EVIDENCE.items():
            file = "skip_trigrams" if key == "evidence" else key
            tables[key] = schema.read(EVIDENCE / name / f"{file}.parquet", need)
        bill = _json(EVIDENCE / name / "bill.json", "nats_per_token")["nats_per_token"]
        tables["curve"] = schema.read(MODELS / name / "curve.parquet", schema.CURVE)
        names = [f.name for f in fields(Composition)]
        parts = {n: schema.read(COMPOSE / name / f"{n}.parquet", schema.COMPOSED[n]) for n in names}
        names = [f.name for f in fields(Exploration)]
        looked = {n: schema.read(EXPLORE / name / f"{n}.parquet", schema.EXPLORED[n]) for n in names}
        config = read_config(MODELS / name / "config.json")
        models[name] = ModelResult(
            params=shape(model, config),
            d_vocab=config.d_vocab,
            config=config,
            bill=bill,
            composed=Composition(**parts),
            explored=Exploration(**looked),
            **tables,
        )
    superposition = {n: schema.read(SUPERPOSITION / f"{n}.parquet", c) for n, c in schema.SUPERPOSITION.items()}
    dictionaries = {}
    for name, dictionary in pipeline.dictionaries.items():
        toy = isinstance(dictionary, ToyDictionaryParams)
        sweep = schema.read(DICTIONARY / name / "sweep.parquet", schema.DICTIONARY["toy_sweep" if toy else "sweep"])
        read = [] if toy else ["densities", "features", "contexts"]
        rest = [schema.read(DICTIONARY / name / f"{file}.parquet", schema.DICTIONARY[file]) for file in read]
        dictionaries[name] = DictionaryResult(dictionary, sweep, *(rest or [pd.DataFrame()] * 3))
    return Results(corpora, models, superposition, dictionaries)


def shape(model: AnyModel, config: ModelConfig) -> ModelShape:
    """The sizes of a model, which only its checkpoint knows if it was imported."""
    if isinstance(model, ModelShape):
        return model
    found = asdict(config)
    return ModelShape(corpus=model.corpus, **{k: found[k] for k in ModelShape.model_fields if k != "corpus"})


def _json(path: Path, *needed: str) -> Any:
    """A JSON file that has at least these keys."""
    value = read_json(path)
    schema.require(path, value if isinstance(value, dict) else (), needed)
    return value
