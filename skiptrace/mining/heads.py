"""Everything that is mined of one head, as a task for any worker that can read the model."""

import functools
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
import torch

from skiptrace.circuits.factored import Circuit, Head
from skiptrace.config.mining import MiningParams
from skiptrace.mining import skip_trigrams
from skiptrace.mining.scan import Request, scan
from skiptrace.mining.tables import LARGEST
from skiptrace.mining.trigrams import largest
from skiptrace.mining.vocabulary import Vocabulary
from skiptrace.mining.vocabulary import load as load_vocabulary
from skiptrace.models.loaded import loaded, version


class Mined(NamedTuple):
    """What was mined of one head; tables have `layer` and `head` among their columns, as have rows of statistics."""

    skip_trigrams: pd.DataFrame
    best_outs: pd.DataFrame
    copies: pd.DataFrame
    largest: pd.DataFrame
    statistics: list[dict[str, object]]


def mine_head(
    model: str,
    vocabulary: str,
    followers: str | None,
    head: Head,
    params: MiningParams,
    offsets: list[int],
    device: torch.device,
) -> Mined:
    """Mine one head of the model in a folder, with the vocabulary and what follows each token in files, on a device.

    Where positions are rotary, the distance among `offsets` at which each row's QK is largest is looked up.
    """
    with _LOADING:
        transformer = loaded(Path(model))
        files = tuple((path, version(Path(path))) for path in (vocabulary, followers) if path is not None)
        words = _vocabulary(files, transformer.d_vocab)
    circuits = skip_trigrams.Circuits.of(transformer, head, offsets, device)
    at = {"layer": head[0], "head": head[1]}
    return Mined(
        skip_trigrams=skip_trigrams.of_head(circuits, words, params),
        best_outs=skip_trigrams.best_outs(circuits.ov, words, params).assign(**at),
        copies=skip_trigrams.copies(circuits.ov, words, params).assign(**at),
        largest=largest_of_all(circuits, words, params).assign(**at),
        statistics=[
            s for c in (circuits.qk, circuits.ov, *circuits.at.values()) for s in statistics_of(c, params.bins)
        ],
    )


def largest_of_all(circuits: skip_trigrams.Circuits, vocabulary: Vocabulary, params: MiningParams) -> pd.DataFrame:
    """The `params.largest` largest of all V³ products qk·ov of eligible tokens, both centred; no weights, no rule."""
    eligible = vocabulary.eligible_ids(params.min_count)
    qk_centred, ov_centred = circuits.qk.centred(vocabulary.probability), circuits.ov.centred()
    among = [circuit.restricted(eligible, eligible) for circuit in (qk_centred, ov_centred)]
    found = largest(among[0], among[1], params.largest)
    source, destination, out = (eligible[torch.from_numpy(ids)] for ids in found[:3])
    columns = {
        "source_id": source.numpy(),
        "destination_id": destination.numpy(),
        "out_id": out.numpy(),
        "qk": qk_centred.entries(destination, source).numpy(),
        "ov": ov_centred.entries(source, out).numpy(),
        "score": found.score,
    }
    return pd.DataFrame(columns)


def mine_largest(found: Iterable[pd.DataFrame], vocabulary: Vocabulary) -> pa.Table:
    """The largest products of all heads, each from `largest_of_all`, ranked together by `score`."""
    tables = list(found)
    if not tables:
        return LARGEST.schema.empty_table()
    table = skip_trigrams.ranked(pd.concat(tables, ignore_index=True), "score")
    return skip_trigrams.with_texts(table, vocabulary, LARGEST)


def statistics_of(circuit: Circuit, bins: int, threads: int = 1) -> list[dict[str, object]]:
    """Mean, variance, extremes and a histogram of all entries of a circuit (`CIRCUITS`); no row without bins."""
    if not bins:
        return []
    found = scan(circuit, Request(bins=bins), threads=threads).statistics
    return [{"circuit": circuit.name, "layer": circuit.layer, "head": circuit.head, **vars(found)}]


# Of threads that begin together one loads, and the others have what it loaded.
_LOADING = threading.Lock()


@functools.lru_cache(maxsize=1)
def _vocabulary(files: tuple[tuple[str, tuple[int, ...]], ...], d_vocab: int) -> Vocabulary:
    path, *followers = (Path(path) for path, _ in files)
    return load_vocabulary(path, d_vocab, *followers)
