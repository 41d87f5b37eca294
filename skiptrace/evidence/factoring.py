"""What it costs that heads factor: products of pairs beside a table of triples, fitted to the same text.

A head adds attention f₁(source, destination) times f₂(source, output token), so what H heads add for one source,
destinations × output tokens, is a sum of H products ("A Mathematical Framework", "Skip-Trigram Bugs"). No model is
asked here: corrections of the bigrams by the sources that stand before are fitted to the training text twice, once as
a free table of triples, once with every source held to H products. The difference of their losses on held-out text is
what H heads cannot express of skip-trigrams. Attention is not negative, which the products may be: heads do no better.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor
from torch.nn.functional import cross_entropy

from skiptrace.arithmetic import log, on_one_thread
from skiptrace.evidence.intervals import clustered
from skiptrace.evidence.support import Positions
from skiptrace.evidence.tables import COSTS
from skiptrace.evidence.verification import Streams
from skiptrace.models.windows import BOS_ID

DESTINATIONS, SOURCES, OUTS = 32, 256, 32  # the most frequent ones; output tokens of each destination
PLACES = 1000  # of each destination in the training text, half as many to stop by and to measure on
STEPS, EVERY = 100, 5  # of descent on all places at once; how often the loss to stop by is looked at
RATE = 4.0
PRODUCTS = "factoring: saved by products of pairs"
TABLE = "factoring: saved by a table of triples beyond them"


class Places(NamedTuple):
    """Places of each destination: which sources stand before, and what follows, as a number among its outs."""

    present: Float[Tensor, "destinations places sources"]
    following: Int[Tensor, "destinations places"]
    document: Integer[np.ndarray, "destinations places"]

    def losses(self, logits: Float[Tensor, "destinations sources outs"], bias: Tensor) -> Tensor:
        """−log p of what follows, nats, when every source that is present adds its row of logits."""
        raised = torch.bmm(self.present, logits) + bias[:, None]
        return cross_entropy(raised.flatten(0, 1), self.following.flatten(), reduction="none")


def factoring(streams: Streams, window: int, heads: int) -> pd.DataFrame:
    """What products of as many heads save over bigrams, and a table of triples over them: rows of `COSTS`, nats.

    Per place of the most frequent destinations, each of which counts alike. Both are fitted to the training text and
    stopped by the loss on every other document of the validation text; the others are measured on.
    """
    return on_one_thread(_factoring, streams, window, heads)


def _factoring(streams: Streams, window: int, heads: int) -> pd.DataFrame:
    d_vocab = len(streams.count)
    train, valid = (Positions(stream, d_vocab, window) for stream in (streams.train, streams.valid))
    ranked = np.argsort(-streams.count, kind="stable")
    frequent = [int(t) for t in ranked if t != BOS_ID and streams.count[t] > 0]
    parts = {t: [train.of(t), *_halves(valid, t)] for t in frequent[: 2 * DESTINATIONS]}
    destinations = [t for t, each in parts.items() if all(len(places) for places in each)][:DESTINATIONS]
    if not destinations:
        return COSTS.schema.empty_table().to_pandas()
    follows = (np.bincount(train.stream[train.of(t) + 1], minlength=d_vocab) for t in destinations)
    outs = np.stack([np.argsort(-count, kind="stable")[:OUTS] for count in follows])
    sources = np.array(frequent[:SOURCES])
    fitted, stop, held = (
        _places(at, [parts[t][i] for t in destinations], sources, outs, most)
        for i, (at, most) in enumerate(((train, PLACES), (valid, PLACES // 2), (valid, PLACES // 2)))
    )
    bigrams = torch.stack([torch.bincount(row, minlength=outs.shape[1] + 1) for row in fitted.following])
    bias = log(bigrams + 0.5)
    shape = len(destinations), len(sources), outs.shape[1] + 1
    free = _fit(shape, bias, fitted, stop, min(shape[0], shape[2]))
    products = _fit(shape, bias, fitted, stop, heads)
    none, by_heads, by_table = (
        held.losses(logits, bias).double().numpy() for logits in (torch.zeros(shape), products, free)
    )
    document = held.document.ravel()
    rows = [
        (PRODUCTS, heads, *clustered(none - by_heads, document)),
        (TABLE, heads, *clustered(by_heads - by_table, document)),
    ]
    return pd.DataFrame(rows, columns=COSTS.names).astype(COSTS.dtypes)


def on_heads(
    table: Float[Tensor, "destinations sources outs"], heads: int
) -> Float[Tensor, "destinations sources outs"]:
    """The nearest table in which every source has the sum of so many products f₁(destination)·f₂(output token)."""
    left, size, right = on_one_thread(torch.linalg.svd, table.transpose(0, 1), full_matrices=False)
    return torch.einsum("sdr,sr,sro->dso", left[:, :, :heads], size[:, :heads], right[:, :heads])


def _halves(valid: Positions, token: int) -> list[Integer[np.ndarray, "_"]]:
    """The places of a token in every other document of the validation text, and in the others."""
    here = valid.of(token)
    starts = np.flatnonzero(valid.stream == BOS_ID)
    odd = np.searchsorted(starts, here, side="right") % 2 == 1
    return [here[~odd], here[odd]]


def _places(
    positions: Positions,
    found: list[Integer[np.ndarray, "_"]],
    sources: Integer[np.ndarray, " sources"],
    outs: Integer[np.ndarray, "destinations outs"],
    most: int,
) -> Places:
    """So many places of each destination at even distances; a place stands twice where there are fewer."""
    index = np.full(int(max(sources.max(), positions.stream.max())) + 1, len(sources))
    index[sources] = np.arange(len(sources))
    present = torch.zeros(len(found), most, len(sources) + 1)
    following, document = np.full((2, len(found), most), outs.shape[1])
    back = np.arange(1, positions.window + 1)
    for i, places in enumerate(found):
        here = places[np.linspace(0, len(places) - 1, most).astype(int)]
        document[i] = positions.document(here)
        before = here[:, None] - back
        inside = before >= document[i][:, None]
        seen = np.where(inside, index[positions.stream[np.maximum(before, 0)]], len(sources))
        present[i].scatter_(1, torch.from_numpy(seen), 1.0)
        is_out = positions.stream[here + 1][:, None] == outs[i]
        following[i] = np.where(is_out.any(1), is_out.argmax(1), outs.shape[1])
    return Places(present[:, :, :-1].contiguous(), torch.from_numpy(following), document)


def _fit(shape: tuple[int, int, int], bias: Tensor, fitted: Places, stop: Places, products: int) -> Tensor:
    """The table, with so many products for every source, that descent reaches when the loss on `stop` stops falling.

    Every few steps the table is replaced by the nearest one with so many products.
    """
    table = torch.zeros(shape, requires_grad=True)
    optimiser = torch.optim.SGD([table], lr=RATE, momentum=0.9)
    best, kept = float("inf"), torch.zeros(shape)
    for step in range(STEPS + 1):
        if step % EVERY == 0:
            with torch.no_grad():
                if step and products < min(shape[0], shape[2]):
                    table.copy_(on_heads(table, products))
                loss = float(stop.losses(table, bias).mean())
            if loss > best:
                break
            best, kept = loss, table.detach().clone()
        optimiser.zero_grad()
        fitted.losses(table, bias).mean().backward()
        optimiser.step()
    return kept
