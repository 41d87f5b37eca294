"""A model as the additive parts and single entries of its heads' circuits, on text.

Both circuits of a head are split into an additive part and a centred rest,

    QK[d, s] = q_d · k_s / √d_head     = (q_d · k̄ + q̄ · k_s − q̄ · k̄) / √d_head + (q_d − q̄) · (k_s − k̄) / √d_head
    OV[s, o] = v_s · u_o               = v̄ · u_o + (v_s − v̄) · u_o

with means over tokens by their frequency; of the rest of OV, rows are less their mean over output tokens, which the
softmax over the vocabulary ignores. Positions, the additive parts and the direct path W_E W_U are always kept; of the
rest, single entries. With every entry kept this is the model itself.

Heads of later layers read more than tokens. With r_i what earlier layers wrote at place i, the scores have three terms
more, of r_d with k_s, of q_d with r_s and of r_d with r_s, and the values one, of r_s. These, and what later layers
read of the values of earlier ones, are composition: they are no entries of token circuits, and are always kept, run
with the attention that the kept entries give. Heads of all layers stand one after the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int, Integer
from scipy import sparse
from torch import Tensor

from skiptrace.account.threads import threads
from skiptrace.circuits.factored import Circuit
from skiptrace.models.transformer import Transformer
from skiptrace.progress import progress


class Entries(NamedTuple):
    """Kept entries of one circuit of every head: their values at (head, row, column), in logits or attention score."""

    head: Integer[np.ndarray, " n"]
    row: Integer[np.ndarray, " n"]
    column: Integer[np.ndarray, " n"]
    value: Float[np.ndarray, " n"]

    def first(self, n: int) -> "Entries":
        """The first `n` of them."""
        return Entries(*(each[:n] for each in self))

    @classmethod
    def at(
        cls,
        circuits: Sequence[Circuit],
        head: Integer[np.ndarray, " n"],
        row: Integer[np.ndarray, " n"],
        column: Integer[np.ndarray, " n"],
    ) -> "Entries":
        """Those at these places of the circuits of all heads."""
        value = np.empty(len(head), dtype=np.float32)
        for index, circuit in enumerate(circuits):
            mine = np.flatnonzero(head == index)
            places = (torch.from_numpy(each[mine].astype(np.int64)) for each in (row, column))
            value[mine] = circuit.entries(*places).numpy()
        return cls(head, row, column, value)


NO_ENTRIES = Entries(*(np.empty(0, dtype=kind) for kind in (np.int64, np.int64, np.int64, np.float32)))


@runtime_checkable
class Additive(Protocol):
    """What a model is without the interactions of tokens in its circuits."""

    @property
    def W_U(self) -> Float[Tensor, "d_model d_vocab"]:
        """The unembedding."""
        ...

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

    def logits(
        self, tokens: Int[Tensor, " ctx"], composed: Float[Tensor, "ctx d_model"] | None = None
    ) -> Float[Tensor, "ctx d_vocab"]:
        """The direct path and the mean output of every head, and what is `composed`."""
        ...

    def attend(
        self, tokens: Int[Tensor, " ctx"], scores: Float[Tensor, "n_heads ctx ctx"]
    ) -> Float[Tensor, "n_heads ctx ctx"]:
        """Attention, given the scores of tokens and places; later layers add those of composition."""
        ...

    def composed(
        self, tokens: Int[Tensor, " ctx"], pattern: Float[Tensor, "n_heads ctx ctx"]
    ) -> Float[Tensor, "ctx d_model"] | None:
        """What later layers write of what earlier ones wrote, given where heads attend; None for a single layer."""
        ...


@dataclass(frozen=True)
class Split:
    """A model split into additive parts (`scores`, `logits`), composition, and centred circuits, held as thin factors.

    Arrays and circuits have the heads of all layers one after the other.
    """

    model: Transformer
    W_U: Float[Tensor, "d_model d_vocab"]
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

    def logits(
        self, tokens: Int[Tensor, " ctx"], composed: Float[Tensor, "ctx d_model"] | None = None
    ) -> Float[Tensor, "ctx d_vocab"]:
        """W_E W_U and Σ_h v̄ W_O W_U, and what is `composed` times W_U."""
        stream = self.model.W_E[tokens]
        return (stream if composed is None else stream + composed) @ self.W_U + self.mean_output

    def attend(
        self, tokens: Int[Tensor, " ctx"], scores: Float[Tensor, "n_heads ctx ctx"]
    ) -> Float[Tensor, "n_heads ctx ctx"]:
        """The softmax of the scores; in later layers of these and r_i · k_j + q_i · r_j + r_i · r_j, over √d_head."""
        first, *later = scores.chunk(self.model.n_layers)
        found = [causal_softmax(first)]
        stream = torch.zeros(len(tokens), self.model.d_model, dtype=scores.dtype)
        for index, own in enumerate(later, 1):
            stream = stream + self._written(index - 1, self.model.W_E[tokens] + stream, found[-1])
            found.append(causal_softmax(own + self._composed_scores(index, tokens, stream)))
        return torch.cat(found)

    def composed(
        self, tokens: Int[Tensor, " ctx"], pattern: Float[Tensor, "n_heads ctx ctx"]
    ) -> Float[Tensor, "ctx d_model"] | None:
        """Σ A_ij r_j W_V W_O over the heads of later layers."""
        if self.model.n_layers == 1:
            return None
        found = stream = torch.zeros(len(tokens), self.model.d_model, dtype=pattern.dtype)
        for index, own in enumerate(pattern.chunk(self.model.n_layers)):
            found = found + self._written(index, stream, own)
            stream = stream + self._written(index, self.model.W_E[tokens] + stream, own)
        return found

    def _composed_scores(
        self, index: int, tokens: Int[Tensor, " ctx"], stream: Float[Tensor, "ctx d_model"]
    ) -> Float[Tensor, "heads_of_layer ctx ctx"]:
        layer, ctx = self.model.blocks[index], len(tokens)
        own = slice(index * self.model.n_heads, (index + 1) * self.model.n_heads)
        query, key = (layer.split((stream @ w)[None])[0] for w in (layer.q * self.model.d_head**-0.5, layer.k))
        of_query = self.query[own][:, tokens] + self.query_place[own][:, :ctx]
        of_key = self.key[own][:, tokens] + self.key_place[own][:, :ctx]
        return query @ (of_key + key).transpose(1, 2) + of_query @ key.transpose(1, 2)

    def _written(
        self, index: int, stream: Float[Tensor, "ctx d_model"], pattern: Float[Tensor, "heads_of_layer ctx ctx"]
    ) -> Float[Tensor, "ctx d_model"]:
        layer = self.model.blocks[index]
        return (pattern @ layer.split((stream @ layer.v)[None])[0]).transpose(0, 1).flatten(1) @ layer.o


@torch.no_grad()
def split(model: Transformer, frequency: Float[Tensor, " d_vocab"]) -> Split:
    """Split a model with layers, without layer norm and MLP and with positions beside the stream; see `splits`."""
    pos, scale, p = model.positions(model.n_ctx), model.d_head**-0.5, frequency.to(model.W_E.dtype)
    factors: list[list[Tensor]] = []
    for layer in model.blocks:
        of_tokens = [layer.split((model.W_E @ w)[None])[0] for w in (layer.q * scale, layer.k, layer.v)]
        of_places = [layer.split((pos @ w)[None])[0] for w in (layer.q * scale, layer.k)]
        factors.append([*of_tokens, *of_places, layer.W_O @ model.W_U])
    query, key, value, query_place, key_place, out = (torch.cat(each) for each in zip(*factors, strict=True))
    q, k, v = ((x * p[:, None]).sum(1, keepdim=True) for x in (query, key, value))
    centred = out - (out * p).sum(-1, keepdim=True)
    names = [(str(layer), str(head)) for layer in range(model.n_layers) for head in range(model.n_heads)]
    return Split(
        model,
        model.W_U,
        query,
        key,
        query_place,
        key_place,
        q,
        (v @ out).sum(0)[0],
        [Circuit("qk", *name, query[h] - q[h], (key[h] - k[h]).T) for h, name in enumerate(names)],
        [Circuit("ov", *name, value[h] - v[h], centred[h]) for h, name in enumerate(names)],
    )


def splits(model: Transformer) -> bool:
    """Whether a model is its direct path, its heads' circuits and composition, positions beside the stream."""
    bias = any(layer.b_O is not None for layer in model.blocks)
    beside = not model.standard_positions and not model.config.by_distance
    return model.n_layers > 0 and model.linear and beside and not bias


def applies(model: Transformer) -> bool:
    """Whether a model is the sum of its direct path and its heads' circuits: one layer, which nothing composes with."""
    return model.n_layers == 1 and splits(model)


class Running:
    """The additive parts with some entries of QK and of OV, or with one of the circuits whole."""

    def __init__(self, additive: Additive, qk: Entries | list[Circuit], ov: Entries | list[Circuit]) -> None:
        self.additive, self.qk, self.ov = additive, qk, ov
        if isinstance(qk, Entries):
            self._scores = self._stacked(qk)
        if isinstance(ov, Entries):
            self._outputs = self._stacked(ov)
        else:
            self._moved = torch.stack([circuit.left for circuit in ov])
            self._out = torch.cat([circuit.right for circuit in ov])  # one product for all heads

    def pattern(
        self,
        tokens: Int[Tensor, " ctx"],
        added: Float[Tensor, "n_heads ctx ctx"] | None = None,
        additive: Float[Tensor, "n_heads ctx ctx"] | None = None,
    ) -> Float[Tensor, "n_heads ctx ctx"]:
        """Attention from every destination to every source of a context, with something `added` to the scores.

        `additive` are the additive scores, where they are known.
        """
        scores = self.additive.scores(tokens) if additive is None else additive.clone()
        if isinstance(self.qk, Entries):
            held, at = tokens.unique(return_inverse=True)  # a context has far fewer tokens than places
            rows = self._rows_of(self._scores, held)
            local = np.full(self.additive.d_vocab, -1)
            local[held] = np.arange(len(held))
            row, column = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr)), local[rows.indices]
            there = column >= 0
            kept = np.zeros((rows.shape[0], len(held)), dtype=np.float32)
            kept[row[there], column[there]] = rows.data[there]
            scores += torch.from_numpy(kept).unflatten(0, (-1, len(held)))[:, at][:, :, at]
        else:
            for head, circuit in enumerate(self.qk):
                scores[head] += circuit.restricted(tokens, tokens).dense()
        return self.additive.attend(tokens, scores if added is None else scores + added)

    def logits(
        self,
        tokens: Int[Tensor, " ctx"],
        pattern: Float[Tensor, "n_heads ctx ctx"],
        beside: Float[Tensor, "ctx d_vocab"] | None = None,
    ) -> Float[Tensor, "ctx d_vocab"]:
        """The logits of a context, given where its heads attend; `beside` are those of the rest, where known."""
        logits = self.beside(tokens, pattern) if beside is None else beside.clone()
        if isinstance(self.ov, Entries):
            held, at = tokens.unique(return_inverse=True)
            rows = self._rows_of(self._outputs, held)
            if rows.nnz:
                attended = by_token(pattern, at, len(held))
                logits += torch.from_numpy(rows.T @ attended.transpose(1, 2).flatten(0, 1).numpy()).T
        else:
            logits += (pattern @ self._moved[:, tokens]).transpose(0, 1).flatten(1) @ self._out
        return logits

    def beside(
        self, tokens: Int[Tensor, " ctx"], pattern: Float[Tensor, "n_heads ctx ctx"]
    ) -> Float[Tensor, "ctx d_vocab"]:
        """The logits without entries of OV: the additive ones, and what later layers make of earlier ones."""
        return self.additive.logits(tokens, self.additive.composed(tokens, pattern))

    def through(
        self, tokens: Int[Tensor, " ctx"], gradient: Float[Tensor, "ctx d_vocab"]
    ) -> Float[Tensor, "n_heads ctx ctx"]:
        """∂loss/∂A_ij through the kept entries of OV, up to a number for each destination, given ∂loss/∂logits."""
        if isinstance(self.ov, Entries):
            held, at = tokens.unique(return_inverse=True)
            found = self._rows_of(self._outputs, held) @ np.ascontiguousarray(gradient.numpy().T)
            return torch.from_numpy(found).unflatten(0, (-1, len(held)))[:, at].transpose(1, 2)
        moved = (gradient @ self._out.T).unflatten(1, (len(self.ov), -1)).transpose(0, 1)
        return moved @ self._moved[:, tokens].transpose(1, 2)

    def _stacked(self, kept: Entries) -> sparse.csr_matrix:
        """The rows of all heads, one head below the other."""
        n, heads = self.additive.d_vocab, self.additive.n_heads
        at = (kept.head.astype(np.int64) * n + kept.row, kept.column)
        return sparse.csr_matrix((kept.value.astype(np.float32), at), shape=(heads * n, n))

    def _rows_of(self, stacked: sparse.csr_matrix, held: Int[Tensor, " n"]) -> sparse.csr_matrix:
        """The kept entries in the rows of these tokens, one head below the other."""
        first = np.arange(self.additive.n_heads)[:, None] * self.additive.d_vocab
        return stacked[(first + held.numpy()).ravel()]


def by_token(
    pattern: Float[Tensor, "n_heads ctx ctx"], at: Int[Tensor, " ctx"], held: int
) -> Float[Tensor, "n_heads ctx held"]:
    """Attention to each of the `held` tokens of a context, wherever it stands: at place j stands token `at[j]`."""
    return pattern.new_zeros(*pattern.shape[:2], held).index_add_(2, at, pattern)


def causal_softmax(scores: Float[Tensor, "heads ctx ctx"]) -> Float[Tensor, "heads ctx ctx"]:
    """Over the sources that are not later than the destination."""
    future = torch.ones(scores.shape[1:], dtype=torch.bool).triu(1)
    return scores.masked_fill(future, -torch.inf).softmax(-1)


@torch.no_grad()
def context_losses(running: Running, windows: Int[Tensor, "batch width"]) -> Float[np.ndarray, " batch"]:
    """The mean loss of each context, nats per token; nothing is predicted from the token that begins it."""
    return losses_of([running], windows)[0]


def losses_of(several: Sequence[Running], windows: Int[Tensor, "batch width"]) -> Float[np.ndarray, "several batch"]:
    """`context_losses` of several that share their additive parts; what they share is computed once for each context.

    Those whose kept QK is the same object attend alike.
    """

    @torch.no_grad()
    def of_context(window: Tensor) -> list[float]:
        tokens, targets = window[:-1], window[2:, None]
        scores = several[0].additive.scores(tokens)
        alike: dict[int, tuple[Tensor, Tensor]] = {}
        found = []
        for running in several:
            if id(running.qk) not in alike:
                pattern = running.pattern(tokens, additive=scores)
                alike[id(running.qk)] = pattern, running.beside(tokens, pattern)
            logits = running.logits(tokens, *alike[id(running.qk)])[1:]
            found.append((logits.logsumexp(-1) - logits.gather(1, targets)[:, 0]).double().mean().item())
        return found

    with threads() as each:
        return np.array(list(progress(each(of_context, windows), "losses", len(windows), leave=False))).T
