"""Path expansion: the logits as a sum over every way from the embedding to the unembedding.

"A Mathematical Framework", sections "One-Layer" and "Two-Layer Attention-Only Transformers":
T = Id ⊗ W_E W_U + Σ_h A^h ⊗ W_E W_OV^h W_U + Σ A^h₂ A^h₁ ⊗ W_E W_OV^h₁ W_OV^h₂ W_U + …
"""

from collections.abc import Iterator

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from skiptrace.models.transformer import Transformer

Path = tuple[tuple[int, int], ...]


def paths(n_layers: int, n_heads: int) -> Iterator[Path]:
    """Every path as the heads it passes, earliest first: () is the direct one, (1+n_heads)^n_layers in all."""

    def from_layer(layer: int) -> Iterator[Path]:
        yield ()
        for first in range(layer, n_layers):
            for head in range(n_heads):
                for rest in from_layer(first + 1):
                    yield ((first, head), *rest)

    return from_layer(0)


def path_logits(
    model: Transformer,
    tokens: Int[Tensor, "batch ctx"],
    patterns: list[Float[Tensor, "batch n_heads ctx ctx"]],
    path: Path,
) -> Float[Tensor, "batch ctx d_vocab"]:
    """The logits that one path contributes, with the attention patterns held fixed."""
    x = F.embedding(tokens, model.W_E)
    for layer, head in path:
        weights = model.attention[layer]
        x = patterns[layer][:, head] @ x @ weights.W_V[head] @ weights.W_O[head]
    return x @ model.W_U
