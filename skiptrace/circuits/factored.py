"""Circuits: vocabulary × vocabulary matrices held as two thin factors.

Rows and columns follow the row-vector convention x W. `direct` has the current token in its rows
and the next in its columns; `ov` the source and the output token; `qk` the destination and the source.

W_E stands for what a layer reads of each token alone (`Transformer.reads`), and 1/std of layer norm for what
`Transformer.scale` says.

Where positions are rotary, QK depends on the distance D of the two tokens: x_d W_Q R(D) W_Kᵀ x_s, with R the rotation
by D times the frequencies of the model (Su et al. 2021). `qk` is then the mean over the distances in a context, which
is as thin, and `qk_at_4` the circuit at one. Where positions are relative, `qk_at_4` is QK and what they add there.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from skiptrace.arithmetic import on_one_thread
from skiptrace.devices import CPU
from skiptrace.errors import InputError
from skiptrace.models.transformer import Transformer

Head = tuple[int, int]  # layer and place in it
# Entries of full rows held at once: 64 MB, which are returned to the system when they are freed. The allocator takes
# blocks below 32 MB from its heap, and what is allocated between them leaves holes that the next does not fit into.
PANEL = 2**24


@dataclass(frozen=True)
class Circuit:
    """The matrix `left @ right`; `name` is a key of `KINDS`; `layer` and `head` read `none` for the direct path.

    The factors are on the CPU; passes over all entries are made on `device`.
    """

    name: str
    layer: str
    head: str
    left: Float[Tensor, "rows rank"]
    right: Float[Tensor, "rank columns"]
    device: torch.device = CPU

    def on(self, device: torch.device) -> "Circuit":
        """The same matrix, with passes over all entries on a device."""
        return replace(self, device=device)

    @property
    def label(self) -> str:
        """Its name for people: `direct`, or the circuit and its heads as in `ov L0H3`."""
        return " ".join([self.name, *Name(self.name, self.layer, self.head).heads])

    def eigenvalues(self) -> Complex[Tensor, " rank"]:
        """The eigenvalues that are not forced to zero: those of right·left, since λ(AB) = λ(BA)."""
        return on_one_thread(torch.linalg.eigvals, self.right.double() @ self.left.double())

    @property
    def shape(self) -> tuple[int, int]:
        """How many rows and columns the matrix has."""
        return self.left.shape[0], self.right.shape[1]

    def transposed(self) -> "Circuit":
        """The matrix with its columns as rows."""
        return replace(self, left=self.right.T, right=self.left.T)

    def centred(self, weight: Float[Tensor, " columns"] | None = None) -> "Circuit":
        """The matrix less, in every row, the mean over its columns, weighted by `weight` (which sums to one)."""
        mean = self.right.mean(1) if weight is None else (self.right @ weight.to(self.right.dtype)[:, None])[:, 0]
        return replace(self, right=self.right - mean[:, None])

    def weighted(self, rows: Float[Tensor, " rows"]) -> "Circuit":
        """The matrix with every row times its weight."""
        return replace(self, left=self.left * rows.to(self.left.dtype)[:, None])

    def restricted(self, rows: Int[Tensor, " n"], columns: Int[Tensor, " m"]) -> "Circuit":
        """The matrix of these rows and columns alone, in the order given."""
        return replace(self, left=self.left[rows], right=self.right[:, columns])

    def entries(self, rows: Int[Tensor, " n"], columns: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Single entries, at (rows[i], columns[i])."""
        return (self.left[rows] * self.right[:, columns].T).sum(1)

    def row(self, token: int) -> Float[Tensor, " columns"]:
        """One row in full."""
        return self.left[token] @ self.right

    def rows(self, tokens: Int[Tensor, " n"]) -> Float[Tensor, "n columns"]:
        """Several rows in full."""
        return self.left[tokens] @ self.right

    def column(self, token: int) -> Float[Tensor, " rows"]:
        """One column in full."""
        return self.left @ self.right[:, token]

    def dense(self) -> Float[Tensor, "rows columns"]:
        """The whole matrix.

        Raises:
            ValueError: it has more than 2²⁴ entries; use `row`, `column`, `entries`, `restricted` or `row_panels`.
        """
        rows, columns = self.shape
        if rows * columns > PANEL:
            raise ValueError(
                f"{self.label}: {rows} × {columns} entries are more than {PANEL}; use row, column, entries, restricted "
                "or row_panels"
            )
        return self.left @ self.right

    def row_panels(self) -> Iterator[tuple[Int[Tensor, " n"], Float[Tensor, "n columns"]]]:
        """All rows in full, in order, as many at once as fit in 64 MB, with their places; in single precision."""
        left, right = self.left.float(), self.right.float()
        for places in torch.arange(len(left)).split(max(1, PANEL // right.shape[1])):
            yield places, left[places] @ right

    def weighted_sums(self, weights: Float[Tensor, " columns"]) -> Float[Tensor, " rows"]:
        """The sum of every row's entries, weighted by column."""
        return self.left @ (self.right @ weights)

    def column_means(self) -> Float[Tensor, " rows"]:
        """The mean of every row over its columns."""
        return self.left @ self.right.mean(1)


def direct(model: Transformer) -> Circuit:
    """W_E W_U, the path that no head touches (section "Zero-Layer Transformers")."""
    return Circuit("direct", "none", "none", model.reads(model.n_layers), model.W_U)


def ov(model: Transformer, layer: int, head: int) -> Circuit:
    """W_E W_V W_O W_U, in logits: what attending to a source does to each output token."""
    heads = model.blocks[layer]
    left, right = model.reads(layer) @ heads.W_V[head], heads.W_O[head] @ model.W_U * model.scale(model.n_layers)
    return Circuit("ov", str(layer), str(head), left, right)


def qk(model: Transformer, layer: int, head: int, offset: int | None = None) -> Circuit:
    """W_E W_Q R W_Kᵀ W_Eᵀ/√d_head, in attention scores: how strongly each destination attends to each source.

    R is the identity but where positions are rotary: R(`offset`) for a source so many places before, or its mean over
    the distances of a context. What relative positions add at a distance is part of the circuit there, and not of the
    mean, where softmax ignores it. Norms of queries and keys are those of single tokens.
    """
    heads = model.blocks[layer]
    alone = model.reads(layer)
    query = heads.normed(alone @ heads.W_Q[head], heads.q_norm)
    key = heads.normed(alone @ heads.W_K[head], heads.k_norm)
    name = "qk" if offset is None else f"{AT_OFFSET}{offset}"
    left = heads.at_distance(query, model.n_ctx, offset) / math.sqrt(model.d_head)
    if offset is not None and heads.distance_bias is not None:
        left = torch.cat([left, heads.distance_bias[head, offset].expand(len(left), 1)], 1)
        key = torch.cat([key, torch.ones_like(key[:, :1])], 1)
    return Circuit(name, str(layer), str(head), left, key.T)


def virtual_ov(model: Transformer, first: Head, then: Head) -> Circuit:
    """W_E W_OV^h₁ W_OV^h₂ W_U, in logits: what a source does to each output token through two heads in turn."""
    one, two = model.blocks[first[0]], model.blocks[then[0]]
    left = model.reads(first[0]) @ one.W_V[first[1]]
    right = one.W_O[first[1]] @ two.W_V[then[1]] @ two.W_O[then[1]] @ model.W_U
    right = right * (model.scale(then[0]) * model.scale(model.n_layers))
    return Circuit("virtual_ov", f"{first[0]}-{then[0]}", f"{first[1]}-{then[1]}", left, right)


def k_composition(model: Transformer, first: Head, then: Head) -> Circuit:
    """W_E W_Q^h₂ (W_OV^h₁ W_K^h₂)ᵀ W_Eᵀ/√d_head, in attention scores.

    How strongly each destination of the later head attends to a place to which the earlier head has moved each source.
    An induction head attends to its own token there (section "How Induction Heads Work").
    """
    one, two = model.blocks[first[0]], model.blocks[then[0]]
    query = model.reads(then[0]) @ two.W_Q[then[1]] / math.sqrt(model.d_head)
    moved = model.reads(first[0]) @ one.W_V[first[1]] @ (one.W_O[first[1]] @ two.W_K[then[1]] * model.scale(then[0]))
    if two.q_norm is not None and two.k_norm is not None:
        query, moved = query * two.q_norm, moved * two.k_norm
    left = two.at_distance(query, model.n_ctx)
    return Circuit("k_composition", f"{first[0]}-{then[0]}", f"{first[1]}-{then[1]}", left, moved.T)


def head_name(head: Head) -> str:
    """A head's name for people, as in `L0H3`."""
    return f"L{head[0]}H{head[1]}"


def heads(model: Transformer) -> list[Head]:
    """(layer, head) of every head, in order."""
    return [(layer, head) for layer in range(model.n_layers) for head in range(model.n_heads)]


def pairs(model: Transformer) -> list[tuple[Head, Head]]:
    """Every two heads in different layers, the earlier one first: the virtual heads."""
    return [(first, then) for first in heads(model) for then in heads(model) if first[0] < then[0]]


def strongest_pairs(model: Transformer, most: int | None) -> list[tuple[Head, Head]]:
    """At most `most` pairs, or all, those with the largest ‖W_OV^h₁ W_OV^h₂‖ first."""
    # The norm of a product of thin factors needs their triangular factors alone, which are d_head × d_head.
    into = [on_one_thread(torch.linalg.qr, layer.W_V).R for layer in model.blocks]
    out = [on_one_thread(torch.linalg.qr, layer.W_O.mT).R.mT for layer in model.blocks]

    def size(pair: tuple[Head, Head]) -> float:
        (i, h), (j, g) = pair
        inner = model.blocks[i].W_O[h] @ model.blocks[j].W_V[g]
        return float((into[i][h] @ inner @ out[j][g]).norm()) * model.scale(i) * model.scale(j)

    return sorted(pairs(model), key=size, reverse=True)[:most]


class Kind(NamedTuple):
    """A kind of circuit: its function of the model and `heads` heads, and whether entries are scores or logits.

    Attention scores are centred per destination by the corpus-weighted mean over sources, logits per row by the mean.
    """

    make: Callable[..., Circuit]
    heads: int
    scores: bool


# A new kind is its function and an entry here: names, stored circuits, statistics and `skiptrace.circuit` follow.
KINDS = {
    "direct": Kind(direct, 0, scores=False),
    "qk": Kind(qk, 1, scores=True),
    "ov": Kind(ov, 1, scores=False),
    "virtual_ov": Kind(virtual_ov, 2, scores=False),
    "k_composition": Kind(k_composition, 2, scores=True),
}
# The name of QK at a distance is this and the distance, as in qk_at_4; all of them together are the kind qk_at.
AT_OFFSET = "qk_at_"
QK_AT = AT_OFFSET.removesuffix("_")


def kind_of(circuit: str) -> Kind:
    """The kind of a circuit by its name: a key of `KINDS`, or QK at a distance, as in `qk_at_4`."""
    offset = circuit.removeprefix(AT_OFFSET)
    return KINDS[circuit] if offset == circuit else Kind(partial(qk, offset=int(offset)), 1, scores=True)


class Name(NamedTuple):
    """Which circuit, as `kind_of` has it, and its layers and heads, as in `0-1`; `none` for the direct path."""

    circuit: str
    layer: str
    head: str

    @classmethod
    def of(cls, kind: str, *heads: Head) -> "Name":
        """The circuit of a kind and its heads, earliest first."""
        layers, places = (("-".join(str(head[part]) for head in heads) or "none") for part in (0, 1))
        return cls(kind, layers, places)

    @property
    def heads(self) -> list[str]:
        """The names of its heads, earliest first; none for the direct path."""
        return [head_name(head) for head in self.places]

    @property
    def places(self) -> list[Head]:
        """Its heads, earliest first."""
        if self.layer == "none":
            return []
        layers, places = (map(int, part.split("-")) for part in (self.layer, self.head))
        return list(zip(layers, places, strict=True))


def names(model: Transformer, virtual_heads: int, offsets: Sequence[int] = ()) -> list[Name]:
    """Every circuit: of the embedding alone, of every head as if it read the embedding, and of the strongest pairs."""
    return names_among(model, strongest_pairs(model, virtual_heads) if virtual_heads else [], offsets)


def names_among(model: Transformer, pairs: list[tuple[Head, Head]], offsets: Sequence[int] = ()) -> list[Name]:
    """Every circuit of no head, of one head, and of these pairs; QK also at those of these offsets that are `seen`."""
    groups: list[tuple[Head, ...]] = [(), *((head,) for head in heads(model)), *pairs]
    found = []
    for group in groups:
        found += [Name.of(name, *group) for name, kind in KINDS.items() if kind.heads == len(group)]
        if len(group) == 1:
            found += [Name.of(f"{AT_OFFSET}{offset}", *group) for offset in seen(model, group[0][0], offsets)]
    return found


def seen(model: Transformer, layer: int, offsets: Sequence[int]) -> list[int]:
    """Those of these offsets at which the heads of a layer see a source; none where QK is the same at all of them."""
    return [
        offset for offset in offsets if model.config.by_distance and offset <= model.blocks[layer].farthest(model.n_ctx)
    ]


def named(model: Transformer, name: Name) -> Circuit:
    """The circuit of this name."""
    kind = kind_of(name.circuit)
    return kind.make(model, *name.places) if kind.heads != 1 else kind.make(model, *name.places[0])


def chosen(found: list[Name], circuits: Sequence[str] | None, only: Sequence[str] | None) -> list[Name]:
    """Those of these circuits, or of all, whose heads are all among `only`, or any heads."""
    return [
        n
        for n in found
        if (circuits is None or n.circuit in circuits or (QK_AT in circuits and n.circuit.startswith(AT_OFFSET)))
        and (only is None or set(n.heads) <= set(only))
    ]


def refuse_unknown(circuits: Sequence[str] | None) -> None:
    """Do nothing where all are kinds of circuit.

    Raises:
        InputError: one is none.
    """
    for name in circuits or ():
        if name not in (*KINDS, QK_AT):
            known = ", ".join((*KINDS, QK_AT))
            raise InputError(f"expansion.circuits: no circuit {name!r}; there is all, or a list of {known}")
