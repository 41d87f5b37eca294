"""The last layer of a model as additive parts, kept as they are, and interactions of features, entry by entry.

With x what the heads read, x̄ its mean over the training text, f its features less their means, x̂ = Σ_a f_a D_a:

    s_ij = (q_i + q(i)) · (k_j + k(j)) = additive + (x_i − x̄) W_Q W_Kᵀ (x_j − x̄)ᵀ          all over √d_head
    QK[b, a] = D_b W_Q W_Kᵀ D_aᵀ / √d_head     b: a feature of the destination, a: of the source
    OV[a, o] = D_a W_V W_O W_U[:, o]           o: an output token, rows less their mean over these

where x̄ is taken from D_0 and f_0 = 1, so that Σ_ab f_b(i) f_a(j) QK[b, a] = (x̂_i − x̄) W_QK (x̂_j − x̄)ᵀ, and
Σ_a f_a(j) OV[a] is what x̂_j − x̄ gives the logits. Less their means, so that an entry that is kept alone adds nothing
on average. The additive parts, positions among them, are those that `account.entries` keeps of tokens, from x itself:
without entries the model is the same in features and in tokens; with every entry it is the model whose heads interact
by x̂. The output end is a token and no feature of the final stream: logits are linear there, so that a second
reconstruction, with an error of its own, does not stand between an entry and the loss.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import sparse
from torch import Tensor

from skiptrace.account.entries import Entries, causal_softmax
from skiptrace.circuits.factored import Circuit
from skiptrace.dictionary import sites
from skiptrace.features.dictionary import Features
from skiptrace.models.transformer import Transformer


class Read(NamedTuple):
    """A context: its features less their means, and scores and logits without any of their interactions."""

    features: Float[Tensor, "ctx features"]
    scores: Float[Tensor, "n_heads ctx ctx"]
    logits: Float[Tensor, "ctx d_vocab"]


@dataclass(frozen=True)
class Parts:
    """The last layer of a model in terms of features: additive parts, and the two circuits of each head, thin."""

    model: Transformer
    features: Features
    centre: Float[Tensor, " d_model"]
    mean_output: Float[Tensor, " d_vocab"]
    qk: list[Circuit]
    ov: list[Circuit]

    @property
    def n_heads(self) -> int:
        """How many heads the layer has."""
        return self.model.n_heads

    @property
    def count(self) -> int:
        """How many features there are, with the one that is 1 everywhere."""
        return len(self.features.directions)

    def read(self, tokens: Int[Tensor, " ctx"]) -> Read:
        """q̄ · k_j + q_i · k(j) + q(i) · (k_j + k(j)), over √d_head; direct path and mean output of the heads."""
        model, layer = self.model, self.model.blocks[-1]
        x = sites.run(model, tokens[None]).before[0]
        pos = model.positions(len(tokens))
        scaled = layer.q * model.d_head**-0.5
        query, query_place, query_mean = (_split(model, each @ scaled) for each in (x, pos, self.centre[None]))
        key, key_place = (_split(model, each @ layer.k) for each in (x, pos))
        scores = (
            query @ key_place.transpose(1, 2)
            + query_place @ (key + key_place).transpose(1, 2)
            + query_mean @ key.transpose(1, 2)
        )
        return Read(self.features.centred(x), scores, x @ model.W_U + self.mean_output)


@torch.no_grad()
def parts(
    model: Transformer,
    features: Features,
    centre: Float[Tensor, " d_model"],
    frequency: Float[Tensor, " d_vocab"],
) -> Parts:
    """The last layer of a model that `account.entries.splits`; `centre` is x̄, `frequency` that of output tokens."""
    layer = model.blocks[-1]
    shifted = features.directions.clone()
    shifted[0] -= centre
    query = _split(model, shifted @ (layer.q * model.d_head**-0.5))
    key, value = (_split(model, shifted @ w) for w in (layer.k, layer.v))
    out = layer.W_O @ model.W_U
    centred = out - (out * frequency.to(out.dtype)).sum(-1, keepdim=True)
    names = [(str(model.n_layers - 1), str(head)) for head in range(model.n_heads)]
    return Parts(
        model,
        features,
        centre,
        (centre[None] @ layer.v @ layer.o @ model.W_U)[0],
        [Circuit("qk", *name, query[h], key[h].T) for h, name in enumerate(names)],
        [Circuit("ov", *name, value[h], centred[h]) for h, name in enumerate(names)],
    )


def _split(model: Transformer, x: Float[Tensor, "n wide"]) -> Float[Tensor, "n_heads n d_head"]:
    return model.blocks[-1].split(x[None])[0]


class Running:
    """The additive parts with some entries of QK and of OV between features, or with a circuit whole (None)."""

    def __init__(self, split: Parts, qk: Entries | None, ov: Entries | None) -> None:
        self.parts, self._qk, self._ov = split, None, None
        heads, n = split.n_heads, split.count
        if qk is not None:
            self._qk = torch.zeros(heads, n, n)
            self._qk[tuple(torch.from_numpy(each.astype(np.int64)) for each in qk[:3])] = torch.from_numpy(
                qk.value.astype(np.float32)
            )
        if ov is not None:
            at = (ov.head.astype(np.int64) * n + ov.row, ov.column)
            values = ov.value.astype(np.float32)
            self._ov = sparse.csr_matrix((values, at), shape=(heads * n, split.model.d_vocab))

    def pattern(self, read: Read) -> Float[Tensor, "n_heads ctx ctx"]:
        """Where the heads attend: the softmax of the additive scores and Σ_ab f_b(i) f_a(j) QK[b, a]."""
        f = read.features
        if self._qk is None:
            added = torch.stack([(f @ each.left) @ (each.right @ f.T) for each in self.parts.qk])
        else:
            added = (f @ self._qk) @ f.T
        return causal_softmax(read.scores + added)

    def logits(self, read: Read, pattern: Float[Tensor, "n_heads ctx ctx"]) -> Float[Tensor, "ctx d_vocab"]:
        """The additive logits and Σ_j A_ij Σ_a f_a(j) OV[a], given where the heads attend."""
        attended = pattern @ read.features
        if self._ov is None:
            return read.logits + sum(
                ((each @ c.left) @ c.right for each, c in zip(attended, self.parts.ov, strict=True)),
                torch.zeros_like(read.logits),
            )
        if not self._ov.nnz:
            return read.logits.clone()
        stacked = attended.transpose(1, 2).flatten(0, 1).numpy()
        return read.logits + torch.from_numpy(self._ov.T @ stacked).T

    def through(self, read: Read, gradient: Float[Tensor, "ctx d_vocab"]) -> Float[Tensor, "n_heads ctx ctx"]:
        """∂loss/∂A_ij through OV, up to a number for each destination, given ∂loss/∂logits."""
        f = read.features
        if self._ov is None:
            return torch.stack([(gradient @ c.right.T) @ (f @ c.left).T for c in self.parts.ov])
        found = torch.from_numpy(self._ov @ np.ascontiguousarray(gradient.numpy().T))
        return (f @ found.unflatten(0, (self.parts.n_heads, -1))).transpose(1, 2)


@torch.no_grad()
def losses(several: list[Running], windows: Int[Tensor, "batch width"]) -> Float[np.ndarray, "several batch"]:
    """The mean loss of each context, nats per token, of several that share their features and additive parts."""
    found = np.empty((len(several), len(windows)))
    for number, window in enumerate(windows):
        read, targets = several[0].parts.read(window[:-1]), window[2:, None]
        for which, running in enumerate(several):
            logits = running.logits(read, running.pattern(read))[1:]
            found[which, number] = (logits.logsumexp(-1) - logits.gather(1, targets)[:, 0]).double().mean()
    return found
