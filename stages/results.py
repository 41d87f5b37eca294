"""Read everything that the aggregate stages tell of."""

from dataclasses import asdict, fields

import pandas as pd

from skiptrace.config.dictionaries import ToyDictionaryParams
from skiptrace.config.models import AnyModel, ModelShape
from skiptrace.config.pipeline import load_pipeline
from skiptrace.corpora import card
from skiptrace.errors import InputError
from skiptrace.files import read_json, read_table
from skiptrace.models.checkpoint import ModelConfig, read_config
from skiptrace.report.inputs import Composition, CorpusResult, DictionaryResult, ModelResult, Results, Split
from stages.common import COMPOSE, CORPORA, DICTIONARY, EVIDENCE, MODELS, NGRAMS, PARAMS, SUPERPOSITION, TABLES, TOKENS


def read_results() -> Results:
    """All corpora and models that params.yaml names."""
    pipeline = load_pipeline(PARAMS)
    corpora = {}
    for name, params in pipeline.corpora.items():
        sizes = read_json(TOKENS / name / "sizes.json")
        baselines = read_json(NGRAMS / name / "baselines.json")
        corpora[name] = CorpusResult(
            params=params,
            tokenizer=pipeline.tokenizers[name],
            train=Split(**sizes["train"]),
            valid=Split(**sizes["valid"]),
            unigram_loss=baselines["unigram_loss"],
            bigram_loss=baselines["bigram_loss"],
            vocabulary=read_table(TOKENS / name / "vocab.parquet").to_pandas(),
            bigrams=read_table(NGRAMS / name / "bigrams.parquet").to_pandas(),
            card=card.read(CORPORA / name / "card.json"),
        )
    files = ("heads", "offsets", "losses", "bigrams", "agreement", "skip_trigrams", "positional", "copies")
    models = {}
    for name, model in pipeline.models.items():
        tables = {file: read_table(TABLES / name / f"{file}.parquet").to_pandas() for file in files}
        checks = {"evidence": "skip_trigrams", "bugs": "bugs", "truth": "truth"}
        for key, file in checks.items():
            tables[key] = read_table(EVIDENCE / name / f"{file}.parquet").to_pandas()
        bill = read_json(EVIDENCE / name / "bill.json")["nats_per_token"]
        curve = MODELS / name / "curve.csv"
        try:
            tables["curve"] = pd.read_csv(curve)
        except (OSError, ValueError) as error:
            raise InputError(f"{curve}: not readable ({error}); reproduce the train stage") from None
        parts = {f.name: read_table(COMPOSE / name / f"{f.name}.parquet").to_pandas() for f in fields(Composition)}
        config = read_config(MODELS / name / "config.json")
        models[name] = ModelResult(
            params=shape(model, config),
            config=config,
            bill=bill,
            composed=Composition(**parts),
            **tables,
        )
    superposition = {path.stem: read_table(path).to_pandas() for path in sorted(SUPERPOSITION.glob("*.parquet"))}
    dictionaries = {}
    for name, dictionary in pipeline.dictionaries.items():
        sweep = read_table(DICTIONARY / name / "sweep.parquet").to_pandas()
        read = [] if isinstance(dictionary, ToyDictionaryParams) else ["densities", "features", "contexts"]
        rest = [read_table(DICTIONARY / name / f"{file}.parquet").to_pandas() for file in read]
        dictionaries[name] = DictionaryResult(dictionary, sweep, *(rest or [pd.DataFrame()] * 3))
    return Results(corpora, models, superposition, dictionaries)


def shape(model: AnyModel, config: ModelConfig) -> ModelShape:
    """The sizes of a model, which only its checkpoint knows if it was imported."""
    if isinstance(model, ModelShape):
        return model
    found = asdict(config)
    return ModelShape(corpus=model.corpus, **{k: found[k] for k in ModelShape.model_fields if k != "corpus"})
