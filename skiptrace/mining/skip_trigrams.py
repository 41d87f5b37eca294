"""Skip-trigrams, `source … destination → out`, and the heads that care for position instead.

The selection follows the published tables ("A Mathematical Framework", section "Skip-Trigrams",
and its open re-implementations): sources by max(QK)·max(OV)·p^power, then for each source the
destinations by QK·p^power and the outs by OV.
"""

from collections.abc import Iterable
from typing import NamedTuple

import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor

from skiptrace.config.mining import MiningParams
from skiptrace.expansion.reader import Tile
from skiptrace.mining.topk import ColumnTop, Top, order, row_top
from skiptrace.mining.vocabulary import Vocabulary

SCHEMA = pa.schema(
    [
        ("rank", pa.int32()),
        ("layer", pa.int32()),
        ("head", pa.int32()),
        ("source_id", pa.int32()),
        ("source", pa.string()),
        ("destination_id", pa.int32()),
        ("destination", pa.string()),
        ("out_id", pa.int32()),
        ("out", pa.string()),
        ("qk", pa.float32()),
        ("ov", pa.float32()),
        ("score", pa.float32()),
    ]
)
PRIMARILY_POSITIONAL = "Primarily Positional"
POSITIONAL = pa.schema([field for field in SCHEMA if field.name not in ("destination_id", "qk")])


class Circuits(NamedTuple):
    """A head and the tiles of its two circuits."""

    layer: int
    head: int
    qk: Iterable[Tile]
    ov: Iterable[Tile]


def mine(heads: Iterable[Circuits], vocabulary: Vocabulary, params: MiningParams) -> pa.Table:
    """The skip-trigrams of all heads, ranked together by score.

    `qk` is centred per destination by the corpus-weighted mean over sources, `ov` per source by
    the mean over outs; softmax ignores both. With w = p^power,
    score = qk · w(destination) · ov · w(source), in attention score × logits; only rows with both
    factors positive are kept.
    """
    return _ranked([_head(circuits, vocabulary, params) for circuits in heads], vocabulary, SCHEMA)


def mine_positional(heads: Iterable[Circuits], vocabulary: Vocabulary, params: MiningParams) -> pa.Table:
    """The sources that positional heads act on most, `score` = ov · p(source)^power, in logits.

    Such a head attends by distance; its destination column reads "Primarily Positional".
    """
    found = []
    for layer, head, _, ov in heads:
        outs = _outs(ov, vocabulary, params)
        weight = vocabulary.weight(params.frequency_power, params.min_count)
        score = outs.values * weight[:, None]
        source = order(score[:, 0])[: params.sources]
        found.append(
            {
                "layer": _filled(layer, score[source]),
                "head": _filled(head, score[source]),
                "source_id": source[:, None].expand(-1, score.shape[1]),
                "out_id": outs.index[source],
                "ov": outs.values[source],
                "score": score[source],
            }
        )
    table = _ranked(found, vocabulary, POSITIONAL)
    place = table.schema.get_field_index("destination")
    return table.set_column(place, "destination", pa.array([PRIMARILY_POSITIONAL] * len(table), pa.string()))


def _head(circuits: Circuits, vocabulary: Vocabulary, params: MiningParams) -> dict[str, Tensor]:
    weight = vocabulary.weight(params.frequency_power, params.min_count)
    destinations = _destinations(circuits.qk, vocabulary, weight, params)
    outs = _outs(circuits.ov, vocabulary, params)
    best = destinations.values[:, 0].clamp(min=0) * outs.values[:, 0].clamp(min=0) * weight
    source = order(best)[: params.sources]
    shape = (len(source), destinations.index.shape[1], outs.index.shape[1])
    weighted = destinations.values[source]
    ov = outs.values[source][:, None, :].expand(shape)
    return {
        "layer": _filled(circuits.layer, ov),
        "head": _filled(circuits.head, ov),
        "source_id": source[:, None, None].expand(shape),
        "destination_id": destinations.index[source][:, :, None].expand(shape),
        "out_id": outs.index[source][:, None, :].expand(shape),
        "qk": (weighted / weight[destinations.index[source]])[:, :, None].expand(shape),
        "ov": ov,
        "score": (weighted * weight[source, None])[:, :, None] * ov.clamp(min=0),
    }


def _destinations(
    qk: Iterable[Tile], vocabulary: Vocabulary, weight: Float[Tensor, " d_vocab"], params: MiningParams
) -> Top:
    top = ColumnTop(params.destinations)
    for start, values in qk:
        centred = values - (values @ vocabulary.probability)[:, None]
        rows = weight[start : start + len(values), None]
        top.add(start, (centred * rows).masked_fill(rows == 0, -torch.inf))
    return top.result()


def _outs(ov: Iterable[Tile], vocabulary: Vocabulary, params: MiningParams) -> Top:
    refused = ~vocabulary.eligible(params.min_count)
    tops = [
        row_top((values - values.mean(1, keepdim=True)).masked_fill(refused, -torch.inf), params.outs)
        for _, values in ov
    ]
    return Top(torch.cat([t.values for t in tops]), torch.cat([t.index for t in tops]))


def _filled(value: int, like: Tensor) -> Tensor:
    return torch.full(like.shape, value)


def _ranked(found: list[dict[str, Tensor]], vocabulary: Vocabulary, schema: pa.Schema) -> pa.Table:
    if not found:
        return schema.empty_table()
    columns = {name: torch.cat([rows[name].flatten() for rows in found]) for name in found[0]}
    # A row without a positive score is no skip-trigram; neither is one that had to be filled up
    # with a token that may not appear.
    kept = order(columns["score"])
    kept = kept[(columns["score"][kept] > 0) & columns["score"][kept].isfinite()]
    table = {name: column[kept].numpy() for name, column in columns.items()}
    table["rank"] = torch.arange(1, len(kept) + 1).numpy()
    for role in ("source", "destination", "out"):
        if f"{role}_id" in table:
            table[role] = vocabulary.token.iloc[table[f"{role}_id"]].to_numpy()
    arrays = [pa.array(table[f.name], f.type) if f.name in table else pa.nulls(len(kept), f.type) for f in schema]
    return pa.table(arrays, schema=schema)
