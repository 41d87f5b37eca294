"""Does a mined skip-trigram happen when the model runs? Its attention edge is cut to find out.

In contexts from the validation text the destination stands at the end and the source is placed
before it. The effect is the change in log p(out), in nats, when the head may no longer attend
from the destination to the source; what it attended there goes to the other tokens.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Integer
from torch import Tensor
from tqdm import tqdm

from skiptrace.models.transformer import Transformer
from skiptrace.models.windows import BOS_ID

BATCH = 2048  # contexts that run at once
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
    """Contexts `[rows, n, ctx]` that end in each row's destination, and where its source was placed."""

    tokens: Integer[np.ndarray, "rows n ctx"]
    place: Integer[np.ndarray, "rows n"]


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
        return Contexts(tokens, place)


class End(NamedTuple):
    """The model at the end of each context: logits, and each layer's attention from the last token."""

    logits: Float[Tensor, "batch d_vocab"]
    attention: list[Float[Tensor, "batch n_heads ctx"]]


@torch.no_grad()
def run_to_end(
    model: Transformer,
    tokens: Int[Tensor, "batch ctx"],
    cut: tuple[int, int, Bool[Tensor, "batch ctx"]] | None = None,
) -> End:
    """Run the model for the sake of what follows each context.

    `cut` is (layer, head, sources): the head's attention from the last token to those sources is
    taken away and the rest scaled up to one.
    """
    x, pos = model.enter(tokens)
    attention = []
    for index, layer in enumerate(model.attention):
        # Nothing reads what the last layer writes to earlier tokens.
        destinations = slice(-1, None) if index == model.n_layers - 1 else slice(None)
        pattern = layer.pattern(x, pos, destinations)
        if cut is not None and cut[0] == index:
            last = pattern[:, cut[1], -1].masked_fill(cut[2], 0)
            pattern[:, cut[1], -1] = last / last.sum(-1, keepdim=True).clamp(min=1e-30)
        attention.append(pattern[:, :, -1])
        x = layer.leave(x[:, destinations], layer.head_outputs(x, pattern).sum(1))
    return End(model.logits(x[:, -1]), attention)


def final_logprobs(
    model: Transformer,
    tokens: Int[Tensor, "batch ctx"],
    cut: tuple[int, int, Bool[Tensor, "batch ctx"]] | None = None,
) -> Float[Tensor, "batch d_vocab"]:
    """Log p of what follows each context; `cut` as in `run_to_end`."""
    return run_to_end(model, tokens, cut).logits.log_softmax(-1)


def check(model: Transformer, layer: int, head: int, rows: Rows, contexts: Contexts, other: Rows | None) -> Checked:
    """Run the contexts intact, with the edge cut, and with the source of `other` in its place.

    Where the source also stands elsewhere in a context, those edges are cut too.
    """
    n_rows, n, ctx = contexts.tokens.shape
    flat = torch.from_numpy(contexts.tokens.reshape(-1, ctx))
    out = torch.from_numpy(np.repeat(rows.out, n).astype(np.int64))
    source = torch.from_numpy(np.repeat(rows.source, n).astype(np.int64))
    swapped = contexts.tokens.copy()
    if other is not None:
        np.put_along_axis(swapped, contexts.place[..., None], other.source[:, None, None], axis=2)
    instead = torch.from_numpy(swapped.reshape(-1, ctx))
    found: list[list[Tensor]] = [[], [], []]
    for start in tqdm(range(0, len(flat), BATCH), f"checking L{layer}H{head}", leave=False, disable=None):
        part = slice(start, start + BATCH)
        wanted, tokens = out[part, None], flat[part]
        edges = tokens == source[part, None]
        edges[:, -1] = False  # the destination may be the same token; its own edge is not the skip-trigram's
        intact = final_logprobs(model, tokens).gather(1, wanted)[:, 0]
        without = final_logprobs(model, tokens, (layer, head, edges)).gather(1, wanted)[:, 0]
        found[0].append(intact)
        found[1].append(intact - without)
        if other is not None:
            found[2].append(intact - final_logprobs(model, instead[part]).gather(1, wanted)[:, 0])
        else:
            found[2].append(torch.full_like(intact, torch.nan))
    before, dropped, replaced = (torch.cat(f).double().view(n_rows, n).numpy() for f in found)
    return Checked(_effect(dropped), _effect(replaced), np.exp(before).mean(1))


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
