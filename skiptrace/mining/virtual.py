"""Pairs of heads mined: what virtual heads say, and what later heads look for through earlier ones."""

from collections.abc import Iterable
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
import torch

from skiptrace.circuits.factored import Circuit, Head, head_name, k_composition, strongest_pairs, virtual_ov
from skiptrace.config.mining import MiningParams
from skiptrace.mining.scan import row_tops
from skiptrace.mining.skip_trigrams import best_outs, ranked, with_texts
from skiptrace.mining.tables import K_COMPOSITION, VIRTUAL_OV
from skiptrace.mining.topk import order
from skiptrace.mining.vocabulary import Vocabulary
from skiptrace.models.transformer import Transformer


def pair_circuits(model: Transformer, most: int, device: torch.device) -> list["PairCircuits"]:
    """The circuits of the `most` strongest pairs of heads, in the order of their heads, to be mined on a device."""
    return [PairCircuits(model, first, then, device) for first, then in sorted(strongest_pairs(model, most))]


class PairCircuits(NamedTuple):
    """Two heads in different layers, the earlier one first, and their circuits, made when they are asked for.

    Those of all pairs take a gigabyte at a vocabulary of 50,000.
    """

    model: Transformer
    first: Head
    then: Head
    device: torch.device

    @property
    def name(self) -> str:
        """As in `L0H3 → L1H1`."""
        return f"{head_name(self.first)} → {head_name(self.then)}"

    @property
    def virtual_ov(self) -> Circuit:
        """What a source does to each output token through both in turn."""
        return virtual_ov(self.model, self.first, self.then).on(self.device)

    @property
    def k_composition(self) -> Circuit:
        """How strongly the later one looks for what the earlier one moved."""
        return k_composition(self.model, self.first, self.then).on(self.device)


def mine_virtual_ov(pairs: Iterable[PairCircuits], vocabulary: Vocabulary, params: MiningParams) -> pa.Table:
    """The sources that virtual heads act on most, and their outs; `score` = ov · p(source)^power, in logits."""
    found = [best_outs(pair.virtual_ov, vocabulary, params).assign(name=pair.name) for pair in pairs]
    if not found:
        return VIRTUAL_OV.schema.empty_table()
    return with_texts(ranked(pd.concat(found, ignore_index=True), "score"), vocabulary, VIRTUAL_OV)


def mine_k_composition(pairs: Iterable[PairCircuits], vocabulary: Vocabulary, params: MiningParams) -> pa.Table:
    """The sources that destinations look for through an earlier head, in attention scores.

    `qk` is the K-composition circuit centred per destination by the corpus-weighted mean over sources, `score` =
    qk · p(destination)^power. An induction head looks for the destination itself.
    """
    eligible, found = vocabulary.eligible_ids(params.min_count), []
    for pair in pairs:
        qk = pair.k_composition.centred(vocabulary.probability).restricted(eligible, eligible)
        top = row_tops(qk, params.destinations)
        score = top.values * vocabulary.probability[eligible, None] ** params.frequency_power
        best = order(score[:, 0])[: params.sources]
        columns = {
            "destination_id": eligible[best, None].expand(-1, score.shape[1]),
            "source_id": eligible[top.index[best].long()],
            "qk": top.values[best],
            "score": score[best],
        }
        found.append(pd.DataFrame({k: v.flatten().numpy() for k, v in columns.items()}).assign(name=pair.name))
    if not found:
        return K_COMPOSITION.schema.empty_table()
    return with_texts(ranked(pd.concat(found, ignore_index=True), "score"), vocabulary, K_COMPOSITION)
