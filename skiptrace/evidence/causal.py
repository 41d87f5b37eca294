"""Does a mined skip-trigram happen when the model runs? Its attention edge is cut to find out.

In contexts from the validation text the destination stands at the end and the source is placed
before it. The effect is the change in log p(out), in nats, when the head may no longer attend
from the destination to the source; what it attended there goes to the other tokens.
"""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Integer
from torch import Tensor
from torch.nn import functional as F

from skiptrace.models.transformer import Block, Transformer
from skiptrace.models.windows import BOS_ID
from skiptrace.progress import progress

MOST = 2**21  # numbers of residual streams, or of logits, held at once: what a processor's cache holds is fastest
NEIGHBOURS = 10  # a frequency-matched token is at most this many places away in order of frequency


class Rows(NamedTuple):
    """Skip-trigrams to be checked, all of one head."""

    source: Integer[np.ndarray, " rows"]
    destination: Integer[np.ndarray, " rows"]
    out: Integer[np.ndarray, " rows"]


class Effect(NamedTuple):
    """Mean change in log p(out) over contexts, in nats, and its standard error."""

    mean: Float[np.ndarray, " rows"]
    se: Float[np.ndarray, " rows"]


class Checked(NamedTuple):
    """What cutting the edge and replacing the source did, and p(out) with everything intact."""

    cut: Effect
    replaced: Effect
    p_out: Float[np.ndarray, " rows"]


@dataclass(frozen=True)
class Contexts:
    """Sets of `n` contexts that end in a destination, and where its source was placed; `of`: the set of each row."""

    tokens: Integer[np.ndarray, "sets n ctx"]
    place: Integer[np.ndarray, "sets n"]
    source: Integer[np.ndarray, " sets"]
    of: Integer[np.ndarray, " rows"]


class Sampler:
    """Draws contexts from a token stream; the same seed draws the same contexts."""

    def __init__(self, stream: Integer[np.ndarray, " n"], ctx: int, d_vocab: int, seed: int) -> None:
        self.stream, self.ctx = np.asarray(stream), ctx
        self._generator = np.random.default_rng(seed)
        ends = np.arange(ctx - 1, len(stream))
        order = np.argsort(self.stream[ends], kind="stable")
        self._ends = ends[order]
        self._count = np.bincount(self.stream[ends], minlength=d_vocab)
        self._first = np.concatenate([[0], self._count.cumsum()])

    def draw(self, rows: Rows, n: int) -> Contexts:
        """`n` contexts for each row: real text up to an occurrence of the destination.

        The first token is BOS, as in training. The source overwrites a token at a distance drawn
        evenly on a logarithmic scale. A destination that the text lacks overwrites the last token.
        """
        uniform = self._generator.random((len(rows.source), n))
        count = self._count[rows.destination][:, None]
        own = self._first[rows.destination][:, None] + (uniform * count).astype(np.int64)
        anywhere = (uniform * len(self._ends)).astype(np.int64)
        end = self._ends[np.where(count > 0, own, anywhere)]
        tokens = self.stream[end[..., None] - np.arange(self.ctx - 1, -1, -1)].astype(np.int64)
        tokens[..., 0] = BOS_ID
        tokens[..., -1] = rows.destination[:, None]
        span = self._generator.random((len(rows.source), n)) * np.log(self.ctx - 1)
        place = self.ctx - 1 - np.clip(np.exp(span).astype(np.int64), 1, self.ctx - 2)
        np.put_along_axis(tokens, place[..., None], rows.source[:, None, None], axis=2)
        return Contexts(tokens, place, np.asarray(rows.source), np.arange(len(rows.source)))

    def draw_shared(self, rows: Rows, n: int) -> Contexts:
        """`n` contexts for each distinct pair of source and destination, which all rows of the pair share."""
        _, first, of = np.unique(np.stack(rows[:2]), axis=1, return_index=True, return_inverse=True)
        return replace(self.draw(Rows(*(ids[first] for ids in rows)), n), of=of.ravel())


class End(NamedTuple):
    """The model at the end of each context: logits, and each layer's attention from the last token.

    `read` is what each layer reads of the residual stream, `last` that stream at the last token before the layer.
    """

    logits: Float[Tensor, "batch d_vocab"]
    attention: list[Float[Tensor, "batch n_heads ctx"]]
    read: list[Float[Tensor, "batch ctx d_model"]]
    last: list[Float[Tensor, "batch 1 d_model"]]


class FirstLayer(NamedTuple):
    """Queries, keys and values of a first layer that reads tokens alone, side by side: of each token, of each place."""

    tokens: Float[Tensor, "d_vocab three_widths"]
    places: Float[Tensor, "n_ctx three_widths"]


@torch.no_grad()
def first_layer(model: Transformer) -> FirstLayer | None:
    """What the first layer's queries, keys and values are looked up in; None if nothing later reads that layer."""
    if model.n_layers < 2 or model.standard_positions:
        return None
    layer, pos = model.blocks[0], model.positions(model.n_ctx)
    read = layer.normalise(model.W_E)
    return FirstLayer(
        torch.cat([read @ layer.q, read @ layer.k, read @ layer.v], 1),
        torch.cat([pos @ layer.q, pos @ layer.k, torch.zeros_like(pos @ layer.v)], 1),
    )


@torch.no_grad()
def run_to_end(
    model: Transformer,
    tokens: Int[Tensor, "batch ctx"],
    first: FirstLayer | None = None,
    known: End | None = None,
    start: int = 0,
) -> End:
    """Run the model for the sake of what follows each context.

    `first` spares the first layer's products of tokens and weights. `known` is the run of contexts that hold the same
    tokens before `start`: what stands there is taken from it, since nothing later changes it.
    """
    x, pos = model.embed(tokens)
    rows = len(pos) - start  # places that are run
    end = End(torch.empty(0, model.d_vocab), [], [], [])
    for index, layer in enumerate(model.blocks):
        read = layer.normalise(x)
        if known is not None:
            read = torch.cat([known.read[index][:, :start], read[:, -rows:]], 1)
        end.read.append(read)
        end.last.append(x[:, -1:])
        end.attention.append(_attention(layer, read, pos))
        last = _add(layer, end.last[-1], read, end.attention[-1])
        if index == model.n_layers - 1:
            x = last  # nothing reads what the last layer writes to earlier tokens
        else:
            x = layer.add(x[:, -rows:], _layer(layer, read, pos, rows, tokens, first if index == 0 else None))
            x[:, -1:] = last
    return end._replace(logits=model.logits(x[:, -1]))


def _layer(
    layer: Block,
    read: Float[Tensor, "batch ctx d_model"],
    pos: Float[Tensor, "ctx d_model"],
    rows: int,
    tokens: Int[Tensor, "batch ctx"],
    first: FirstLayer | None,
) -> Float[Tensor, "batch rows d_model"]:
    """What the heads write to the last `rows` places."""
    if first is None:
        query, key, value = (read + pos)[:, -rows:] @ layer.q, (read + pos) @ layer.k, read @ layer.v
    else:
        query, key, value = (F.embedding(tokens, first.tokens) + first.places[: len(pos)]).chunk(3, -1)
        query = query[:, -rows:]
    ctx = len(pos)
    query, key, value = (layer.split(each) for each in (query, key, value))
    query = layer.turned(layer.normed(query, layer.q_norm), ctx - rows)
    key = layer.turned(layer.normed(key, layer.k_norm))
    z = layer.mixed(query, key, value, ctx - rows)
    return z.transpose(1, 2).flatten(2) @ layer.o


@torch.no_grad()
def without_edges(
    model: Transformer, end: End, layer: int, head: int, sources: Bool[Tensor, "batch ctx"]
) -> Float[Tensor, "batch d_vocab"]:
    """Logits when the head's attention from the last token to `sources` is taken away, the rest scaled up to one.

    A sink is part of the rest.

    From there on only the last token differs from the intact run, so only the last token is run again.
    """
    attention = end.attention[layer].clone()
    rest = attention[:, head].masked_fill(sources, 0)
    whole = rest.sum(-1, keepdim=True)
    if model.blocks[layer].sinks is not None:
        whole = whole + 1 - attention[:, head].sum(-1, keepdim=True)
    attention[:, head] = rest / whole.clamp(min=1e-30)
    last = _add(model.blocks[layer], end.last[layer], end.read[layer], attention)
    pos = model.positions(end.read[0].shape[1])
    for after in range(layer + 1, model.n_layers):
        weights = model.blocks[after]
        read = torch.cat([end.read[after][:, :-1], weights.normalise(last)], 1)
        last = _add(weights, last, read, _attention(weights, read, pos))
    return model.logits(last[:, 0])


def _attention(
    layer: Block, read: Float[Tensor, "batch ctx d_model"], pos: Float[Tensor, "ctx d_model"]
) -> Float[Tensor, "batch n_heads ctx"]:
    """Attention from the last token: (xᵀ W_Q W_Kᵀ) x, so that W_K is applied once and not to every source.

    Where scores depend on the place of keys or on their size, W_K is applied to every source.
    """
    x, ctx = read + pos, read.shape[1]
    placed = layer.frequencies is not None or layer.distance_bias is not None
    bent = layer.k_norm is not None or layer.soft_cap is not None or layer.sinks is not None
    if placed or bent or not layer.sees_all(ctx):
        scores = layer.scores(layer.queries(x[:, -1:], ctx - 1), layer.keys(x), ctx - 1)
        return layer.attended(scores, layer.hidden(ctx, x.device)[-1:])[:, :, 0]
    query = torch.einsum("bd,hde->bhe", x[:, -1], layer.W_Q) / math.sqrt(layer.d_head)
    return (torch.einsum("bhe,hde->bhd", query, layer.W_K) @ x.transpose(1, 2)).softmax(-1)


def _add(
    layer: Block,
    last: Float[Tensor, "batch 1 d_model"],
    read: Float[Tensor, "batch ctx d_model"],
    attention: Float[Tensor, "batch n_heads ctx"],
) -> Float[Tensor, "batch 1 d_model"]:
    """The last token after the layer: (A x) W_V W_O, so that W_V is applied once and not to every source."""
    value = torch.einsum("bhd,hde->bhe", attention @ read, layer.W_V)
    return layer.add(last, (value.flatten(1) @ layer.o)[:, None])


def log_p(logits: Float[Tensor, "batch d_vocab"], token: Int[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    """Log probability of one token each, in nats."""
    return logits.gather(1, token[:, None])[:, 0] - logits.logsumexp(-1)


def at_once(model: Transformer, ctx: int) -> int:
    """How many contexts run together: as many as keep their residual streams, and their logits, below 8 MB."""
    return max(1, MOST // max((model.n_layers + 1) * ctx * model.d_model, model.d_vocab))


def check(
    model: Transformer,
    layer: int,
    head: int,
    rows: Rows,
    contexts: Contexts,
    other: Integer[np.ndarray, " sets"] | None,
) -> Checked:
    """Run the contexts intact, with the edge cut, and with the tokens `other` in the place of their sources.

    Where the source also stands elsewhere in a context, those edges are cut too. Contexts that rows share are run once.
    """
    sets, n, ctx = contexts.tokens.shape
    # By the place of the source: what stands before it is the same whatever the source, and is run once.
    order = np.argsort(-contexts.place.ravel(), kind="stable")
    place, of, number = contexts.place.ravel()[order], order // n, order % n
    flat = torch.from_numpy(contexts.tokens.reshape(-1, ctx)[order])
    source = torch.from_numpy(contexts.source[of].astype(np.int64))
    swapped = contexts.tokens.copy()
    if other is not None:
        np.put_along_axis(swapped, contexts.place[..., None], other[:, None, None], axis=2)
    instead = torch.from_numpy(swapped.reshape(-1, ctx)[order])
    members = np.argsort(contexts.of, kind="stable")  # the rows of one set after those of another
    size = np.bincount(contexts.of, minlength=sets)
    ends = size.cumsum()
    first = first_layer(model)
    before, dropped, replaced = found = np.full((3, len(rows.out), n), np.nan)
    batch = at_once(model, ctx)
    for start in progress(range(0, len(flat), batch), f"checking L{layer}H{head}", leave=False):
        part = slice(start, start + batch)
        tokens = flat[part]
        at = np.repeat(np.arange(len(tokens)), size[of[part]])  # the context of each row that is asked for
        row = members[np.concatenate([np.arange(ends[each] - size[each], ends[each]) for each in of[part]])]
        wanted, here = torch.from_numpy(rows.out[row].astype(np.int64)), (row, number[part][at])
        edges = tokens == source[part, None]
        edges[:, -1] = False  # the destination may be the same token; its own edge is not the skip-trigram's
        end = run_to_end(model, tokens, first)
        intact = _log_p(end.logits, at, wanted)
        before[here] = intact.double()
        dropped[here] = (intact - _log_p(without_edges(model, end, layer, head, edges), at, wanted)).double()
        if other is not None:
            changed = run_to_end(model, instead[part], first, end, int(place[part].min()))
            replaced[here] = (intact - _log_p(changed.logits, at, wanted)).double()
    return Checked(_effect(found[1]), _effect(found[2]), np.exp(before).mean(1))


def _log_p(
    logits: Float[Tensor, "batch d_vocab"], at: Integer[np.ndarray, " asked"], token: Int[Tensor, " asked"]
) -> Float[Tensor, " asked"]:
    """Log probability of tokens, each in one of the contexts, in nats."""
    return logits[at, token] - logits.logsumexp(-1)[at]


def _effect(change: Float[np.ndarray, "rows n"]) -> Effect:
    n = change.shape[1]
    return Effect(change.mean(1), change.std(1, ddof=1) / np.sqrt(n))


def frequency_matched(
    token: Integer[np.ndarray, " rows"], count: Integer[np.ndarray, " d_vocab"], seed: int
) -> Integer[np.ndarray, " rows"]:
    """For each token another one, at most `NEIGHBOURS` places away in order of frequency; never BOS."""
    ranked = np.argsort(-count[1:], kind="stable") + 1
    place = np.empty(len(count), dtype=np.int64)
    place[ranked] = np.arange(len(ranked))
    generator = np.random.default_rng(seed)
    step = generator.integers(1, NEIGHBOURS + 1, len(token)) * generator.choice([-1, 1], len(token))
    # At either end of the list step the other way; in a tiny vocabulary go round.
    moved = np.where((place[token] + step < 0) | (place[token] + step >= len(ranked)), -step, step)
    return ranked[(place[token] + moved) % len(ranked)]
