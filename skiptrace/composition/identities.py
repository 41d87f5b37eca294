"""The identities that the reading of a model rests on, each with its numeric error on real text.

"A Mathematical Framework", sections "Attention Heads are Independent and Additive", "Attention Heads as
Information Movement", "Path Expansion" and "Privileged vs Free Basis".
"""

import copy
from collections.abc import Callable

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from skiptrace.arithmetic import on_one_thread
from skiptrace.circuits.paths import MOST, path_count, path_logits, paths
from skiptrace.composition.tables import IDENTITIES
from skiptrace.composition.terms import frozen_runs
from skiptrace.models.transformer import Transformer


@torch.no_grad()
def identities(model: Transformer, tokens: Int[Tensor, "batch ctx"]) -> pd.DataFrame:
    """`error`: the largest absolute difference between both sides, in float64; `scale`: the largest entry.

    Logits on both sides, but for what layers and heads write in the second to fourth.
    """
    exact = copy.deepcopy(model).double()
    rows = []
    for statement, sides in EQUATIONS.items():
        if sides is _path_sum and path_count(model.n_layers, model.n_heads) > MOST:
            continue
        if not model.linear and sides in (_path_sum, _frozen, _any_basis):
            continue  # layer norm and MLPs depend on the stream in ways that no path has
        if sides is _products_alone and (model.config.rotary or model.config.use_qk_norm):
            continue  # what turns or scales queries and keys tells their dimensions apart
        if model.n_layers > 0 or sides in (_path_sum, _any_basis):
            left, right = sides(exact, tokens)
            rows.append((statement, (left - right).abs().max().item(), left.abs().max().item()))
    return IDENTITIES.frame(rows)


Sides = tuple[Float[Tensor, "..."], Float[Tensor, "..."]]


def _path_sum(model: Transformer, tokens: Int[Tensor, "batch ctx"]) -> Sides:
    patterns = model.patterns(tokens)
    total = torch.zeros_like(model(tokens))
    for path in paths(model.n_layers, model.n_heads):
        total += path_logits(model, tokens, patterns, path)
    return model(tokens), total


def _additive(model: Transformer, tokens: Int[Tensor, "batch ctx"]) -> Sides:
    x, pos = model.embed(tokens)
    together, alone = [], []
    for layer in model.blocks:
        pattern = layer.pattern(x, pos)
        together.append(layer(x, pos))
        each = [pattern[:, h] @ (layer.normalise(x) @ layer.W_V[h]) @ layer.W_O[h] for h in range(model.n_heads)]
        alone.append(torch.stack(each).sum(0))
        x = layer.add(x, together[-1])
    return torch.stack(together), torch.stack(alone)


def _moving(model: Transformer, tokens: Int[Tensor, "batch ctx"]) -> Sides:
    x, pos = model.embed(tokens)
    moved, written = [], []
    for layer in model.blocks:
        pattern = layer.pattern(x, pos)
        for head in range(model.n_heads):
            A, W_OV = pattern[:, head], layer.W_V[head] @ layer.W_O[head]
            read = layer.normalise(x)
            moved.append((A @ read) @ W_OV)
            written.append(A @ (read @ W_OV))
        x = layer.add(x, layer(x, pos))
    return torch.stack(moved), torch.stack(written)


KRONECKER_ROWS = 2048  # rows of the largest Kronecker product that is formed


def _kronecker(model: Transformer, tokens: Int[Tensor, "batch ctx"]) -> Sides:
    """(A ⊗ W_OV) x, the whole product written out, on the first tokens of one context, for every head."""
    first = tokens[:1, : max(1, KRONECKER_ROWS // model.d_model)]
    x, pos = model.embed(first)
    products, written = [], []
    for layer in model.blocks:
        pattern, read = layer.pattern(x, pos), layer.normalise(x)
        for head, each in enumerate(layer.head_outputs(x, pattern)[0]):
            # Rows are vectors here, so that the W_OV of the paper, which acts on columns, is the transpose of W_V W_O.
            moves = torch.kron(pattern[0, head], (layer.W_V[head] @ layer.W_O[head]).T.contiguous())
            products.append((moves @ read.flatten()[:, None])[:, 0])
            written.append(each.flatten())
        x = layer.add(x, layer(x, pos))
    return torch.stack(products), torch.stack(written)


def _frozen(model: Transformer, tokens: Int[Tensor, "batch ctx"]) -> Sides:
    runs = frozen_runs(model, tokens, model.patterns(tokens))
    x = [next(runs) for _ in range(model.n_layers + 1)][-1]
    return model(tokens), x @ model.W_U


def _products_alone(model: Transformer, tokens: Int[Tensor, "batch ctx"]) -> Sides:
    changed, generator = model.with_own_heads(), torch.Generator().manual_seed(0)
    for layer in changed.blocks:
        shape = (2, model.n_heads, model.d_head, model.d_head)
        M, N = on_one_thread(torch.linalg.qr, torch.randn(shape, dtype=torch.float64, generator=generator)).Q * 2
        new = layer.W_Q @ M, layer.W_K @ M.mT.inverse(), layer.W_V @ N, N.inverse() @ layer.W_O
        for weight, value in zip((layer.W_Q, layer.W_K, layer.W_V, layer.W_O), new, strict=True):
            weight.copy_(value)
    return model(tokens), changed(tokens)


def _any_basis(model: Transformer, tokens: Int[Tensor, "batch ctx"]) -> Sides:
    changed, generator = copy.deepcopy(model), torch.Generator().manual_seed(0)
    size = (model.d_model, model.d_model)
    turn = on_one_thread(torch.linalg.qr, torch.randn(size, dtype=torch.float64, generator=generator)).Q
    changed.W_E.copy_(model.W_E @ turn)
    if not model.config.by_distance:
        changed.W_pos.copy_(model.W_pos @ turn)
    changed.W_U.copy_(turn.T @ model.W_U)
    for layer in changed.blocks:
        for weight in (layer.q, layer.k, layer.v):
            weight.copy_(turn.T @ weight)
        layer.o.copy_(layer.o @ turn)
    return model(tokens), changed(tokens)


EQUATIONS: dict[str, Callable[[Transformer, Tensor], Sides]] = {
    "the logits are the sum over all paths": _path_sum,
    "every layer is the sum of its heads, each run alone": _additive,
    "moving and writing commute in every head: (A x) W_OV = A (x W_OV)": _moving,
    "a head is one tensor product: what it writes is (A ⊗ W_OV) x": _kronecker,
    "with its patterns frozen, as many runs as layers give the whole model": _frozen,
    "only W_QK and W_OV matter, not their factors": _products_alone,
    "the residual stream has no privileged basis": _any_basis,
}
