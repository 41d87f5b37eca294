"""Where a language model is read and written: the residual stream and the heads of its last layer."""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from skiptrace.models.loss import token_losses
from skiptrace.models.transformer import Transformer

Site = Literal["residual", "heads"]
SITES: tuple[Site, ...] = ("residual", "heads")
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
def activations(model: Transformer, windows: Int[Tensor, "batch width"], site: Site) -> Float[Tensor, "d positions"]:
    """What stands at a site at every position from 1 on, window after window.

    `residual`: after the last layer. `heads`: what the heads of the last layer found, before W_O, side by side.
    """
    parts = []
    for tokens in windows[:, :-1].split(BATCH):
        state = run(model, tokens)
        here = state.z if site == "heads" else model.blocks[-1].add(state.before, state.z @ model.blocks[-1].o)
        parts.append(here[:, 1:].flatten(0, 1))
    return torch.cat(parts).T.contiguous()


@torch.no_grad()
def loss_with(
    model: Transformer, windows: Int[Tensor, "batch width"], site: Site, instead: Float[Tensor, "d positions"]
) -> float:
    """The mean loss (nats per token) when the site holds `instead`."""
    targets = windows[:, 2:].flatten()
    if site == "residual":
        return float(token_losses(model.normalise(instead.T), model.W_U, targets).double().mean())
    losses, start = [], 0
    for batch in windows.split(BATCH):
        before = run(model, batch[:, :-1]).before[:, 1:].flatten(0, 1)
        here = instead[:, start : start + len(before)].T
        after = model.blocks[-1].add(before, here @ model.blocks[-1].o)
        losses.append(token_losses(model.normalise(after), model.W_U, batch[:, 2:].flatten()))
        start += len(before)
    return float(torch.cat(losses).double().mean())


def to_logits(model: Transformer, site: Site, directions: Float[Tensor, "d k"]) -> Float[Tensor, "k d_vocab"]:
    """The direct effect of directions at a site on the logits, the mean over tokens removed."""
    residual = directions.T if site == "residual" else directions.T @ model.blocks[-1].o
    logits = residual @ model.W_U
    return logits - logits.mean(1, keepdim=True)


class Source(NamedTuple):
    """The head and the position from which most of a feature's activation comes, and its share of all sources'."""

    head: int
    position: int


def sources(
    model: Transformer, state: State, site: Site, encoder: Float[Tensor, " d"], window: int, position: int
) -> Source:
    """Split a feature's input along its encoder row by head and source: A_h[position, s] · (v_h[s] · e_h)."""
    layer = model.blocks[-1]
    wide = encoder if site == "heads" else layer.o @ encoder
    by_head = wide.unflatten(0, (layer.n_heads, layer.d_head))
    given = (state.values[window] @ by_head[:, :, None])[:, :, 0] * state.pattern[window, :, position]
    return Source(*divmod(int(given.argmax()), given.shape[1]))
