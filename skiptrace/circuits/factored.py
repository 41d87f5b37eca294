"""Circuits: vocabulary × vocabulary matrices held as two thin factors.

Rows and columns follow the row-vector convention x W. `direct` has the current token in its rows
and the next in its columns; `ov` the source and the out; `qk` the destination and the source.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from skiptrace.models.transformer import Transformer


@dataclass(frozen=True)
class Circuit:
    """The matrix `left @ right`; `layer` and `head` read `none` for the direct path."""

    name: str
    layer: str
    head: str
    left: Float[Tensor, "rows rank"]
    right: Float[Tensor, "rank columns"]

    @property
    def label(self) -> str:
        """Its name for people: `direct`, or the circuit and its head as in `ov L0H3`."""
        return self.name if self.layer == "none" else f"{self.name} L{self.layer}H{self.head}"

    def eigenvalues(self) -> Complex[Tensor, " rank"]:
        """The eigenvalues that are not forced to zero: those of right·left, since λ(AB) = λ(BA)."""
        return torch.linalg.eigvals(self.right.double() @ self.left.double())

    def column_means(self) -> Float[Tensor, " rows"]:
        """The mean of every row over its columns."""
        return self.left @ self.right.mean(1)


def direct(model: Transformer) -> Circuit:
    """W_E W_U, the path that no head touches (section "Zero-Layer Transformers")."""
    return Circuit("direct", "none", "none", model.W_E, model.W_U)


def ov(model: Transformer, layer: int, head: int) -> Circuit:
    """W_E W_V W_O W_U, in logits: what attending to a source does to each out token."""
    heads = model.attention[layer]
    left, right = model.W_E @ heads.W_V[head], heads.W_O[head] @ model.W_U
    return Circuit("ov", str(layer), str(head), left, right)


def qk(model: Transformer, layer: int, head: int) -> Circuit:
    """W_E W_Q W_Kᵀ W_Eᵀ/√d_head, in attention scores: how much each destination wants each source."""
    heads = model.attention[layer]
    left = model.W_E @ heads.W_Q[head] / math.sqrt(model.d_head)
    return Circuit("qk", str(layer), str(head), left, (model.W_E @ heads.W_K[head]).T)


def heads(model: Transformer) -> list[tuple[int, int]]:
    """(layer, head) of every head, in order."""
    return [(layer, head) for layer in range(model.n_layers) for head in range(model.n_heads)]


def all_circuits(model: Transformer) -> list[Circuit]:
    """The direct path, then QK and OV of every head, each as if it read the embedding directly."""
    per_head = [circuit(model, *h) for h in heads(model) for circuit in (qk, ov)]
    return [direct(model), *per_head]
