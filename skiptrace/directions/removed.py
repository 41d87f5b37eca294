"""A model on text with part of a head removed: what becomes of the loss, and of where the head attends."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from skiptrace.arithmetic import log
from skiptrace.circuits.factored import Head
from skiptrace.models.transformer import Transformer

BATCH = 8  # contexts that are run together


class Removed(NamedTuple):
    """By context: the rise of the loss (nats per token), and the share of the head's attention that moved."""

    loss: Float[Tensor, " contexts"]
    moved: Float[Tensor, " contexts"]


class _Run(NamedTuple):
    """Contexts, what every layer reads, its patterns and what its heads write, and the loss of each context."""

    windows: Int[Tensor, "batch width"]
    streams: list[Float[Tensor, "batch ctx d_model"]]
    patterns: list[Float[Tensor, "batch n_heads ctx ctx"]]
    written: list[Float[Tensor, "batch ctx d_model"]]
    loss: Float[Tensor, " batch"]


class Runs:
    """Runs of a model on contexts, kept so that a change in a layer is run on from there."""

    @torch.no_grad()
    def __init__(self, model: Transformer, windows: Int[Tensor, "contexts width"]) -> None:
        self.model, self.runs = model, list[_Run]()
        for part in windows.split(BATCH):
            x, pos = model.embed(part[:, :-1])
            streams, patterns, written = [], [], []
            for block in model.blocks:
                streams.append(x)
                patterns.append(block.pattern(x, pos))
                written.append(block.head_outputs(x, patterns[-1]).sum(1))
                x = block.add(x, written[-1])
            self.runs.append(_Run(part, streams, patterns, written, self._loss(x, part)))

    @torch.no_grad()
    def without(
        self, circuit: str, head: Head, take: Float[Tensor, "d_head d"], give: Float[Tensor, "d d_head"]
    ) -> Removed:
        """The head with L (1 − take give) R in place of L R, its circuit `ov` or `qk` (`Directions.remover`).

        Of the attention scores it is the part of the stream that changes; positions that queries and keys read beside
        it stay. `moved`: ½ Σ_j |A_ij − A'_ij|, mean over destinations; zero for `ov`.
        """
        layer, place = head
        block = self.model.blocks[layer]
        take, give = take.to(self.model.W_E.dtype), give.to(self.model.W_E.dtype)
        W_Q, W_K, W_V, W_O = (w[place] for w in (block.W_Q, block.W_K, block.W_V, block.W_O))
        loss, moved = [], []
        for run in self.runs:
            pattern = run.patterns[layer][:, place]
            read = block.normalise(run.streams[layer])
            if circuit == "ov":
                change = pattern @ (read @ (W_V @ take)) @ (give @ W_O)
                moved.append(torch.zeros_like(run.loss))
            else:
                score = (read @ (W_Q @ take)) @ (read @ (W_K @ give.T)).mT / self.model.d_head**0.5
                # A cell that is zero, behind the destination or far below the largest score, stays so; as does a sink.
                before = log(pattern)
                other = (before - score).softmax(-1)
                if block.sinks is not None:
                    sink = log(1 - pattern.sum(-1, keepdim=True))
                    other = torch.cat([before - score, sink], -1).softmax(-1)[..., :-1]
                change = (pattern - other) @ (read @ W_V) @ W_O
                moved.append((pattern - other).abs().sum(-1)[:, 1:].double().mean(1) / 2)
            x = block.add(run.streams[layer], run.written[layer] - change)
            pos = self.model.positions(x.shape[1])
            for later in list(self.model.blocks)[layer + 1 :]:
                x = later.add(x, later(x, pos))
            loss.append(self._loss(x, run.windows) - run.loss)
        return Removed(torch.cat(loss), torch.cat(moved))

    def _loss(
        self, x: Float[Tensor, "batch ctx d_model"], windows: Int[Tensor, "batch width"]
    ) -> Float[Tensor, " batch"]:
        """The mean loss of each context; as everywhere, nothing is predicted from BOS alone."""
        last = self.model.normalise(x)[:, 1:]
        each = self.model.losses(last.flatten(0, 1), windows[:, 2:].flatten())
        return each.unflatten(0, last.shape[:2]).double().mean(1)
