"""Path expansion: the logits as a sum over every way from the embedding to the unembedding.

"A Mathematical Framework", sections "One-Layer" and "Two-Layer Attention-Only Transformers":
T = Id ⊗ W_E W_U + Σ_h A^h ⊗ W_E W_OV^h W_U + Σ A^h₂ A^h₁ ⊗ W_E W_OV^h₁ W_OV^h₂ W_U + …
"""

from collections.abc import Iterator
from functools import reduce
from itertools import accumulate, takewhile
from math import comb
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from skiptrace.circuits.factored import Head, head_name
from skiptrace.errors import InputError
from skiptrace.models.parts import Norm
from skiptrace.models.transformer import Transformer

Path = tuple[Head, ...]
MOST = 2_500  # paths that are listed


def label(path: Path) -> str:
    """A path's name for people: `direct`, or its heads, earliest first, as in `L0H3 → L1H1`."""
    return " → ".join(map(head_name, path)) or "direct"


def path_count(n_layers: int, n_heads: int) -> int:
    """(1+n_heads)^n_layers: a path passes one head of each layer, or none."""
    return (1 + n_heads) ** n_layers


def deepest(n_layers: int, n_heads: int, most: int) -> int:
    """How many heads paths may pass one after the other for at most `most` of them: one in each layer, or fewer."""
    counts = accumulate(comb(n_layers, k) * n_heads**k for k in range(n_layers + 1))
    return sum(1 for _ in takewhile(lambda count: count <= most, counts)) - 1


def paths(n_layers: int, n_heads: int, deep: int | None = None) -> Iterator[Path]:
    """Every path as the heads it passes, earliest first: () is the direct one.

    `deep`, as `deepest` has it, is how many heads one passes at the most.

    Raises:
        InputError: there are more than `MOST`.
    """
    count = path_count(n_layers, n_heads)
    if count > MOST and not deep:
        raise InputError(f"{n_layers} layers of {n_heads} heads have {count:,} paths; at most {MOST:,} are listed")

    def from_layer(layer: int, left: int) -> Iterator[Path]:
        yield ()
        for first in range(layer, n_layers if left else layer):
            for head in range(n_heads):
                for rest in from_layer(first + 1, left - 1):
                    yield ((first, head), *rest)

    return from_layer(0, n_layers if deep is None else deep)


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


def path_name(begins: str, path: Path) -> str:
    """A path's name for people, as in `MLP0 → L1H3`, or as `label` has it where it begins with the embedding."""
    return " → ".join([begins, *map(head_name, path)]) if begins else label(path)


class Contribution(NamedTuple):
    """What a path adds to the logit of one output token, less what it adds to all tokens on average or to another.

    `source` is the position that pushes most in the path's direction, `source_logit` its part. `begins` is what the
    path carries there: the embedding where it is empty, or what an MLP or the bias of a layer has written.
    """

    path: Path
    logit: float
    source: int
    source_logit: float
    begins: str = ""

    @property
    def name(self) -> str:
        """The path for people, as in `MLP0 → L1H3`."""
        return path_name(self.begins, self.path)


class Written(NamedTuple):
    """What a part of the model other than a head writes to the stream, and the first layer that reads it."""

    name: str
    reader: int
    values: Float[Tensor, "ctx d_model"]


class Beginnings(NamedTuple):
    """Where paths begin, what layer norm multiplies each reader's input with, and the stream before each reader.

    Readers are the layers and, last, the unembedding.
    """

    written: list[Written]
    scales: list[Float[Tensor, "ctx d_model"]]
    streams: list[Float[Tensor, "ctx d_model"]]

    def of(self, path: Path, reader: int, deep: int) -> list[Written]:
        """Those of a path that ends in a reader; one through `deep` heads, the most, begins with the whole stream."""
        first = path[0][0] if path else reader
        if first and len(path) == deep:
            return [Written(f"all before layer {first}", first, self.streams[first])]
        return [part for part in self.written if part.reader <= first]


@torch.no_grad()
def contributions(
    model: Transformer, tokens: Int[Tensor, " ctx"], position: int, out: int, against: int | None = None
) -> list[Contribution]:
    """The contribution of every path to the prediction of `out` after `position`, largest first, in logits.

    Their sum is the logit of `out` minus the mean logit, which softmax ignores, or minus the logit of `against`.
    Patterns are frozen, and so is 1/std of every layer norm, at its values on this text; what MLPs and the biases of
    layers write begins paths of its own. Of a model with more than `MOST` paths, they pass so few heads one after the
    other that they are no more, and the longest begin with all that the stream holds before their first head.
    """
    here = tokens[: position + 1]
    patterns = model.patterns(here[None])
    starts = beginnings(model, here, patterns)
    scales = starts.scales
    less = model.W_U.mean(1) if against is None else model.W_U[:, against]
    towards = torch.zeros_like(scales[-1])
    towards[position] = (model.W_U[:, out] - less) * scales[-1][position]
    found = []
    deep = deepest(model.n_layers, model.n_heads, MOST)
    whole = model.n_layers + 1 if deep == model.n_layers else deep
    for path in paths(model.n_layers, model.n_heads, deep):
        # From the prediction backwards: what the path reads at each position.
        reads = towards
        for layer, head in reversed(path):
            weights = model.blocks[layer]
            moved = patterns[layer][0, head].T @ (reads @ weights.W_O[head].T)
            reads = (moved @ weights.W_V[head].T) * scales[layer]
        for part in starts.of(path, model.n_layers, whole):
            by_source = (part.values * reads).sum(-1)
            total = by_source.sum()
            source = int((by_source * total.sign()).argmax())
            found.append(Contribution(path, total.item(), source, by_source[source].item(), part.name))
    return sorted(found, key=lambda c: -c.logit)


@torch.no_grad()
def beginnings(
    model: Transformer, tokens: Int[Tensor, " ctx"], patterns: list[Float[Tensor, "batch n_heads ctx ctx"]]
) -> Beginnings:
    """What is written to the stream but by heads, where paths begin."""
    x = model.embed(tokens[None])[0]
    written, scales, streams = [Written("", 0, x[0])], [], []
    for layer, block in enumerate(model.blocks):
        streams.append(x[0])
        scales.append(_scale(block.norm, x[0]))
        before = x
        x = x + block.head_outputs(x, patterns[layer]).sum(1)
        if block.b_O is not None:
            written.append(Written(f"b_O of layer {layer}", layer + 1, block.b_O.expand_as(x[0])))
            x = x + block.b_O
        if block.mlp is not None:
            made = block.mlp(block.normalise(before if block.parallel else x))
            written.append(Written(f"MLP{layer}", layer + 1, made[0]))
            x = x + made
    return Beginnings(written, [*scales, _scale(model.norm, x[0])], [*streams, x[0]])


def _scale(norm: Norm | None, x: Float[Tensor, "ctx d_model"]) -> Float[Tensor, "ctx d_model"]:
    scale = torch.ones_like(x)
    if norm is not None:
        scale[:, : norm.width] = norm.scale(x)
    return scale
