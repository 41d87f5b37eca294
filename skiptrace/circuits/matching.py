"""Heads of two models matched by what they do to tokens, since training permutes and turns them freely.

Two heads are alike when their circuits are: the similarity of M₁ and M₂ is their cosine under the
inner product Σ_ij p_i p_j M₁[i,j] M₂[i,j] over pairs of tokens of the corpus. OV is centred over its
outs and QK over its sources, shifts that softmax ignores. Circuits map tokens to tokens, so the basis
of a head, the basis of the residual stream and the place of a head in its layer leave it unchanged.
With M = W_E A B W_E'ᵀ every inner product is a trace of d_head × d_head matrices, and the vocabulary is
summed over once, in W_Eᵀ diag(p) W_E: no vocabulary × vocabulary matrix appears.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from skiptrace.circuits.factored import head_name, heads
from skiptrace.models.transformer import Transformer


class Tokens(NamedTuple):
    """Tokens that two vocabularies share: their ids in each, and their weights, which add up to 1."""

    a: Int[Tensor, " shared"]
    b: Int[Tensor, " shared"]
    weight: Float[Tensor, " shared"]


class Similarity(NamedTuple):
    """Cosines of every head of one model (rows) with every head of another (columns), from -1 to 1."""

    names_a: list[str]
    names_b: list[str]
    ov: Float[np.ndarray, "heads_a heads_b"]
    qk: Float[np.ndarray, "heads_a heads_b"]

    @property
    def both(self) -> Float[np.ndarray, "heads_a heads_b"]:
        """The mean of the two."""
        return (self.ov + self.qk) / 2


class Match(NamedTuple):
    """A head, its counterpart, their similarity, and that of the next best head with either; None: no counterpart."""

    a: str | None
    b: str | None
    ov: float | None
    qk: float | None
    runner_up: float | None

    @property
    def similarity(self) -> float | None:
        """The mean similarity of the two circuits."""
        return None if self.ov is None or self.qk is None else (self.ov + self.qk) / 2


def shared_tokens(a: pd.DataFrame, b: pd.DataFrame) -> Tokens:
    """Tokens by id where both vocabularies are the same, by text elsewhere; weighed by their mean probability.

    A text that several tokens of a vocabulary have names none of them.
    """
    if a["token"].tolist() == b["token"].tolist():
        ids = np.arange(len(a))
        pairs = pd.DataFrame({"a": ids, "b": ids})
    else:
        sides = [
            pd.DataFrame({"token": table["token"], name: np.arange(len(table))}).drop_duplicates("token", keep=False)
            for name, table in (("a", a), ("b", b))
        ]
        pairs = sides[0].merge(sides[1], on="token")
    weight = a["probability"].to_numpy()[pairs["a"]] + b["probability"].to_numpy()[pairs["b"]]
    total = weight.sum()
    return Tokens(
        torch.tensor(pairs["a"].to_numpy()),
        torch.tensor(pairs["b"].to_numpy()),
        torch.tensor(weight / total if total > 0 else weight, dtype=torch.float64),
    )


def similarity(a: Transformer, b: Transformer, tokens: Tokens) -> Similarity:
    """The cosines of all heads of `a` with all heads of `b`."""
    one, two = (_Side(m, m.W_E[ids].double(), m.W_U[:, ids].double()) for m, ids in ((a, tokens.a), (b, tokens.b)))
    across, own_a, own_b = (_products(x, y, tokens.weight) for x, y in ((one, two), (one, one), (two, two)))
    cosines = [_cosine(w, x.diagonal(), y.diagonal()) for w, x, y in zip(across, own_a, own_b, strict=True)]
    return Similarity([head_name(h) for h in heads(a)], [head_name(h) for h in heads(b)], *cosines)


def match(alike: Similarity) -> list[Match]:
    """The one-to-one pairing whose similarities add up to most, in the order of the rows; then what is left over."""
    both = alike.both
    rows, columns = linear_sum_assignment(both, maximize=True)
    found = []
    for i, j in zip(rows, columns, strict=True):
        others = [*np.delete(both[i], j), *np.delete(both[:, j], i)]
        runner_up = float(max(others)) if others else None
        cosines = float(alike.ov[i, j]), float(alike.qk[i, j])
        found.append(Match(alike.names_a[i], alike.names_b[j], *cosines, runner_up))
    found += [Match(name, None, None, None, None) for i, name in enumerate(alike.names_a) if i not in rows]
    return found + [Match(None, name, None, None, None) for j, name in enumerate(alike.names_b) if j not in columns]


class _Side(NamedTuple):
    """A model on the shared tokens, in double precision."""

    model: Transformer
    W_E: Float[Tensor, "shared d_model"]
    W_U: Float[Tensor, "d_model shared"]


def _products(x: _Side, y: _Side, weight: Float[Tensor, " shared"]) -> list[Float[np.ndarray, "heads_a heads_b"]]:
    """Inner products of the OV and of the QK circuits of all heads."""
    embedded = (x.W_E.T * weight) @ y.W_E
    sources = _covariance(x.W_E.T, y.W_E.T, weight)
    outs = _covariance(x.W_U, y.W_U, weight)
    shape = len(heads(x.model)), len(heads(y.model))
    ov, qk = np.zeros(shape), np.zeros(shape)
    # ⟨L₁R₁, L₂R₂⟩ = Σ (L₁ᵀL₂) ∘ (R₁R₂ᵀ), in which only the last factors depend on the second head.
    for i, (q1, k1, v1, o1) in enumerate(_heads(x.model)):
        v, o, q, k = v1.T @ embedded, o1 @ outs, q1.T @ embedded, k1.T @ sources
        for j, (q2, k2, v2, o2) in enumerate(_heads(y.model)):
            ov[i, j] = float(((v @ v2) * (o @ o2.T)).sum())
            qk[i, j] = float(((q @ q2) * (k @ k2)).sum())
    return [ov, qk]


def _heads(model: Transformer) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """W_Q, W_K, W_V and W_O of every head, in order, in double precision."""
    for layer, head in heads(model):
        of = model.blocks[layer]
        yield of.W_Q[head].double(), of.W_K[head].double(), of.W_V[head].double(), of.W_O[head].double()


def _covariance(
    x: Float[Tensor, "d_x shared"], y: Float[Tensor, "d_y shared"], weight: Float[Tensor, " shared"]
) -> Float[Tensor, "d_x d_y"]:
    """Weighted products of two sets of columns, each less its weighted mean."""
    return ((x - (x @ weight)[:, None]) * weight) @ (y - (y @ weight)[:, None]).T


def _cosine(
    across: Float[np.ndarray, "n m"], own_a: Float[np.ndarray, " n"], own_b: Float[np.ndarray, " m"]
) -> Float[np.ndarray, "n m"]:
    norm = np.sqrt(np.clip(own_a, 0, None))[:, None] * np.sqrt(np.clip(own_b, 0, None))
    return np.divide(across, norm, out=np.zeros_like(across), where=norm > 0)
