"""Parts of imported models that models trained here do not have: what is left of layer norm, and MLPs."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from skiptrace.models.config import Activation, ModelConfig


class Norm(NamedTuple):
    """What layer norm does once its weights are folded away and every writer is centred.

    The first `width` dimensions are divided by their root mean square; the others are constants.
    """

    width: int
    eps: float

    @classmethod
    def of(cls, config: ModelConfig) -> "Norm | None":
        """That of a model, or None."""
        return None if config.d_normed is None or config.eps is None else cls(config.d_normed, config.eps)

    def __call__(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """What layers and the unembedding read of a residual stream."""
        stream, rest = x[..., : self.width], x[..., self.width :]
        return torch.cat([stream * self.scale(x), rest], -1)

    def scale(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch 1"]:
        """What the first `width` dimensions are multiplied with."""
        return (x[..., : self.width].square().mean(-1, keepdim=True) + self.eps).rsqrt()


def gelu_new(x: Float[Tensor, "*batch d_mlp"]) -> Float[Tensor, "*batch d_mlp"]:
    """GELU by the tanh approximation, as GPT-2 computes it (Hendrycks & Gimpel 2016)."""
    return F.gelu(x, approximate="tanh")


ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "gelu_new": gelu_new,
    "gelu": F.gelu,
    "relu": F.relu,
    "silu": F.silu,
}


class MLP(nn.Module):
    """The MLP of an imported model: it runs, and no circuit goes through it.

    A gated one multiplies what W_in reads with the activation of what W_gate reads (Shazeer 2020).
    """

    def __init__(self, d_model: int, d_mlp: int, activation: Activation, gated: bool = False) -> None:
        super().__init__()
        self.activation = activation
        self.W_in = nn.Parameter(torch.empty(d_model, d_mlp))
        self.W_gate = nn.Parameter(torch.empty(d_model, d_mlp)) if gated else None
        self.W_out = nn.Parameter(torch.empty(d_mlp, d_model))
        self.b_out = nn.Parameter(torch.empty(d_model))

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """What the MLP writes to the residual stream; its input biases are the last rows of W_in and W_gate."""
        activation = ACTIVATIONS[self.activation]
        inner = activation(x @ self.W_in) if self.W_gate is None else activation(x @ self.W_gate) * (x @ self.W_in)
        return inner @ self.W_out + self.b_out
