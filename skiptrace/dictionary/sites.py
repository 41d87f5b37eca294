"""Where a language model is read and written: the heads of its last layer and the residual stream."""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from skiptrace.models.transformer import Transformer

Site = Literal["residual", "heads"]
SITES: tuple[Site, ...] = ("heads", "residual")
BATCH = 32  # windows run at once


class State(NamedTuple):
    """One run up to the last layer: what enters it, its patterns, its values and its heads' results side by side."""

    before: Float[Tensor, "batch ctx d_model"]
    pattern: Float[Tensor, "batch n_heads ctx ctx"]
    values: Float[Tensor, "batch n_heads ctx d_head"]
    z: Float[Tensor, "batch ctx wide"]


def run(model: Transformer, tokens: Int[Tensor, "batch ctx"]) -> State:
    """Run a model, stopping short of W_O of its last layer."""
    x, pos = model.embed(tokens)
    for layer in model.blocks[:-1]:
        x = layer.add(x, layer(x, pos))
    last = model.blocks[-1]
    pattern, values = last.pattern(x, pos), last.values(x)
    return State(x, pattern, values, (pattern @ values).transpose(1, 2).flatten(2))


@torch.no_grad()
def read_by_last(model: Transformer, windows: Int[Tensor, "batch width"]) -> Float[Tensor, "positions d_model"]:
    """What the heads of the last layer read of the stream at every position from 1 on, window after window."""
    return torch.cat([run(model, tokens).before[:, 1:].flatten(0, 1) for tokens in windows[:, :-1].split(BATCH)])


@torch.no_grad()
def activations(model: Transformer, windows: Int[Tensor, "batch width"], site: Site) -> Float[Tensor, "d positions"]:
    """What stands at a site at every position from 1 on, window after window.

    `residual`: after the last layer. `heads`: what the heads of the last layer together write to it.
    """
    parts = []
    for tokens in windows[:, :-1].split(BATCH):
        state = run(model, tokens)
        layer, written = model.blocks[-1], state.z @ model.blocks[-1].o
        here = written if site == "heads" else layer.add(state.before, written)
        parts.append(here[:, 1:].flatten(0, 1))
    return torch.cat(parts).T.contiguous()


@torch.no_grad()
def losses_with(
    model: Transformer, windows: Int[Tensor, "batch width"], site: Site, instead: Float[Tensor, "d positions"]
) -> Float[Tensor, " positions"]:
    """The loss at every position (nats) when the site holds `instead`, in float64."""
    targets = windows[:, 2:].flatten()
    if site == "residual":
        return model.losses(model.normalise(instead.T), targets).double()
    losses, start = [], 0
    for batch in windows.split(BATCH):
        before = run(model, batch[:, :-1]).before[:, 1:].flatten(0, 1)
        after = model.blocks[-1].add(before, instead[:, start : start + len(before)].T)
        losses.append(model.losses(model.normalise(after), batch[:, 2:].flatten()))
        start += len(before)
    return torch.cat(losses).double()


def to_logits(model: Transformer, directions: Float[Tensor, "d k"]) -> Float[Tensor, "k d_vocab"]:
    """The direct effect of directions of the residual stream on the logits, the mean over tokens removed."""
    logits = directions.T @ model.W_U
    return logits - logits.mean(1, keepdim=True)


class Source(NamedTuple):
    """The head and the position from which most of a feature's activation comes, and its share of all sources'."""

    head: int
    position: int


def sources(model: Transformer, state: State, encoder: Float[Tensor, " d"], window: int, position: int) -> Source:
    """Split a feature's input along its encoder row e by head and source: A_h[position, s] · (v_h[s] W_O^h · e)."""
    layer = model.blocks[-1]
    by_head = (layer.o @ encoder).unflatten(0, (layer.n_heads, layer.d_head))
    given = (state.values[window] @ by_head[:, :, None])[:, :, 0] * state.pattern[window, :, position]
    return Source(*divmod(int(given.argmax()), given.shape[1]))
