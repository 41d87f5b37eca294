"""What the page carries for its explorer, packed so that it stays small: one archive per corpus and model."""

import base64
import gzip
import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Integer
from torch import Tensor

from skiptrace.config.mining import MiningParams
from skiptrace.config.report import ReportParams
from skiptrace.evidence.support import Positions
from skiptrace.mining.vocabulary import Vocabulary
from skiptrace.models.transformer import Transformer
from skiptrace.report import contexts, patterns
from skiptrace.report.contexts import Places
from skiptrace.report.inputs import CorpusResult, ModelResult
from skiptrace.report.neighbours import HeadEntries, neighbours
from skiptrace.report.patterns import Text
from skiptrace.report.tokens import visible

EXAMPLES = 2  # places in the text per token, and per skip-trigram
IDS = ["source_id", "destination_id", "out_id"]
MINED = ["qk", "ov", "score"]
CHECKED = ["effect_nats", "effect_se", "null_mean", "null_sd", "p_out", "corpus_expected", "corpus_lift"]
CHECKED += ["lift_low", "lift_high"]


@dataclass(frozen=True)
class CorpusPayload:
    """Tokens as they are shown, how often they occur in the training text, and places of those looked up.

    `shown` are the ids that can be looked up, ascending; `places` stand in their order.
    """

    tokens: list[str]
    counts: list[int]
    shown: list[int]
    places: list[list[Places]]


@dataclass(frozen=True)
class Skips:
    """Skip-trigrams by column: those with evidence first, the columns of which are so much shorter.

    Numbers are in hundredths; `head` counts from the first head of the first layer.
    """

    head: list[int]
    ids: dict[str, list[int]]
    mined: dict[str, list[int | None]]
    checked: dict[str, list[int | None]]
    corpus_count: list[int]
    verified: list[bool]
    places: list[list[Places]]


@dataclass(frozen=True)
class ModelPayload:
    """A model as the page looks it up; `copies` and `positional` say what kind of head each one is."""

    corpus: str
    shown: list[int]
    heads: list[str]
    copies: list[bool]
    positional: list[bool]
    entries: list[HeadEntries]
    skips: Skips
    texts: list[Text]


def packed(value: Any) -> str:
    """A dataclass as JSON, compressed, in base 64: the same bytes for the same value."""
    text = json.dumps(asdict(value), separators=(",", ":"), allow_nan=False)
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def corpus(result: CorpusResult, stream: Integer[np.ndarray, " n"], params: ReportParams) -> CorpusPayload:
    """What the page knows of a corpus; `stream` is its validation text."""
    table = result.vocabulary
    shown = _shown(result, params)
    positions = Positions(stream, len(table), 0)
    places = [contexts.of_token(positions, token, EXAMPLES) for token in shown]
    return CorpusPayload([visible(t) for t in table["token"]], table["count"].tolist(), shown, places)


def model(
    result: ModelResult,
    told: CorpusResult,
    transformer: Transformer,
    stream: Integer[np.ndarray, " n"],
    mining: MiningParams,
    params: ReportParams,
) -> ModelPayload:
    """What the page knows of a model; `stream` is the validation text of its corpus."""
    table, shown = told.vocabulary, _shown(told, params)
    probability = torch.tensor(table["probability"].to_numpy(), dtype=torch.float32)
    eligible = Vocabulary(table["token"], table["count"], probability).eligible(mining.min_count)
    entries = neighbours(transformer, torch.tensor(shown), eligible, probability, params.explorer_entries)
    scored = result.heads
    return ModelPayload(
        corpus=result.params.corpus,
        shown=shown,
        heads=scored["name"].tolist(),
        copies=scored["copies"].astype(bool).tolist(),
        positional=scored["positional"].astype(bool).tolist(),
        entries=entries,
        skips=_skips(result, Positions(stream, len(table), transformer.n_ctx - 1), params.explorer_rows),
        texts=patterns.texts(transformer, result.composed.example_texts, stream) if len(scored) else [],
    )


def _shown(result: CorpusResult, params: ReportParams) -> list[int]:
    """The most frequent tokens that occur at all, by id."""
    counts = result.vocabulary["count"]
    frequent = counts[counts > 0].sort_values(ascending=False, kind="stable")
    return sorted(frequent.index[: params.explorer_tokens].tolist())


def _skips(result: ModelResult, positions: Positions, most: int) -> Skips:
    key = ["layer", "head", *IDS]
    checked = result.evidence.sort_values("rank").head(most)
    mined = result.skip_trigrams.sort_values("rank")
    known = pd.MultiIndex.from_frame(checked[key].astype("int64"))
    rest = mined[~pd.MultiIndex.from_frame(mined[key].astype("int64")).isin(known)].head(most - len(checked))
    every = pd.concat([checked[key + MINED], rest[key + MINED]], ignore_index=True)
    trigrams = zip(*(checked[name].astype(int).tolist() for name in IDS), strict=True)
    return Skips(
        head=(every["layer"] * result.params.n_heads + every["head"]).astype(int).tolist(),
        ids={name.removesuffix("_id"): every[name].astype(int).tolist() for name in IDS},
        mined={name: _hundredths(every[name]) for name in MINED},
        checked={name: _hundredths(checked[name]) for name in CHECKED},
        corpus_count=checked["corpus_count"].astype(int).tolist(),
        verified=checked["verified"].astype(bool).tolist(),
        places=[contexts.of_skip_trigram(positions, a, b, c, EXAMPLES) for a, b, c in trigrams],
    )


def _hundredths(column: pd.Series) -> list[int | None]:
    """Rounded; None where a number is undefined."""
    values: Tensor | np.ndarray = (column.astype(float) * 100).round().to_numpy()
    return [int(v) if np.isfinite(v) else None for v in values.tolist()]
