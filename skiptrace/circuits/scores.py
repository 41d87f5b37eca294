"""Scores of a head, each beside the value that chance would give."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from skiptrace.arithmetic import log, on_one_thread
from skiptrace.circuits.factored import Circuit, head_name, heads, ov
from skiptrace.circuits.tables import HEADS, OFFSETS
from skiptrace.config.scoring import ScoringParams
from skiptrace.devices import CPU
from skiptrace.errors import InputError
from skiptrace.models.transformer import Block, Transformer
from skiptrace.models.windows import BOS_ID

OWN_ROWS = 4096  # tokens that shares of a vocabulary are estimated on: within 0.8 % (one standard error) of all


class OwnRow(NamedTuple):
    """How often a token is first, or among the first five, of its own OV row, or above zero there."""

    top1: float
    top5: float
    positive: float


def own_row(circuits: list[Circuit], rows: int = 256, most: int = OWN_ROWS) -> OwnRow:
    """Copying token by token of one OV circuit or of a sum of several, on at most `most` tokens spread by id.

    `positive` counts diagonal entries above the mean of their row. Chance: 1/V, 5/V and 1/2.
    """
    left = torch.cat([c.left for c in circuits], 1)
    right = torch.cat([c.right for c in circuits], 0)
    above, positive = [], []
    tokens = torch.arange(min(len(left), most)) * len(left) // min(len(left), most)
    # Written into the same memory each time: what is allocated anew costs several times the arithmetic.
    buffer = left.new_empty(min(rows, len(tokens)), right.shape[1])
    reach = torch.empty(buffer.shape, dtype=torch.bool)
    for ids in tokens.split(rows):
        values = torch.mm(left[ids], right, out=buffer[: len(ids)])
        own = values.gather(1, ids[:, None])[:, 0]
        # Others as large count as before it, or a circuit that is zero would copy everything.
        # NumPy counts an order of magnitude faster than torch.
        reached = torch.ge(values, own[:, None], out=reach[: len(ids)])
        above.append(torch.from_numpy(np.count_nonzero(reached.numpy(), axis=1)) - 1)
        positive.append(own > values.mean(1))
    place = torch.cat(above)
    means = [(place < 1), (place < 5), torch.cat(positive)]
    return OwnRow(*(m.double().mean().item() for m in means))


class Null(NamedTuple):
    """Mean and standard deviation of a score over random heads."""

    mean: float
    sd: float


def copying(circuit: Circuit) -> float:
    """Σλ/Σ|λ| over the eigenvalues of a circuit: an OV circuit at 1 copies, at −1 suppresses.

    Returns 0 for a circuit that is zero. Section "Summarizing OV/QK Matrices".
    """
    eigenvalues = circuit.eigenvalues()
    size = eigenvalues.abs().sum().item()
    return eigenvalues.real.sum().item() / size if size > 0 else 0.0


def copying_null(model: Transformer, draws: int, seed: int, layer: int = 0) -> Null:
    """The copying score of heads with Gaussian W_V and W_O between what a layer reads and the unembedding."""
    through = model.W_U.double() @ model.reads(layer).double()
    return eigenvalue_null(through, 1, model.d_head, draws, seed)


def eigenvalue_null(
    through: Float[Tensor, "d_model d_model"], products: int, d_head: int, draws: int, seed: int
) -> Null:
    """Σλ/Σ|λ| of `through` times `products` Gaussian matrices of rank d_head, such as W_OV or W_QK."""
    generator = torch.Generator().manual_seed(seed)
    shapes = ((draws, len(through), d_head), (draws, d_head, len(through)))
    into: list[Tensor] = []
    out: list[Tensor] = []
    for _ in range(products):
        for factors, shape in zip((into, out), shapes, strict=True):
            factors.append(torch.randn(shape, dtype=torch.float64, generator=generator))
    # λ(AB) = λ(BA): multiplied in this order, the factors give d_head × d_head matrices.
    core = out[0] @ through @ into[-1]
    for k in range(products - 1, 0, -1):
        core = core @ (out[k] @ into[k - 1])
    eigenvalues = on_one_thread(torch.linalg.eigvals, core)
    scores = eigenvalues.real.sum(1) / eigenvalues.abs().sum(1)
    return Null(scores.mean().item(), scores.std().item())


def causal(ctx: int) -> Bool[Tensor, "ctx ctx"]:
    """True where a destination (row) may attend to a source (column)."""
    return torch.ones(ctx, ctx, dtype=torch.bool).tril()


def even_attention(ctx: int, layer: Block) -> Float[Tensor, "ctx ctx"]:
    """The pattern of a head that attends alike to all sources that it sees."""
    return softmax_causal(torch.zeros(ctx, ctx).masked_fill(layer.hidden(ctx, CPU), -torch.inf))


def softmax_causal(scores: Float[Tensor, "*heads ctx ctx"]) -> Float[Tensor, "*heads ctx ctx"]:
    """Softmax over the sources that each destination may see."""
    return scores.masked_fill(~causal(scores.shape[-1]), -torch.inf).softmax(-1)


def position_scores(
    W_pos: Float[Tensor, "ctx d_model"],
    W_Q: Float[Tensor, "*heads d_model d_head"],
    W_K: Float[Tensor, "*heads d_model d_head"],
    layer: Block | None = None,
) -> Float[Tensor, "*heads ctx ctx"]:
    """W_pos W_Q R W_Kᵀ W_posᵀ/√d_head: the attention scores that positions alone would give.

    R turns them where the positions of `layer` are rotary; W_pos is then what `standing` gives.
    """
    query, key = W_pos @ W_Q, W_pos @ W_K
    if layer is not None:
        query, key = layer.turned(layer.normed(query, layer.q_norm)), layer.turned(layer.normed(key, layer.k_norm))
    return query @ key.transpose(-1, -2) / math.sqrt(W_Q.shape[-1])


@torch.no_grad()
def standing(model: Transformer, texts: Int[Tensor, "batch ctx"]) -> list[Float[Tensor, "n_ctx d_model"]]:
    """What stands at every place whatever the token, layer by layer: W_pos.

    Of rotary positions, which turn what they find, it is the mean of what the layer reads on text, the start left out.
    """
    if not model.config.rotary:
        return [model.W_pos] * model.n_layers
    sums = [torch.zeros(model.d_model) for _ in model.blocks]
    for batch in batches(model, texts):
        x, pos = model.embed(batch)
        for index, layer in enumerate(model.blocks):
            sums[index] += layer.normalise(x)[:, 1:].sum((0, 1))
            x = layer.add(x, layer(x, pos))
    return [(each / texts[:, 1:].numel()).expand(model.n_ctx, -1) for each in sums]


def by_offset(pattern: Float[Tensor, "*heads ctx ctx"]) -> Float[Tensor, "*heads ctx"]:
    """The mean attention from a destination to the source k positions before it, for each k."""
    ctx = pattern.shape[-1]
    return torch.stack([pattern.diagonal(-k, -2, -1).mean(-1) for k in range(ctx)], -1)


def previous_token(pattern: Float[Tensor, "*heads ctx ctx"]) -> Float[Tensor, "*heads"]:
    """Mean A[i, i−1] (Olsson et al. 2022)."""
    return pattern.diagonal(-1, -2, -1).mean(-1)


def span_length(n_ctx: int, length: int, repeats: int) -> int:
    """`length`, or as many tokens as a short context holds `repeats` times after BOS.

    Raises:
        InputError: it does not hold spans of two tokens.
    """
    if n_ctx < 1 + 2 * repeats:
        raise InputError(
            f"n_ctx {n_ctx} is too short for repeats: {repeats} spans of two tokens after the first take "
            f"{1 + 2 * repeats}; lower scoring.repeats"
        )
    return min(length, (n_ctx - 1) // repeats)


def repeated_tokens(d_vocab: int, length: int, repeats: int, sequences: int, seed: int) -> Int[Tensor, "sequences ctx"]:
    """BOS, then `length` random tokens repeated `repeats` times; BOS itself is never drawn."""
    generator = torch.Generator().manual_seed(seed)
    span = torch.randint(1, d_vocab, (sequences, length), generator=generator)
    return torch.cat([torch.full((sequences, 1), BOS_ID), span.repeat(1, repeats)], 1)


def prefix_matching(pattern: Float[Tensor, "*heads ctx ctx"], length: int, repeats: int) -> Float[Tensor, "*heads"]:
    """Attention from a token to whatever followed its earlier occurrences (Olsson et al. 2022).

    On `repeated_tokens`: the attention to all such places together, averaged over the
    destinations from the second repeat on. BOS, at position 0, is no destination.
    """
    ctx = 1 + length * repeats
    destination, source = torch.meshgrid(torch.arange(ctx), torch.arange(ctx), indexing="ij")
    distance = destination - source + 1
    follows = (distance > 0) & (distance % length == 0) & (source > 1) & (destination > length)
    return (pattern * follows).sum(-1).sum(-1) / (length * (repeats - 1))


class ScoreMoments(NamedTuple):
    """Moments of attention scores on text, centred within each destination.

    A constant added to a destination's scores leaves its softmax unchanged, so it is taken out.
    `mean` is over texts; `square` is the sum over places of the mean square.
    """

    mean: Float[Tensor, "n_heads ctx ctx"]
    square: Float[Tensor, " n_heads"]


def centred(
    scores: Float[Tensor, "*heads ctx ctx"], hidden: Bool[Tensor, "ctx ctx"] | None = None
) -> Float[Tensor, "*heads ctx ctx"]:
    """Subtract from each destination its mean over the sources it may see, BOS left out; 0 elsewhere."""
    seen = causal(scores.shape[-1])
    seen[:, 0] = False
    if hidden is not None:
        seen &= ~hidden
    kept = scores.masked_fill(~seen, 0)
    return (kept - kept.sum(-1, keepdim=True) / seen.sum(-1, keepdim=True).clamp(min=1)).masked_fill(~seen, 0)


def position_share(
    positional: Float[Tensor, "*draws ctx ctx"],
    mean: Float[Tensor, "ctx ctx"],
    square: float,
    hidden: Bool[Tensor, "ctx ctx"] | None = None,
) -> Float[Tensor, "*draws"]:
    """r²: the share of the variance of a head's attention scores on text that the position term explains."""
    return share_explained(centred(positional, hidden), mean, square)


def share_explained(
    term: Float[Tensor, "*draws ctx ctx"], mean: Float[Tensor, "ctx ctx"], square: float
) -> Float[Tensor, "*draws"]:
    """The same of a term that is centred already."""
    covariance = (term * mean).sum(-1).sum(-1)
    # Scores against the term are not explained by it.
    return covariance.clamp(min=0) ** 2 / (term.square().sum(-1).sum(-1) * square).clamp(min=1e-30)


def batches(model: Transformer, tokens: Int[Tensor, "batch ctx"]) -> Sequence[Int[Tensor, "part ctx"]]:
    """The contexts in parts whose patterns take at most 64 MB per layer, however long they are."""
    return tokens.split(max(1, 2**24 // (max(1, model.n_heads) * tokens.shape[1] ** 2)))


def repeated(model: Transformer, params: ScoringParams) -> tuple[Int[Tensor, "sequences ctx"], int]:
    """The `repeated_tokens` that a model is scored on, and the length of their span."""
    length = span_length(model.n_ctx, params.repeated_tokens, params.repeats)
    return repeated_tokens(model.d_vocab, length, params.repeats, params.sequences, params.seed), length


def matching_by_sequence(
    model: Transformer,
    tokens: Int[Tensor, "batch ctx"],
    length: int,
    repeats: int,
    patterns: Callable[[Tensor], list[Tensor]],
) -> list[Float[Tensor, "batch n_heads"]]:
    """Prefix matching in every sequence, layer by layer, under the attention that `patterns` gives."""
    parts = [[prefix_matching(p, length, repeats) for p in patterns(part)] for part in batches(model, tokens)]
    return [torch.cat(layer) for layer in zip(*parts, strict=True)]


def previous_by_text(model: Transformer, texts: Int[Tensor, "batch ctx"]) -> list[Float[Tensor, "batch n_heads"]]:
    """Mean attention to the previous token in every text, layer by layer; BOS is a source but no destination."""
    parts = [[previous_token(p) for p in model.patterns(part)] for part in batches(model, texts)]
    return [torch.cat(layer) for layer in zip(*parts, strict=True)]


class TextStatistics(NamedTuple):
    """What the heads of one layer did on real text, averaged over texts."""

    pattern: Float[Tensor, "n_heads ctx ctx"]
    moments: ScoreMoments
    previous: Float[Tensor, "batch n_heads"]  # attention to the previous token in every text


@torch.no_grad()
def on_text(model: Transformer, tokens: Int[Tensor, "batch ctx"]) -> list[TextStatistics]:
    """Mean patterns and score moments of every layer.

    log A is the attention score up to a constant per destination, which centring removes.
    """
    totals: list[list[Tensor]] = []
    previous: list[list[Tensor]] = [[] for _ in model.blocks]
    for batch in batches(model, tokens):
        for layer, pattern in enumerate(model.patterns(batch)):
            previous[layer].append(previous_token(pattern))
            scores = centred(log(pattern.clamp(min=1e-30)), model.blocks[layer].hidden(batch.shape[1], CPU))
            sums = [pattern.sum(0), scores.sum(0), scores.square().sum((0, -1, -2))]
            if layer == len(totals):
                totals.append(sums)
            else:
                totals[layer] = [a + b for a, b in zip(totals[layer], sums, strict=True)]
    n = len(tokens)
    return [
        TextStatistics(p / n, ScoreMoments(m / n, s / n), torch.cat(each))
        for (p, m, s), each in zip(totals, previous, strict=True)
    ]


@torch.no_grad()
def score_heads(
    model: Transformer, tokens: Int[Tensor, "batch ctx"], params: ScoringParams
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Score every head; return the table of heads and mean attention by offset (`HEADS` and `OFFSETS`)."""
    if model.n_layers == 0:
        return HEADS.frame(), OFFSETS.frame()
    text = on_text(model, tokens)
    span, length = repeated(model, params)
    induced = matching_by_sequence(model, span, length, params.repeats, model.patterns)
    # Layers after the first may read something else than it does.
    by_chance = [copying_null(model, params.null_draws, params.seed, layer) for layer in range(min(2, model.n_layers))]
    even = [even_attention(model.n_ctx, layer) for layer in model.blocks]
    induced_evenly = [
        prefix_matching(even_attention(span.shape[1], layer), length, params.repeats) for layer in model.blocks
    ]
    rows, curves = [], []
    placed = standing(model, tokens)
    drawn = zip(placed, model.blocks, text, strict=True)
    nulls = [_share_nulls(where, layer, seen.moments, params) for where, layer, seen in drawn]
    for layer, head in heads(model):
        weights, seen = model.blocks[layer], text[layer]
        term = position_scores(placed[layer], weights.W_Q[head], weights.W_K[head], weights)
        if weights.distance_bias is not None:
            term = term + weights.biased(term.new_zeros(model.n_heads, *term.shape))[head]
        mean, square = seen.moments.mean[head], seen.moments.square[head].item()
        hidden = weights.hidden(model.n_ctx, term.device)
        share = position_share(term, mean, square, hidden).item()
        share_null = nulls[layer][head]
        visible, uniform = term.masked_fill(hidden, -torch.inf), by_offset(even[layer])
        alone, actual = by_offset(softmax_causal(visible)), by_offset(seen.pattern[head])
        # The longest offsets are averages over a handful of destinations: the first half will do.
        best = int(alone[: max(2, model.n_ctx // 2)].argmax())
        circuit, chance = ov(model, layer, head), by_chance[min(layer, 1)]
        score, own = copying(circuit), own_row([circuit])
        matching, before = induced[layer][:, head].double(), seen.previous[:, head].double()
        rows.append(
            {
                "layer": layer,
                "head": head,
                "name": head_name((layer, head)),
                "copying": score,
                "copying_null_mean": chance.mean,
                "copying_null_sd": chance.sd,
                "copies": score > chance.mean + params.null_sd * chance.sd,
                "own_top1": own.top1,
                "own_top5": own.top5,
                "own_positive": own.positive,
                "position_share": share,
                "position_share_null_mean": share_null.mean,
                "position_share_null_sd": share_null.sd,
                "positional": share >= params.positional_share and alone[best].item() >= params.positional_attention,
                "best_offset": best,
                "best_offset_attention": alone[best].item(),
                "best_offset_uniform": uniform[best].item(),
                "previous_token": previous_token(seen.pattern[head]).item(),
                "previous_token_se": before.std().item() / math.sqrt(len(before)),
                "previous_token_uniform": previous_token(even[layer]).item(),
                "prefix_matching": matching.mean().item(),
                "prefix_matching_se": matching.std().item() / math.sqrt(len(matching)),
                "prefix_matching_uniform": induced_evenly[layer].item(),
                "bos_attention": seen.pattern[head, 1:, 0].mean().item(),
            }
        )
        columns = {"text": actual, "position_only": alone, "uniform": uniform}
        curve = pd.DataFrame({k: v.double().numpy() for k, v in columns.items()})
        curve.insert(0, "offset", np.arange(model.n_ctx))
        curve.insert(0, "head", head)
        curve.insert(0, "layer", layer)
        curves.append(curve)
    return HEADS.frame(rows), OFFSETS.frame(pd.concat(curves, ignore_index=True))


def _share_nulls(W_pos: Tensor, layer: Block, moments: ScoreMoments, params: ScoringParams) -> list[Null]:
    """The share that random positions explain of the scores of each head; what is drawn is the same for all."""
    generator = torch.Generator().manual_seed(params.seed)
    shape = (W_pos.shape[1], layer.d_head)
    draws, hidden = [], layer.hidden(len(W_pos), W_pos.device)
    each = list(zip(moments.mean, moments.square.tolist(), strict=True))
    for _ in range(params.null_draws):
        W_Q, W_K = (torch.randn(shape, generator=generator).to(W_pos) for _ in range(2))
        term = centred(position_scores(W_pos, W_Q, W_K, layer), hidden)
        draws.append([share_explained(term, mean, square).item() for mean, square in each])
    return [Null(float(np.mean(shares)), float(np.std(shares, ddof=1))) for shares in zip(*draws, strict=True)]
