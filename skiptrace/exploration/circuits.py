"""Corners of circuits, copying by whole layers, and the direct path beside the corpus."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from skiptrace.circuits.factored import direct, heads, ov, qk
from skiptrace.circuits.scores import own_row
from skiptrace.exploration.tables import CORNERS, DIRECT, LAYERS
from skiptrace.memory import give_back
from skiptrace.mining.vocabulary import Vocabulary
from skiptrace.models.transformer import Transformer


def corners(model: Transformer, mined: pd.DataFrame, vocabulary: Vocabulary, side: int) -> pd.DataFrame:
    """A corner of both circuits of every head: its `side` leading sources and destinations, centred.

    OV (logits): sources against themselves as outs. QK (attention scores): destinations against the sources.
    """
    found = []
    for at in heads(model):
        found.append(_corner(model, at, mined, vocabulary, side))
        give_back()
    return CORNERS.frame(pd.concat(found, ignore_index=True) if found else ())


def _corner(
    model: Transformer, at: tuple[int, int], mined: pd.DataFrame, vocabulary: Vocabulary, side: int
) -> pd.DataFrame:
    layer, head = at
    mine = mined[(mined["layer"] == layer) & (mined["head"] == head)]
    sources = _leading(mine, "source_id", side, vocabulary)
    destinations = _leading(mine, "destination_id", side, vocabulary)
    looked = (
        (ov(model, layer, head).centred(), sources, sources),
        (qk(model, layer, head).centred(vocabulary.probability), destinations, sources),
    )
    found = []
    for circuit, rows, columns in looked:
        pairs = torch.tensor(rows).repeat_interleave(len(columns)), torch.tensor(columns).repeat(len(rows))
        values = {"row_id": pairs[0].numpy(), "column_id": pairs[1].numpy(), "value": circuit.entries(*pairs).numpy()}
        found.append(pd.DataFrame(values).assign(circuit=circuit.name, layer=layer, head=head))
    return pd.concat(found, ignore_index=True)


def _leading(table: pd.DataFrame, column: str, count: int, vocabulary: Vocabulary) -> list[int]:
    """Distinct tokens of a mined column, best first, filled up with the most frequent tokens."""
    best = table.sort_values("rank")[column].tolist()
    frequent = vocabulary.count.iloc[1:].nlargest(2 * count).index.tolist()
    return [int(t) for t in dict.fromkeys([*best, *frequent])][:count]


def layers(model: Transformer) -> pd.DataFrame:
    """How often a token is first, or among the first five, of its own row of the summed OV circuits of a layer.

    `own_positive`: how often its own entry lies above the mean of its row.
    """
    rows = []
    for layer in range(model.n_layers):
        own = own_row([ov(model, layer, head) for head in range(model.n_heads)])
        rows.append((layer, own.top1, own.top5, own.positive))
    return LAYERS.frame(rows)


def direct_against_corpus(model: Transformer, tokens: Sequence[int], bigrams: pd.DataFrame) -> pd.DataFrame:
    """Log-probabilities of what follows `tokens` in the corpus: of the corpus, and of the direct path alone (nats)."""
    logprob = direct(model).rows(torch.tensor(tokens, dtype=torch.int64)).log_softmax(-1).numpy()
    place = pd.Series(range(len(tokens)), index=list(tokens), dtype="int64")
    pairs = bigrams[bigrams["token_id"].isin(tokens)]
    total = pairs.groupby("token_id")["count"].transform("sum")
    learned = logprob[place[pairs["token_id"]].to_numpy(), pairs["next_id"].to_numpy()]
    both = {"corpus": np.log(pairs["count"] / total).to_numpy(), "model": learned}
    return DIRECT.frame(pairs.assign(**both).reset_index(drop=True))
