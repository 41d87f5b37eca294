"""The attention-only transformer of "A Mathematical Framework for Transformer Circuits".

No MLPs, no biases, no layer norm, untied embeddings. Positions are sinusoids added to the input
of W_Q and W_K in every layer ("shortformer"), never to W_V or to the residual stream, so that
what heads move about is tokens alone.

Imported models have more parts. Their biases are weights from a dimension of the residual
stream that always holds 1 (section "Model Simplifications"), so that all that is said of weights holds
for them; positions that stand in the stream itself, the division by the standard deviation that is left
of layer norm, and MLPs are parts that a trained model here does not have.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from skiptrace.models.config import Activation, ModelConfig


def sinusoids(n_ctx: int, d_model: int) -> Float[Tensor, "n_ctx d_model"]:
    """Sine and cosine of each position at geometric wavelengths 2π … 10 000·2π (Vaswani 2017, 3.5)."""
    angle = torch.arange(n_ctx)[:, None] / 10_000 ** (torch.arange(0, d_model, 2) / d_model)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


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


ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {"gelu_new": gelu_new, "gelu": F.gelu, "relu": F.relu}


class MLP(nn.Module):
    """The MLP of an imported model: it runs, and no circuit goes through it."""

    def __init__(self, d_model: int, d_mlp: int, activation: Activation) -> None:
        super().__init__()
        self.activation = activation
        self.W_in = nn.Parameter(torch.empty(d_model, d_mlp))
        self.W_out = nn.Parameter(torch.empty(d_mlp, d_model))
        self.b_out = nn.Parameter(torch.empty(d_model))

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """What the MLP writes to the residual stream; its input bias is the last row of W_in."""
        return ACTIVATIONS[self.activation](x @ self.W_in) @ self.W_out + self.b_out


class Block(nn.Module):
    """One layer: its heads, h(x) = (A ⊗ W_O W_V) x summed over heads, and the MLP of an imported model.

    Section "Attention Heads are Independent and Additive".
    The four weights are held as matrices with the heads side by side, because the optimiser
    orthogonalises matrices; `W_Q` … `W_O` show them head by head.
    """

    b_O: Float[Tensor, " d_model"] | None

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d_model, n_heads, d_head = config.d_model, config.n_heads, config.d_head
        self.n_heads, self.d_head, self.norm = n_heads, d_head, Norm.of(config)
        self.register_buffer("b_O", None if config.linear else torch.empty(d_model))
        self.q = nn.Parameter(torch.empty(d_model, n_heads * d_head))
        self.k = nn.Parameter(torch.empty(d_model, n_heads * d_head))
        self.v = nn.Parameter(torch.empty(d_model, n_heads * d_head))
        self.o = nn.Parameter(torch.empty(n_heads * d_head, d_model))
        d_mlp, activation = config.d_mlp, config.act_fn
        self.mlp = None if d_mlp is None or activation is None else MLP(d_model, d_mlp, activation)

    @property
    def W_Q(self) -> Float[Tensor, "n_heads d_model d_head"]:
        """Query weights of every head."""
        return self.q.unflatten(1, (self.n_heads, self.d_head)).transpose(0, 1)

    @property
    def W_K(self) -> Float[Tensor, "n_heads d_model d_head"]:
        """Key weights of every head."""
        return self.k.unflatten(1, (self.n_heads, self.d_head)).transpose(0, 1)

    @property
    def W_V(self) -> Float[Tensor, "n_heads d_model d_head"]:
        """Value weights of every head."""
        return self.v.unflatten(1, (self.n_heads, self.d_head)).transpose(0, 1)

    @property
    def W_O(self) -> Float[Tensor, "n_heads d_head d_model"]:
        """Output weights of every head."""
        return self.o.unflatten(0, (self.n_heads, self.d_head))

    def normalise(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """What the weights of this layer are multiplied with: the stream, through layer norm if there is one."""
        return x if self.norm is None else self.norm(x)

    def values(self, x: Float[Tensor, "batch ctx d_model"]) -> Float[Tensor, "batch n_heads ctx d_head"]:
        """What each head would move from each place."""
        return self.split(self.normalise(x) @ self.v)

    def add(
        self, x: Float[Tensor, "*batch d_model"], written: Float[Tensor, "*batch d_model"]
    ) -> Float[Tensor, "*batch d_model"]:
        """The residual stream after the layer, given what its heads wrote."""
        x = x + written
        if self.b_O is not None:
            x = x + self.b_O
        return x if self.mlp is None else x + self.mlp(self.normalise(x))

    def split(self, x: Float[Tensor, "batch ctx wide"]) -> Float[Tensor, "batch n_heads ctx d_head"]:
        """Cut the last axis into heads."""
        return x.unflatten(2, (self.n_heads, self.d_head)).transpose(1, 2)

    def forward(
        self, x: Float[Tensor, "batch ctx d_model"], pos: Float[Tensor, "ctx d_model"]
    ) -> Float[Tensor, "batch ctx d_model"]:
        """What all heads together write to the residual stream."""
        x = self.normalise(x)
        query, key = self.split((x + pos) @ self.q), self.split((x + pos) @ self.k)
        z = F.scaled_dot_product_attention(query, key, self.split(x @ self.v), is_causal=True)
        return z.transpose(1, 2).flatten(2) @ self.o

    def pattern(
        self,
        x: Float[Tensor, "batch ctx d_model"],
        pos: Float[Tensor, "ctx d_model"],
        destinations: slice = slice(None),
        keys: Float[Tensor, "batch ctx d_model"] | None = None,
    ) -> Float[Tensor, "batch n_heads rows ctx"]:
        """A = softmax*(xᵀ W_QK x): attention from the destinations (rows, all by default) to each source (column).

        `keys` is the residual stream that W_K reads, `x` by default.
        """
        query = self.split((self.normalise(x) + pos)[:, destinations] @ self.q)
        key = self.split((self.normalise(x if keys is None else keys) + pos) @ self.k)
        scores = query @ key.transpose(-1, -2) / math.sqrt(self.d_head)
        ctx = scores.shape[-1]
        future = torch.ones(ctx, ctx, dtype=torch.bool, device=x.device).triu(1)[destinations]
        return scores.masked_fill(future, -torch.inf).softmax(-1)

    def head_outputs(
        self,
        x: Float[Tensor, "batch ctx d_model"],
        pattern: Float[Tensor, "batch n_heads rows ctx"],
    ) -> Float[Tensor, "batch n_heads rows d_model"]:
        """What each head writes to the residual stream, given where each attends."""
        return (pattern @ self.values(x)) @ self.W_O


class Transformer(nn.Module):
    """Token ids to logits; zero layers make the bigram model W_E W_U."""

    W_pos: Float[Tensor, "n_ctx d_model"]

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config, self.norm, self.standard_positions = config, Norm.of(config), config.standard_positions
        self.d_vocab, self.d_model, self.n_ctx = d_vocab, d_model, n_ctx = config.d_vocab, config.d_model, config.n_ctx
        self.n_layers, self.n_heads, self.d_head = config.n_layers, config.n_heads, config.d_head
        self.W_E = nn.Parameter(torch.empty(d_vocab, d_model))
        self.W_U = nn.Parameter(torch.empty(d_model, d_vocab))
        W_pos = torch.empty(n_ctx, d_model)
        # A model of shapes alone has none; arithmetic on its device would import torch's compiler, which takes seconds.
        drawn = W_pos if W_pos.is_meta else sinusoids(n_ctx, d_model)[:, :d_model]
        self.register_buffer("W_pos", torch.zeros_like(drawn) if config.positional_embedding_type == "none" else drawn)
        self.blocks = cast("Sequence[Block]", nn.ModuleList(Block(config) for _ in range(config.n_layers)))

    def initialise(self, seed: int) -> None:
        """Draw all weights: W_Q, W_K and W_V keep the variance of their input, the others are small.

        Small embeddings are what lets a few hundred steps suffice: with unit variance the same
        training ends 0.1 to 0.2 nats higher.
        """
        generator = torch.Generator().manual_seed(seed)
        for name, weight in self.named_parameters():
            keeps = name != "W_E" and not name.endswith((".o", "W_U"))
            fan_in = 1 if name == "W_E" else weight.shape[0]
            nn.init.normal_(weight, std=(1.0 if keeps else 0.1) / math.sqrt(fan_in), generator=generator)

    def forward(self, tokens: Int[Tensor, "batch ctx"]) -> Float[Tensor, "batch ctx d_vocab"]:
        """Logits of the next token at every position."""
        return self.logits(self.residual(tokens))

    def embed(
        self, tokens: Int[Tensor, "batch ctx"]
    ) -> tuple[Float[Tensor, "batch ctx d_model"], Float[Tensor, "ctx d_model"]]:
        """The residual stream before the first layer, and the positions that queries and keys read beside it."""
        x, pos = F.embedding(tokens, self.W_E), self.positions(tokens.shape[1])
        return (x + self.W_pos[: len(pos)], pos) if self.standard_positions else (x, pos)

    def positions(self, ctx: int) -> Float[Tensor, "ctx d_model"]:
        """What queries and keys read beside the residual stream: none where positions are part of the stream."""
        pos = self.W_pos[:ctx]
        return torch.zeros_like(pos) if self.standard_positions else pos

    def residual(self, tokens: Int[Tensor, "batch ctx"]) -> Float[Tensor, "batch ctx d_model"]:
        """The residual stream after the last layer."""
        x, pos = self.embed(tokens)
        for block in self.blocks:
            x = block.add(x, block(x, pos))
        return x

    def normalise(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """What W_U is multiplied with: the final residual stream, through layer norm if there is one."""
        return x if self.norm is None else self.norm(x)

    def logits(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_vocab"]:
        """The logits of a final residual stream."""
        return self.normalise(x) @ self.W_U

    def patterns(self, tokens: Int[Tensor, "batch ctx"]) -> list[Float[Tensor, "batch n_heads ctx ctx"]]:
        """The attention patterns of every layer, the residual stream running as in `forward`."""
        x, pos = self.embed(tokens)
        patterns = []
        for block in self.blocks:
            patterns.append(block.pattern(x, pos))
            x = block.add(x, block.head_outputs(x, patterns[-1]).sum(1))
        return patterns

    @property
    def linear(self) -> bool:
        """As `ModelConfig.linear`."""
        return self.config.linear
