"""A one-layer model as its additive parts and single entries of its circuits, on text.

Both circuits of a head are split into an additive part and a centred rest,

    QK[d, s] = q_d · k_s / √d_head     = (q_d · k̄ + q̄ · k_s − q̄ · k̄) / √d_head + (q_d − q̄) · (k_s − k̄) / √d_head
    OV[s, o] = v_s · u_o               = v̄ · u_o + (v_s − v̄) · u_o

with means over tokens by their frequency; of the rest of OV, rows are less their mean over output tokens, which the
softmax over the vocabulary ignores. Positions, the additive parts and the direct path W_E W_U are always kept; of the
rest, single entries. With every entry kept this is the model itself.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Integer
from scipy import sparse
from torch import Tensor

from skiptrace.circuits.factored import Circuit
from skiptrace.models.transformer import Transformer


class Entries(NamedTuple):
    """Kept entries of one circuit of every head: their values at (head, row, column), in logits or attention score."""

    head: Integer[np.ndarray, " n"]
    row: Integer[np.ndarray, " n"]
    column: Integer[np.ndarray, " n"]
    value: Float[np.ndarray, " n"]

    def first(self, n: int) -> "Entries":
        """The first `n` of them."""
        return Entries(*(each[:n] for each in self))


NO_ENTRIES = Entries(*(np.empty(0, dtype=kind) for kind in (np.int64, np.int64, np.int64, np.float32)))


@runtime_checkable
class Additive(Protocol):
    """What a one-layer model is without its interactions."""

    @property
    def n_heads(self) -> int:
        """How many heads there are."""
        ...

    @property
    def d_vocab(self) -> int:
        """How many tokens there are."""
        ...

    def scores(self, tokens: Int[Tensor, " ctx"]) -> Float[Tensor, "n_heads ctx ctx"]:
        """The additive attention scores of a context, without terms that the softmax over sources ignores."""
        ...

    def logits(self, tokens: Int[Tensor, " ctx"]) -> Float[Tensor, "ctx d_vocab"]:
        """The direct path and the mean output of every head."""
        ...


@dataclass(frozen=True)
class Split:
    """A one-layer model split into additive parts (`scores`, `logits`) and centred circuits, held as thin factors."""

    model: Transformer
    query: Float[Tensor, "n_heads d_vocab d_head"]
    key: Float[Tensor, "n_heads d_vocab d_head"]
    query_place: Float[Tensor, "n_heads n_ctx d_head"]
    key_place: Float[Tensor, "n_heads n_ctx d_head"]
    query_mean: Float[Tensor, "n_heads 1 d_head"]
    mean_output: Float[Tensor, " d_vocab"]
    qk: list[Circuit]
    ov: list[Circuit]

    @property
    def n_heads(self) -> int:
        """How many heads there are."""
        return len(self.qk)

    @property
    def d_vocab(self) -> int:
        """How many tokens there are."""
        return self.model.d_vocab

    def scores(self, tokens: Int[Tensor, " ctx"]) -> Float[Tensor, "n_heads ctx ctx"]:
        """q̄ · k_j + q_i · k(j) + q(i) · k_j + q(i) · k(j), all over √d_head."""
        ctx = len(tokens)
        key, key_place = self.key[:, tokens], self.key_place[:, :ctx]
        query, query_place = self.query[:, tokens], self.query_place[:, :ctx]
        return (
            query @ key_place.transpose(1, 2)
            + query_place @ (key + key_place).transpose(1, 2)
            + (self.query_mean @ key.transpose(1, 2))
        )

    def logits(self, tokens: Int[Tensor, " ctx"]) -> Float[Tensor, "ctx d_vocab"]:
        """W_E W_U and Σ_h v̄ W_O W_U."""
        return self.model.W_E[tokens] @ self.model.W_U + self.mean_output


@torch.no_grad()
def split(model: Transformer, frequency: Float[Tensor, " d_vocab"]) -> Split:
    """Split a model of one layer, without layer norm and MLP and with positions beside the stream; see `applies`."""
    layer, pos, scale = model.blocks[0], model.positions(model.n_ctx), model.d_head**-0.5
    p = frequency.to(model.W_E.dtype)
    query, key, value = (layer.split((model.W_E @ w)[None])[0] for w in (layer.q * scale, layer.k, layer.v))
    query_place, key_place = (layer.split((pos @ w)[None])[0] for w in (layer.q * scale, layer.k))
    q, k, v = ((x * p[:, None]).sum(1, keepdim=True) for x in (query, key, value))
    out = layer.W_O @ model.W_U
    centred = out - (out * p).sum(-1, keepdim=True)
    heads = range(model.n_heads)
    return Split(
        model,
        query,
        key,
        query_place,
        key_place,
        q,
        (v @ out).sum(0)[0],
        [Circuit("qk", "0", str(h), query[h] - q[h], (key[h] - k[h]).T) for h in heads],
        [Circuit("ov", "0", str(h), value[h] - v[h], centred[h]) for h in heads],
    )


def applies(model: Transformer) -> bool:
    """Whether a model is the sum of its direct path and its heads' circuits, whose positions are beside the stream."""
    bias = any(layer.b_O is not None for layer in model.blocks)
    beside = not model.standard_positions and not model.config.rotary
    return model.n_layers == 1 and model.linear and beside and not bias


class Running:
    """The additive parts with some entries of QK and of OV, or with one of the circuits whole."""

    def __init__(self, additive: Additive, qk: Entries | list[Circuit], ov: Entries | list[Circuit]) -> None:
        self.additive, self.qk, self.ov = additive, qk, ov
        n = additive.d_vocab
        if isinstance(qk, Entries):
            self._keys, self._scores = [], []
            for head in range(additive.n_heads):
                mine = qk.head == head
                keys = qk.row[mine].astype(np.int64) * n + qk.column[mine]
                order = np.argsort(keys)
                self._keys.append(np.append(keys[order], n * n))  # the last is no entry: there is always one to find
                self._scores.append(np.append(qk.value[mine][order], 0).astype(np.float32))
        if isinstance(ov, Entries):
            # The rows of all heads, one head below the other.
            at = (ov.head.astype(np.int64) * n + ov.row, ov.column)
            self._rows = sparse.csr_matrix((ov.value.astype(np.float32), at), shape=(additive.n_heads * n, n))

    def pattern(self, tokens: Int[Tensor, " ctx"]) -> Float[Tensor, "n_heads ctx ctx"]:
        """Attention from every destination to every source of a context."""
        scores = self.additive.scores(tokens)
        held, at = tokens.unique(return_inverse=True)  # a context has far fewer tokens than places
        if isinstance(self.qk, Entries):
            wanted = (held[:, None] * self.additive.d_vocab + held).numpy()
            for head, (keys, values) in enumerate(zip(self._keys, self._scores, strict=True)):
                near = np.searchsorted(keys, wanted)
                kept = torch.from_numpy(np.where(keys[near] == wanted, values[near], np.float32(0)))
                scores[head] += kept[at][:, at]
        else:
            for head, circuit in enumerate(self.qk):
                scores[head] += circuit.restricted(tokens, tokens).dense()
        return scores.masked_fill(_future(len(tokens)), -torch.inf).softmax(-1)

    def logits(
        self, tokens: Int[Tensor, " ctx"], pattern: Float[Tensor, "n_heads ctx ctx"]
    ) -> Float[Tensor, "ctx d_vocab"]:
        """The logits of a context, given where its heads attend."""
        logits = self.additive.logits(tokens)
        if isinstance(self.ov, Entries):
            held, at = tokens.unique(return_inverse=True)
            attended = pattern.new_zeros(*pattern.shape[:2], len(held)).index_add_(2, at, pattern)
            rows = self._rows_of(held)
            if rows.nnz:
                logits += torch.from_numpy(rows.T @ attended.transpose(1, 2).flatten(0, 1).numpy()).T
        else:
            for head, circuit in enumerate(self.ov):
                logits += (pattern[head] @ circuit.left[tokens]) @ circuit.right
        return logits

    def through(
        self, tokens: Int[Tensor, " ctx"], gradient: Float[Tensor, "ctx d_vocab"]
    ) -> Float[Tensor, "n_heads ctx ctx"]:
        """∂loss/∂A_ij of every head, up to a number for each destination, given ∂loss/∂logits."""
        if isinstance(self.ov, Entries):
            held, at = tokens.unique(return_inverse=True)
            found = self._rows_of(held) @ np.ascontiguousarray(gradient.numpy().T)
            return torch.from_numpy(found).unflatten(0, (-1, len(held)))[:, at].transpose(1, 2)
        return torch.stack([(gradient @ circuit.right.T) @ circuit.left[tokens].T for circuit in self.ov])

    def _rows_of(self, held: Int[Tensor, " n"]) -> sparse.csr_matrix:
        """The kept entries of OV in the rows of these tokens, one head below the other."""
        first = np.arange(self.additive.n_heads)[:, None] * self.additive.d_vocab
        return self._rows[(first + held.numpy()).ravel()]


def _future(ctx: int) -> Bool[Tensor, "ctx ctx"]:
    return torch.ones(ctx, ctx, dtype=torch.bool).triu(1)


@torch.no_grad()
def context_losses(running: Running, windows: Int[Tensor, "batch width"]) -> Float[np.ndarray, " batch"]:
    """The mean loss of each context, nats per token; nothing is predicted from the token that begins it."""
    found = []
    for window in windows:
        tokens, targets = window[:-1], window[2:, None]
        logits = running.logits(tokens, running.pattern(tokens))[1:]
        found.append((logits.logsumexp(-1) - logits.gather(1, targets)[:, 0]).double().mean().item())
    return np.array(found)
