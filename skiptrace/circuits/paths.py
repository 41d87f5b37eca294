"""Path expansion: the logits as a sum over every way from the embedding to the unembedding.

"A Mathematical Framework", sections "One-Layer" and "Two-Layer Attention-Only Transformers":
T = Id ⊗ W_E W_U + Σ_h A^h ⊗ W_E W_OV^h W_U + Σ A^h₂ A^h₁ ⊗ W_E W_OV^h₁ W_OV^h₂ W_U + …
"""

from collections.abc import Iterator
from functools import reduce
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from skiptrace.circuits.factored import Head, head_name
from skiptrace.errors import InputError
from skiptrace.models.transformer import Transformer

Path = tuple[Head, ...]
MOST = 2_500  # paths that are listed


def label(path: Path) -> str:
    """A path's name for people: `direct`, or its heads, earliest first, as in `L0H3 → L1H1`."""
    return " → ".join(map(head_name, path)) or "direct"


def path_count(n_layers: int, n_heads: int) -> int:
    """(1+n_heads)^n_layers: a path passes one head of each layer, or none."""
    return (1 + n_heads) ** n_layers


def paths(n_layers: int, n_heads: int) -> Iterator[Path]:
    """Every path as the heads it passes, earliest first: () is the direct one.

    Raises:
        InputError: there are more than `MOST`.
    """
    count = path_count(n_layers, n_heads)
    if count > MOST:
        raise InputError(f"{n_layers} layers of {n_heads} heads have {count:,} paths; at most {MOST:,} are listed")

    def from_layer(layer: int) -> Iterator[Path]:
        yield ()
        for first in range(layer, n_layers):
            for head in range(n_heads):
                for rest in from_layer(first + 1):
                    yield ((first, head), *rest)

    return from_layer(0)


def path_outputs(
    model: Transformer,
    tokens: Int[Tensor, "batch ctx"],
    patterns: list[Float[Tensor, "batch n_heads ctx ctx"]],
    path: Path,
) -> Float[Tensor, "batch ctx d_model"]:
    """What one path writes to the residual stream, with the attention patterns held fixed."""
    x, _ = model.embed(tokens)
    for layer, head in path:
        weights = model.blocks[layer]
        x = patterns[layer][:, head] @ x @ weights.W_V[head] @ weights.W_O[head]
    return x


def path_logits(
    model: Transformer,
    tokens: Int[Tensor, "batch ctx"],
    patterns: list[Float[Tensor, "batch n_heads ctx ctx"]],
    path: Path,
) -> Float[Tensor, "batch ctx d_vocab"]:
    """The logits that one path contributes, with the attention patterns held fixed."""
    return path_outputs(model, tokens, patterns, path) @ model.W_U


def path_pattern(patterns: list[Float[Tensor, "batch n_heads ctx ctx"]], path: Path) -> Float[Tensor, "batch ctx ctx"]:
    """Where a path through at least one head moves from: A^h of a head, A^h₂ A^h₁ of a virtual head."""
    each = [patterns[layer][:, head] for layer, head in path]
    return reduce(lambda earlier, later: later @ earlier, each)


class Contribution(NamedTuple):
    """What a path adds to the logit of one output token, less what it adds to all tokens on average or to another one.

    `source` is the position whose token pushes most in the path's direction, `source_logit` its part.
    """

    path: Path
    logit: float
    source: int
    source_logit: float


@torch.no_grad()
def contributions(
    model: Transformer, tokens: Int[Tensor, " ctx"], position: int, out: int, against: int | None = None
) -> list[Contribution]:
    """The contribution of every path to the prediction of `out` after `position`, largest first, in logits.

    Their sum is the logit of `out` minus the mean logit, which softmax ignores, or minus the logit of `against`.

    Raises:
        InputError: the model has layer norm or MLPs, so that they do not add up to it.
    """
    if not model.linear:
        raise InputError("the paths of a model with layer norm or MLPs do not add up to its logits")
    here = tokens[: position + 1]
    patterns, stream = model.patterns(here[None]), model.embed(here[None])[0][0]
    towards = model.W_U[:, out] - (model.W_U.mean(1) if against is None else model.W_U[:, against])
    here_alone = F.one_hot(torch.tensor(position), len(here)).to(model.W_E)
    found = []
    for path in paths(model.n_layers, model.n_heads):
        # From the prediction backwards: where the path looks, and what it reads from a token there.
        looks, reads = here_alone[None], towards[:, None]
        for layer, head in reversed(path):
            weights = model.blocks[layer]
            looks = looks @ patterns[layer][0, head]
            reads = weights.W_V[head] @ (weights.W_O[head] @ reads)
        by_source = looks[0] * (stream @ reads)[:, 0]
        total = by_source.sum()
        source = int((by_source * total.sign()).argmax())
        found.append(Contribution(path, total.item(), source, by_source[source].item()))
    return sorted(found, key=lambda c: -c.logit)
