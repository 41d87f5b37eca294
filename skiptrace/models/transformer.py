"""The attention-only transformer of "A Mathematical Framework for Transformer Circuits".

No MLPs, no biases, no layer norm, untied embeddings. Positions are sinusoids added to the input
of W_Q and W_K in every layer ("shortformer"), never to W_V or to the residual stream, so that
what heads move about is tokens alone.

Imported models have more parts. Their biases are weights from a dimension of the residual
stream that always holds 1 (section "Model Simplifications"), so that all that is said of weights holds
for them; positions that stand in the stream itself, turn queries and keys or add to scores, the division by the
standard deviation that is left of layer norm, and MLPs are parts that a trained model here does not have.
"""

import copy
import math
from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from skiptrace.models import positions
from skiptrace.models.config import ModelConfig
from skiptrace.models.loss import token_losses
from skiptrace.models.parts import MLP, Norm

ROWS = 4096  # tokens whose MLP is run at once


class Block(nn.Module):
    """One layer: its heads, h(x) = (A ⊗ W_O W_V) x summed over heads, and the MLP of an imported model.

    Section "Attention Heads are Independent and Additive".
    The four weights are held as matrices with the heads side by side, because the optimiser
    orthogonalises matrices; `W_Q` … `W_O` show them head by head.
    """

    b_O: Float[Tensor, " d_model"] | None
    frequencies: Float[Tensor, " planes"] | None
    q_norm: Float[Tensor, " d_head"] | None
    k_norm: Float[Tensor, " d_head"] | None
    distance_bias: Float[Tensor, "n_heads n_ctx"] | None
    sinks: Float[Tensor, " n_heads"] | None

    def __init__(self, config: ModelConfig, window: int | None = None) -> None:
        super().__init__()
        d_model, n_heads, d_head = config.d_model, config.n_heads, config.d_head
        self.n_heads, self.d_head, self.norm = n_heads, d_head, Norm.of(config)
        self.register_buffer("b_O", None if config.linear else torch.empty(d_model))
        self.q = nn.Parameter(torch.empty(d_model, n_heads * d_head))
        self.k = nn.Parameter(torch.empty(d_model, n_heads * d_head))
        self.v = nn.Parameter(torch.empty(d_model, n_heads * d_head))
        self.o = nn.Parameter(torch.empty(n_heads * d_head, d_model))
        d_mlp, activation = config.d_mlp, config.act_fn
        self.mlp = None if d_mlp is None or activation is None else MLP(d_model, d_mlp, activation, config.gated_mlp)
        self.parallel, self.window, self.eps = config.parallel_attn_mlp, window, config.eps
        turned = config.rotary_frequencies
        self.register_buffer("frequencies", None if turned is None else torch.tensor(turned), persistent=False)
        for name in ("q_norm", "k_norm"):
            self.register_buffer(name, torch.empty(d_head) if config.use_qk_norm else None)
        relative = config.positional_embedding_type == "relative"
        self.register_buffer("distance_bias", torch.empty(n_heads, config.n_ctx) if relative else None)
        self.register_buffer("sinks", torch.empty(n_heads) if config.use_attention_sinks else None)
        self.soft_cap = config.attention_soft_cap

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
        after = x + written
        if self.b_O is not None:
            after = after + self.b_O
        return after if self.mlp is None else after + self.mlp(self.normalise(x if self.parallel else after))

    def split(self, x: Float[Tensor, "batch ctx wide"]) -> Float[Tensor, "batch n_heads ctx d_head"]:
        """Cut the last axis into heads."""
        return x.unflatten(2, (self.n_heads, self.d_head)).transpose(1, 2)

    def forward(
        self, x: Float[Tensor, "batch ctx d_model"], pos: Float[Tensor, "ctx d_model"]
    ) -> Float[Tensor, "batch ctx d_model"]:
        """What all heads together write to the residual stream."""
        x = self.normalise(x)
        query, key, value = self.queries(x + pos), self.keys(x + pos), self.split(x @ self.v)
        return self.mixed(query, key, value).transpose(1, 2).flatten(2) @ self.o

    def mixed(
        self,
        query: Float[Tensor, "batch n_heads rows d_head"],
        key: Float[Tensor, "batch n_heads ctx d_head"],
        value: Float[Tensor, "batch n_heads ctx d_head"],
        first: int = 0,
    ) -> Float[Tensor, "batch n_heads rows d_head"]:
        """Values mixed as consecutive destinations from `first` on attend to them."""
        ctx = key.shape[2]
        if self.soft_cap is None and self.sinks is None:
            mask = self.mask(ctx, key.device, first)
            return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=mask is None)
        return self.attended(self.scores(query, key, first), self.hidden(ctx, key.device)[first:]) @ value

    def scores(
        self,
        query: Float[Tensor, "batch n_heads rows d_head"],
        key: Float[Tensor, "batch n_heads ctx d_head"],
        first: int = 0,
    ) -> Float[Tensor, "batch n_heads rows ctx"]:
        """Attention scores of consecutive destinations from `first` on, those of sources behind them too."""
        return self.biased(self.capped(query @ key.transpose(-1, -2) / math.sqrt(self.d_head)), first)

    def capped(self, scores: Float[Tensor, "*cells"]) -> Float[Tensor, "*cells"]:
        """C · tanh(scores/c) of a model with a soft cap c."""
        return scores if self.soft_cap is None else self.soft_cap * (scores / self.soft_cap).tanh()

    def attended(
        self, scores: Float[Tensor, "*batch n_heads rows ctx"], hidden: Bool[Tensor, "rows ctx"]
    ) -> Float[Tensor, "*batch n_heads rows ctx"]:
        """Attention to sources that are not hidden; of a model with sinks it sums to less than one."""
        scores = scores.masked_fill(hidden, -torch.inf)
        if self.sinks is None:
            return scores.softmax(-1)
        sink = self.sinks[:, None, None].expand(*scores.shape[:-1], 1)
        return torch.cat([scores, sink], -1).softmax(-1)[..., :-1]

    def queries(
        self, read: Float[Tensor, "batch rows d_model"], first: int = 0
    ) -> Float[Tensor, "batch n_heads rows d_head"]:
        """The queries of consecutive places from `first` on, given what W_Q reads there."""
        return self.turned(self.normed(self.split(read @ self.q), self.q_norm), first)

    def keys(
        self, read: Float[Tensor, "batch rows d_model"], first: int = 0
    ) -> Float[Tensor, "batch n_heads rows d_head"]:
        """The keys of consecutive places from `first` on, given what W_K reads there."""
        return self.turned(self.normed(self.split(read @ self.k), self.k_norm), first)

    def turned(self, x: Float[Tensor, "*batch rows d_head"], first: int = 0) -> Float[Tensor, "*batch rows d_head"]:
        """Queries or keys of consecutive places, each turned by its angles where positions are rotary."""
        return x if self.frequencies is None else positions.turned(x, self.frequencies, first)

    def biased(self, scores: Float[Tensor, "*batch n_heads rows ctx"], first: int = 0) -> Float[Tensor, "..."]:
        """Scores of consecutive destinations from `first` on, with what relative positions add at each distance."""
        if self.distance_bias is None:
            return scores
        rows, ctx = scores.shape[-2:]
        places = torch.arange(ctx, device=scores.device)
        return scores + self.distance_bias[:, (places[first : first + rows, None] - places).clamp(min=0)]

    def mask(self, ctx: int, device: torch.device, first: int = 0) -> Tensor | None:
        """What `scaled_dot_product_attention` masks destinations from `first` on with; None where causal alone."""
        if self.distance_bias is not None:
            added = self.biased(self.distance_bias.new_zeros(self.n_heads, ctx - first, ctx), first)
            return added.masked_fill(self.hidden(ctx, device)[first:], -torch.inf)
        return None if first == 0 and self.sees_all(ctx) else ~self.hidden(ctx, device)[first:]

    def farthest(self, ctx: int) -> int:
        """The largest distance at which a head sees a source in a context."""
        return max(1, min(ctx, self.window or ctx) - 1)

    def at_distance(
        self, query: Float[Tensor, "*batch rows d_head"], ctx: int, offset: int | None = None
    ) -> Float[Tensor, "*batch rows d_head"]:
        """Queries turned for sources `offset` places before, or by the mean of R over the distances of a context.

        Distances are spread evenly on a logarithmic scale, p(D) ∝ ln(1 + 1/D), as sources are placed where mined rows
        are checked. Without rotary positions they are as they are.
        """
        if self.frequencies is None:
            return query
        return positions.turned_for(query, self.frequencies, self.farthest(ctx), offset)

    def normed(
        self, x: Float[Tensor, "*batch d_head"], weight: Float[Tensor, " d_head"] | None
    ) -> Float[Tensor, "*batch d_head"]:
        """Queries or keys over their root mean square, times the weights of that norm, where there is one."""
        if weight is None:
            return x
        return x * (x.square().mean(-1, keepdim=True) + (self.eps or 0)).rsqrt() * weight

    def sees_all(self, ctx: int) -> bool:
        """Whether every destination of a context sees all tokens up to it."""
        return self.window is None or self.window >= ctx

    def hidden(self, ctx: int, device: torch.device) -> Bool[Tensor, "ctx ctx"]:
        """True where a destination (row) does not see a source (column): behind it, or out of the window."""
        every = torch.ones(ctx, ctx, dtype=torch.bool, device=device)
        return every.triu(1) if self.window is None else every.triu(1) | every.tril(-self.window)

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
        ctx = x.shape[1]
        first = range(ctx)[destinations].start
        query = self.queries((self.normalise(x) + pos)[:, destinations], first)
        key = self.keys(self.normalise(x if keys is None else keys) + pos)
        return self.attended(self.scores(query, key, first), self.hidden(ctx, x.device)[destinations])

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
        self.d_vocab, self.d_model, self.n_ctx = config.d_vocab, config.d_model, config.n_ctx
        self.n_layers, self.n_heads, self.d_head = config.n_layers, config.n_heads, config.d_head
        self._effective: tuple[list[object], Tensor] | None = None
        self._scaled: tuple[list[object], Tensor] | None = None
        self.W_E = nn.Parameter(torch.empty(self.d_vocab, self.d_model))
        self.W_U = nn.Parameter(torch.empty(self.d_model, self.d_vocab))
        self.register_buffer("W_pos", self._drawn_positions())
        blocks = nn.ModuleList(Block(config, config.window(layer)) for layer in range(config.n_layers))
        self.blocks = cast("Sequence[Block]", blocks)

    def _drawn_positions(self) -> Float[Tensor, "n_ctx d_model"]:
        if self.config.by_distance:  # as long as anyone claims, and nowhere in memory
            return torch.zeros(1, self.d_model).expand(self.n_ctx, -1)
        W_pos = torch.empty(self.n_ctx, self.d_model)
        if self.config.positional_embedding_type == "none":
            return torch.zeros_like(W_pos)
        # A model of shapes alone has none; arithmetic on its device would import torch's compiler, which takes seconds.
        return W_pos if W_pos.is_meta else positions.sinusoids(self.n_ctx, self.d_model)[:, : self.d_model]

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
        found, cap = self.normalise(x) @ self.W_U, self.config.logits_soft_cap
        return found if cap is None else cap * (found / cap).tanh()

    def losses(self, last: Float[Tensor, "n d_model"], targets: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        """−log p(target) in nats, given what W_U is multiplied with (`normalise`), without gradients."""
        return token_losses(last, self.W_U, targets, self.config.logits_soft_cap)

    def patterns(self, tokens: Int[Tensor, "batch ctx"]) -> list[Float[Tensor, "batch n_heads ctx ctx"]]:
        """The attention patterns of every layer, the residual stream running as in `forward`."""
        x, pos = self.embed(tokens)
        patterns = []
        for block in self.blocks:
            patterns.append(block.pattern(x, pos))
            x = block.add(x, block.head_outputs(x, patterns[-1]).sum(1))
        return patterns

    def reads(self, layer: int) -> Float[Tensor, "d_vocab d_model"]:
        """What a layer reads of each token alone, as circuits have it; the layer after the last is the unembedding.

        It is W_E, or from the second layer on E + b_O + MLP(norm(E + b_O)) with the first layer's (`embedding:
        effective`), heads apart; times `scale` where layer norm reaches.
        """
        alone: Tensor = self.W_E
        scale = self.scale(layer)
        if self.config.embedding == "effective" and layer > 0:
            alone = self._through_first_mlp()
        if scale == 1.0 or self.norm is None:
            return alone
        # Kept for the other heads of the layer: at a vocabulary of 50,000 it takes as long as their factors.
        state = [id(alone), alone._version, alone.dtype, scale]
        kept = self._scaled
        if kept is None or kept[0] != state:
            scaled = torch.cat([alone[:, : self.norm.width] * scale, alone[:, self.norm.width :]], 1)
            self._scaled = kept = state, scaled
        return kept[1]

    def with_own_heads(self) -> "Transformer":
        """A copy whose heads' weights are its own, and whose embeddings, positions, MLPs and all else are shared."""
        own = {id(weight) for block in self.blocks for weight in (block.q, block.k, block.v, block.o)}
        shared: list[object] = [t for t in (*self.parameters(), *self.buffers()) if id(t) not in own]
        return copy.deepcopy(self, {id(each): each for each in (*shared, self._effective, self._scaled)})

    def _through_first_mlp(self) -> Float[Tensor, "d_vocab d_model"]:
        """What the first layer leaves of each token whose heads write nothing; kept, as every circuit asks for it."""
        first = self.blocks[0]
        weights = [self.W_E, *(() if first.mlp is None else first.mlp.parameters())]
        state = [self.W_E.dtype, *(weight._version for weight in weights)]
        if self._effective is None or self._effective[0] != state:
            with torch.no_grad():
                made = [first.add(rows, torch.zeros_like(rows)) for rows in self.W_E.split(ROWS)]
            self._effective = state, torch.cat(made)
        return self._effective[1]

    def scale(self, layer: int) -> float:
        """What circuits multiply with for 1/std of the layer norm before a layer, or before the unembedding."""
        return 1.0 if self.config.norm_scales is None else self.config.norm_scales[layer]

    @property
    def linear(self) -> bool:
        """As `ModelConfig.linear`."""
        return self.config.linear
