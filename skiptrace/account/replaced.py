"""Running a model with parts of its attention replaced by what a simpler account of it would say.

A head attends by its score s_ij, from destination i to source j ≤ i, and moves values v_j:

    s_ij = (q_i + q(i)) · (k_j + k(j)) / √d_head      q_i, k_j, v_j: of the stream; q(i), k(j): of the positions
    A_ij = exp(s_ij) / Σ_{k ≤ i} exp(s_ik)
    out_i = Σ_{j ≤ i} A_ij v_j

With q̄, k̄, v̄ the averages over the training text, a rung of the ladder replaces one of them:

    distance    s_ij = (q̄ + q(i)) · (k̄ + k(j))        which tokens stand there is not looked at
    tokens      s_ij = (q_i + q̄(·)) · (k_j + k̄(·))     where they stand is not looked at
    salience    s_ij − (q_i − q̄) · (k_j − k̄)          additive in the tokens at destination and source
    mean        v_j = v̄                                the same output, whatever the source
    rank one    v_j = v̄ + ((v_j − v̄) · a) b            one number for each source

The salience is the score without the interaction of destination and source. In the first layer, where
q_i = W_E[t_i] W_Q, it is the QK circuit reduced to the means of its rows and columns, weighted by token frequency.
Where positions are rotary, q(i) and k(j) are zero and the product is q_i R(i−j) k_j; without distance it is that by the
mean of R over distances. What relative positions add at each distance is part of every score but that of tokens
alone. A layer norm's scale stays as the text sets it: queries, keys and values are those of the
normalised stream.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from skiptrace.account.threads import threads
from skiptrace.arithmetic import log, on_one_thread, sqrt
from skiptrace.models.transformer import Block, Transformer

BATCH = 8  # contexts run together
BANK = 4096  # keys of the training text that stand for all of them, in layers that read more than single tokens


class QK(StrEnum):
    """What the attention scores of a layer are made of."""

    DISTANCE = "distance"
    TOKENS = "tokens"
    SALIENCE = "salience"
    WHOLE = "whole"
    ALONE = "alone"  # `alone`


class OV(StrEnum):
    """What the heads of a layer move."""

    NONE = "none"
    MEAN = "mean"
    RANK_ONE = "rank one"
    WHOLE = "whole"


INTACT = (QK.WHOLE, OV.WHOLE)


@dataclass(frozen=True)
class Averages:
    """What a layer's rungs replace its parts with: averages over the training text.

    `query`, `key` and `value` have one row, without the part of the positions; where positions stand in the residual
    stream itself, one row for each position. `read` and `write` are a and b of the rank-one values. `bank` holds keys
    of the training text and `weight` their frequency, which sums to one.
    """

    query: Float[Tensor, "n_heads rows d_head"]
    key: Float[Tensor, "n_heads rows d_head"]
    value: Float[Tensor, "n_heads rows d_head"]
    read: Float[Tensor, "n_heads d_head"]
    write: Float[Tensor, "n_heads d_head"]
    bank: Float[Tensor, "n_heads keys d_head"]
    weight: Float[Tensor, " keys"]


@torch.no_grad()
def averages(
    model: Transformer, windows: Int[Tensor, "batch width"], frequency: Float[Tensor, " d_vocab"]
) -> list[Averages]:
    """The averages of every layer.

    The first, which reads nothing else, has the mean over tokens by their `frequency`; later ones that over `windows`
    of the training text, without the token that begins each context.
    """
    found = []
    reads = [_reads(model, part) for part in windows[:, :-1].split(BATCH)]
    for index, layer in enumerate(model.blocks):
        if index == 0 and not model.standard_positions:
            rows, weight = layer.normalise(model.W_E), frequency.to(model.W_E.dtype)
            query, key, value = (each[0] for each in _before_turning(layer, rows[None]))
            means = [(x * weight[:, None]).sum(1, keepdim=True) for x in (query, key, value)]
        else:
            x = torch.cat([part[index] for part in reads])
            each = _before_turning(layer, x)
            if model.standard_positions:
                means = [e.mean(0) for e in each]
            else:
                means = [e[:, :, 1:].mean((0, 2))[:, None] for e in each]
            _, key, value = (e[:, :, 1:].transpose(0, 1).flatten(1, 2) for e in each)
            picked = torch.linspace(0, key.shape[1] - 1, min(BANK, key.shape[1])).long()
            key, value = key[:, picked], value[:, picked]
            weight = torch.full((len(picked),), 1 / len(picked))
        read, write = _rank_one(layer, model, value, weight)
        query_mean, key_mean, value_mean = means
        found.append(Averages(query_mean, key_mean, value_mean, read, write, key, weight))
    return found


def _before_turning(layer: Block, read: Float[Tensor, "batch ctx d_model"]) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values, which rotary positions have not turned yet: what an average is taken of."""
    query, key, value = (layer.split(read @ w) for w in (layer.q, layer.k, layer.v))
    return layer.normed(query, layer.q_norm), layer.normed(key, layer.k_norm), value


def _reads(model: Transformer, tokens: Int[Tensor, "batch ctx"]) -> list[Float[Tensor, "batch ctx d_model"]]:
    """What every layer reads of the residual stream."""
    x, pos = model.embed(tokens)
    reads = []
    for layer in model.blocks:
        reads.append(layer.normalise(x))
        x = layer.add(x, layer(x, pos))
    return reads


def _rank_one(
    layer: Block, model: Transformer, value: Float[Tensor, "n_heads n d_head"], weight: Float[Tensor, " n"]
) -> tuple[Float[Tensor, "n_heads d_head"], Float[Tensor, "n_heads d_head"]]:
    """A and b such that the rows ((v − v̄) · a) b W_O W_U are the best rank-one OV circuit, rows weighted by frequency.

    With S = Σ w (v − v̄)(v − v̄)ᵀ, B = W_O W_U and G = B Bᵀ, the top singular value σ and vector y of the weighted
    circuit solve G^½ S G^½ y = σ² y; then a = G^½ y and b = S a / σ².
    """
    out = (layer.W_O @ (model.W_U - model.W_U.mean(1, keepdim=True))).double()
    values, vectors = on_one_thread(torch.linalg.eigh, out @ out.transpose(1, 2))
    root = (vectors * sqrt(values.clamp(min=0))[:, None]) @ vectors.transpose(1, 2)
    each = value.double()
    each = each - (each * weight[:, None]).sum(1, keepdim=True)
    spread = (each * weight[:, None]).transpose(1, 2) @ each
    squares, tops = on_one_thread(torch.linalg.eigh, root @ spread @ root)
    a = root @ tops[..., -1:]
    b = spread @ a / squares[:, -1:, None].clamp(min=1e-30)
    return a[..., 0].to(value.dtype), b[..., 0].to(value.dtype)


def losses(
    model: Transformer,
    windows: Int[Tensor, "batch width"],
    means: list[Averages],
    rules: Mapping[int, tuple[QK, OV]],
) -> Float[Tensor, " batch"]:
    """The mean loss of each context, nats per token, when these layers run by `rules` and the others intact."""

    @torch.no_grad()
    def of(part: Tensor) -> Tensor:
        x, pos = model.embed(part[:, :-1])
        for index, layer in enumerate(model.blocks):
            qk, ov = rules.get(index, INTACT)
            if (qk, ov) == INTACT:
                written = layer(x, pos)
            elif ov is OV.NONE:
                written = torch.zeros_like(x)
            else:
                written = _written(layer, x, pos, means[index], qk, ov)
            x = layer.add(x, written)
        last = model.normalise(x)[:, 1:]
        each = model.losses(last.flatten(0, 1), part[:, 2:].flatten())
        return each.unflatten(0, last.shape[:2]).double().mean(1)

    with threads() as each:
        return torch.cat(list(each(of, windows.split(BATCH))))


def _written(
    layer: Block,
    x: Float[Tensor, "batch ctx d_model"],
    pos: Float[Tensor, "ctx d_model"],
    means: Averages,
    qk: QK,
    ov: OV,
) -> Float[Tensor, "batch ctx d_model"]:
    """What the heads of a layer write to the residual stream under its rungs."""
    ctx = x.shape[1]
    read = layer.normalise(x)
    query, key, value = _before_turning(layer, read)
    at_query, at_key = (layer.split((pos @ w)[None]) for w in (layer.q, layer.k))
    query_mean, key_mean, value_mean = means.query[:, :ctx], means.key[:, :ctx], means.value[:, :ctx]
    if qk is QK.DISTANCE:
        score = layer.turned(query_mean + at_query) @ layer.turned(key_mean + at_key).transpose(2, 3)
    elif qk is QK.TOKENS:
        anywhere = [
            each - mean + (mean + at).mean(2, keepdim=True)
            for each, mean, at in ((query, query_mean, at_query), (key, key_mean, at_key))
        ]
        score = layer.at_distance(anywhere[0], ctx) @ anywhere[1].transpose(2, 3)
    else:
        score = layer.turned(query + at_query) @ layer.turned(key + at_key).transpose(2, 3)
        if qk is QK.SALIENCE:
            score = score - layer.turned(query - query_mean) @ layer.turned(key - key_mean).transpose(2, 3)
    score = layer.capped(score / layer.d_head**0.5)
    if qk is not QK.TOKENS:  # where what is added by distance is the same everywhere
        score = layer.biased(score)
    hidden = layer.hidden(ctx, score.device)
    if qk is QK.ALONE:
        scaled = layer.at_distance(query + at_query, ctx) / layer.d_head**0.5
        pattern = alone(score, scaled, at_key, means, hidden, layer.biased(torch.zeros_like(score[:1])))
    else:
        pattern = layer.attended(score, hidden)
    if ov is OV.MEAN:
        value = value_mean.expand_as(value)
    elif ov is OV.RANK_ONE:
        size = ((value - value_mean) * means.read[:, None]).sum(-1, keepdim=True)
        value = value_mean + size * means.write[:, None]
    # The pattern of `alone` need not sum to one: what is missing, or too much, is the average's.
    out = pattern @ value
    if layer.sinks is None or qk is QK.ALONE:
        out = out + (1 - pattern.sum(-1, keepdim=True)) * value_mean
    return out.transpose(1, 2).flatten(2) @ layer.o


def alone(
    score: Float[Tensor, "batch n_heads ctx ctx"],
    query: Float[Tensor, "batch n_heads ctx d_head"],
    at_key: Float[Tensor, "1 n_heads ctx d_head"],
    means: Averages,
    hidden: Bool[Tensor, "ctx ctx"],
    added: Float[Tensor, "1 n_heads ctx ctx"],
) -> Float[Tensor, "batch n_heads ctx ctx"]:
    """Attention to each source as if it stood alone among average ones: what a table of skip-trigrams can say.

        A_ij = exp(s_ij) / (exp(s_ij) + exp(s_i0) + exp(s_ii) + Σ_{k ≠ 0, i, j} m_ik)
        m_ik = Σ_b w_b exp(q_i · (k_b + k(k)))     q_i with its position and 1/√d_head

    with the keys k_b of the training text and their weights w_b, so that m_ik is what an average source at place k
    would draw; of rotary positions, at the mean over distances, and with what is `added` by relative ones. The start
    token and the destination itself stand in every context and are taken as they are. `hidden` sources are out of
    sight.
    """
    ctx = score.shape[-1]
    places = torch.arange(ctx)
    average = torch.empty_like(query[..., 0])
    for batch, head in torch.cartesian_prod(torch.arange(len(query)), torch.arange(query.shape[1])).tolist():
        each = query[batch, head] @ means.bank[head].T + log(means.weight)
        average[batch, head] = each.logsumexp(-1)
    rest = average[..., None] + query @ at_key.transpose(2, 3) + added
    others = ~hidden & (places[None] < places[:, None]) & (places[None] > 0)  # but BOS and the destination itself
    rest = rest.masked_fill(~others, -torch.inf)
    score = score.masked_fill(hidden, -torch.inf)
    fixed = score.masked_fill(others, -torch.inf).logsumexp(-1, keepdim=True)
    # All other sources but j: those before it and those after it, in logarithms, so that nothing large is subtracted.
    before = F.pad(rest.logcumsumexp(-1)[..., :-1], (1, 0), value=-torch.inf)
    after = F.pad(rest.flip(-1).logcumsumexp(-1).flip(-1)[..., 1:], (0, 1), value=-torch.inf)
    beside = torch.where(others, torch.logaddexp(score, before.logaddexp(after)), rest.logsumexp(-1, keepdim=True))
    return (score - fixed.logaddexp(beside)).exp()
