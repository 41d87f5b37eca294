"""Why a head attends: one attention score as a sum over what was written at its two ends.

The residual stream that a head reads is a sum over paths ("A Mathematical Framework", "Two-Layer Attention-Only
Transformers"), and its score is bilinear in the two ends, so the score is a sum over pairs of paths: through
which earlier heads, or none, the destination and the source came to hold what matches, and from which tokens.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from skiptrace.circuits.factored import Head
from skiptrace.circuits.paths import beginnings, deepest, path_name, paths
from skiptrace.errors import InputError
from skiptrace.models.transformer import Block, Transformer

POSITION, TOKEN = "position", "token"  # parts of the stream that no head wrote
PAIRED = 160  # paths into a head of which every two are looked at


class Part(NamedTuple):
    """What one path writes into the stream of every place: `looks @ carried`, place by token that it comes from."""

    name: str
    looks: Float[Tensor, "ctx tokens"]
    carried: Float[Tensor, "tokens d_model"]


class TokenTerm(NamedTuple):
    """The share of a term that comes from one token at each end; `*_place` are places in the text."""

    destination_place: int
    source_place: int
    score: float


class Term(NamedTuple):
    """What two paths together add to an attention score.

    `score` is the addition to the score; `above` what is left of it after the mean over all sources in view, since a
    constant added to all of them leaves softmax unchanged. `tokens` are its largest parts by token, of either sign.
    """

    destination: str
    source: str
    score: float
    above: float
    tokens: list[TokenTerm]


@dataclass(frozen=True)
class Attention:
    """One cell of an attention pattern: log(attention) = Σ above − normaliser, score = Σ score."""

    head: Head
    destination: int
    source: int
    attention: float
    score: float
    normaliser: float
    terms: list[Term]


def parts(
    model: Transformer,
    tokens: Int[Tensor, " ctx"],
    patterns: list[Float[Tensor, "batch n_heads ctx ctx"]],
    layer: int,
    most: int | None = None,
) -> list[Part]:
    """What each path writes into the stream as `layer` reads it, positions apart: they add up to what it reads.

    1/std of every layer norm is frozen at its value on the text; what MLPs and the biases of layers write begins paths
    of its own. Where more than `most` paths lead to the layer, `PAIRED` by default, the longest are cut as those of
    `contributions` are. The layer after the last is the unembedding.
    """
    entered, pos = model.embed(tokens[None])
    starts = beginnings(model, tokens, patterns)
    scales, deep = starts.scales, deepest(layer, model.n_heads, PAIRED if most is None else most)
    whole = layer + 1 if deep == layer else deep
    itself, embedding = torch.eye(len(tokens)).to(entered), F.embedding(tokens, model.W_E)
    # Positions that stand in the stream are moved by heads with the token they stand at.
    found = [Part(TOKEN, itself, embedding * scales[layer])]
    if not model.config.rotary:  # which turn what others wrote
        found.insert(0, Part(POSITION, itself, pos + (entered[0] - embedding) * scales[layer]))
    for path in paths(layer, model.n_heads, deep):
        looks = itself
        for i, h in path:
            # What a head has written stands in normed dimensions alone, which share one factor at each place.
            looks = patterns[i][0, h] @ (looks * scales[i][:, :1] if looks is not itself else looks)
        if path:
            looks = looks * scales[layer][:, :1]
        for begins, _, values in starts.of(path, layer, whole):
            if not (path or begins):
                continue
            carried = values * scales[path[0][0] if path else layer]
            for i, h in path:
                carried = carried @ model.blocks[i].W_V[h] @ model.blocks[i].W_O[h]
            found.append(Part(path_name(begins, path), looks, carried))
    return found


@torch.no_grad()
def score_terms(
    model: Transformer, written: list[Part], head: Head, rows: slice = slice(None)
) -> Float[Tensor, "parts parts rows ctx"]:
    """What every two parts add to the attention scores of a head, the destination's part first: s_ij = Σ_a Σ_b.

    `rows` are the destinations, all by default. Sources behind a destination are among the columns, which the head does
    not see.
    """
    layer, found = model.blocks[head[0]], _uncapped(model, written, head, rows)
    if layer.soft_cap is not None:
        found *= _capped_share(layer, found.sum((0, 1)))
    if layer.distance_bias is not None:  # what relative positions add, with the part of positions, which comes first
        ctx = found.shape[-1]
        found[0, 0] += layer.biased(found.new_zeros(layer.n_heads, ctx, ctx))[head[1]][rows]
    return found


def _uncapped(
    model: Transformer, written: list[Part], head: Head, rows: slice
) -> Float[Tensor, "parts parts rows ctx"]:
    layer, (asks, answers) = model.blocks[head[0]], _sides(model, written, head)
    queries = torch.stack([part.looks @ (part.carried @ asks.weight) for part in written])
    keys = torch.stack([part.looks @ (part.carried @ answers.weight) for part in written])
    queries, keys = (layer.turned(each * side.scale) for each, side in ((queries, asks), (keys, answers)))
    return torch.einsum("aid,bjd->abij", queries[:, rows], keys)


def _capped_share(layer: Block, scores: Float[Tensor, "*cells"]) -> Float[Tensor, "*cells"]:
    """What a soft cap leaves of scores: frozen at their values, so that terms add up to what is attended by."""
    return layer.capped(scores) / torch.where(scores == 0, 1, scores)


class _Side(NamedTuple):
    """W_Q/√d_head or W_K of a head, and what the norm of queries or keys multiplies each place with: frozen."""

    weight: Float[Tensor, "d_model d_head"]
    scale: Float[Tensor, "ctx d_head"]


def _sides(model: Transformer, written: list[Part], head: Head) -> tuple[_Side, _Side]:
    layer, place = model.blocks[head[0]], head[1]
    found = []
    for weight, norm in ((layer.W_Q[place], layer.q_norm), (layer.W_K[place], layer.k_norm)):
        whole = torch.stack([part.looks @ (part.carried @ weight) for part in written]).sum(0)
        scale = torch.ones_like(whole)
        if norm is not None:
            scale = (whole.square().mean(-1, keepdim=True) + (layer.eps or 0)).rsqrt() * norm
        found.append(_Side(weight, scale))
    asks, answers = found
    return asks._replace(weight=asks.weight / math.sqrt(model.d_head)), answers


@torch.no_grad()
def explain_attention(
    model: Transformer,
    tokens: Int[Tensor, " ctx"],
    head: Head,
    destination: int,
    source: int | None = None,
    most: int = 3,
) -> Attention:
    """Why `head` attends from `destination` to `source`, by default where it attends most: terms by |above|.

    s_ij = Σ_a Σ_b (Σ_t A^a_it u^a_t) W_Q R W_Kᵀ (Σ_r A^b_jr u^b_r)ᵀ/√d_head over the paths a and b into the layer,
    with u the embedding carried along a path, A its attention, and R the rotation by j − i where positions are rotary.
    Norms of queries and keys, and soft caps of scores, are frozen at their values; a sink is part of the normaliser.
    The sum over t and r is the part of each token; `most` of them are kept of every term. In attention scores.

    Raises:
        InputError: there is no such head or place, or the head does not see the source.
    """
    layer, place = head
    if not (0 <= layer < model.n_layers and 0 <= place < model.n_heads):
        raise InputError(f"L{layer}H{place}: the model has {model.n_layers} layers of {model.n_heads} heads")
    if not 0 <= destination < len(tokens) or not (source is None or 0 <= source <= destination):
        raise InputError(f"a destination is one of {len(tokens)} tokens, and its source one of those up to it")
    here = tokens[: destination + 1]
    patterns = model.patterns(here[None])
    row = patterns[layer][0, place, destination]
    attended = int(row.argmax()) if source is None else source
    weights = model.blocks[layer]
    seen = ~weights.hidden(len(here), row.device)[destination]
    if not seen[attended]:
        raise InputError(f"L{layer}H{place}: sees the last {weights.window} tokens, none {destination - attended} back")
    written = parts(model, here, patterns, layer)
    asks, answers = _sides(model, written, head)
    only = slice(destination, destination + 1)
    each = score_terms(model, written, head, only)[:, :, 0]
    total, above = each.sum((0, 1))[seen], each[..., attended] - each[..., seen].mean(-1)
    mean = total.mean()
    shrunk = torch.ones(())
    if weights.soft_cap is not None:
        bare = _uncapped(model, written, head, only)[:, :, 0, attended].sum()
        shrunk = _capped_share(weights, bare)
    terms = []
    for a, at_destination in enumerate(written):
        queries = _of_tokens(weights, at_destination, asks, destination)
        for b, at_source in enumerate(written):
            keys = _of_tokens(weights, at_source, answers, attended)
            by_token = (queries @ keys.T).flatten() * shrunk
            if weights.distance_bias is not None and at_destination.name == at_source.name == POSITION:
                by_token[destination * len(here) + attended] += weights.distance_bias[place, destination - attended]
            largest = by_token.abs().topk(min(most, len(by_token))).indices.tolist()
            tokens_of = [TokenTerm(i // len(here), i % len(here), by_token[i].item()) for i in largest]
            names = (at_destination.name, at_source.name)
            terms.append(Term(*names, each[a, b, attended].item(), above[a, b].item(), tokens_of))
    if weights.sinks is not None:
        total = torch.cat([total, weights.sinks[place, None]])
    normaliser = (total - mean).logsumexp(0).item()
    return Attention(
        head,
        destination,
        attended,
        row[attended].item(),
        each[..., attended].sum().item(),
        normaliser,
        sorted(terms, key=lambda term: -abs(term.above)),
    )


def _of_tokens(layer: Block, part: Part, side: _Side, place: int) -> Float[Tensor, "tokens d_head"]:
    """What each token adds to the query or key of a place through one path."""
    added = part.looks[place][:, None] * (part.carried @ side.weight) * side.scale[place]
    return layer.turned(added[:, None], place)[:, 0]
