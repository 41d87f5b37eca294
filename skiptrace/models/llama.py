"""Reading checkpoints of Llama and the families built like it, in the format of the library transformers.

Mistral, Qwen2 and Qwen3 have the same tensors but for biases of queries, keys and values, and norms of the first two.
"""

from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from skiptrace.errors import InputError
from skiptrace.models.foreign import Count, Foreign, Size, Source, activation, because, check, enough
from skiptrace.models.huggingface import GENERAL, ROPE, bias, divides, heads_of, nowhere, rope, unembedding
from skiptrace.models.original import LayerNorm, Original, OriginalLayer, OriginalMLP
from skiptrace.models.tensors import Tensors

BUFFERS = ("self_attn.rotary_emb.inv_freq",)  # of older checkpoints; the config says them
Reach = Literal["full_attention", "sliding_attention"]


class LlamaConfig(Foreign):
    """The keys of a Llama config.json that are used; a value that cannot be run here is an error."""

    model_type: Literal["llama", "mistral", "qwen2", "qwen3"]
    vocab_size: Size
    max_position_embeddings: Size
    hidden_size: Size
    num_hidden_layers: Count
    num_attention_heads: Size
    num_key_value_heads: Size | None = None
    head_dim: Size | None = None
    intermediate_size: Size
    hidden_act: str = "silu"
    rms_norm_eps: Annotated[float, Field(gt=0)] = 1e-6
    rope_parameters: dict[str, Any] | None = None
    rope_scaling: dict[str, Any] | None = None
    rope_theta: float | None = None
    rope_interleaved: Literal[False] = False
    partial_rotary_factor: float | None = None
    tie_word_embeddings: bool = False
    is_encoder_decoder: Literal[False] = False
    pruned_heads: dict[str, list[int]] = Field({}, max_length=0)

    INSIDE: ClassVar = (f"{ROPE}.",)
    IRRELEVANT: ClassVar = (
        GENERAL
        | because("dropout, of training alone", "attention_dropout")
        | because("how the same product is computed", "pretraining_tp")
        | because("for other programs", "is_llama_config transformers.js_config")
    )

    @property
    def biased(self) -> tuple[bool, bool]:
        """Whether queries, keys and values have biases, and whether W_O has."""
        return False, False

    @property
    def normed(self) -> bool:
        """Whether queries and keys go through norms of their own."""
        return False

    @property
    def windows(self) -> list[int | None] | None:
        """How many tokens each layer sees."""
        return None


class PlainConfig(LlamaConfig):
    """Llama itself."""

    attention_bias: bool = False
    mlp_bias: bool = False

    @property
    def biased(self) -> tuple[bool, bool]:
        """As `LlamaConfig.biased`."""
        return self.attention_bias, self.attention_bias


class MistralConfig(LlamaConfig):
    """Mistral, whose layers may all see a window."""

    sliding_window: Size | None = 4096

    @property
    def windows(self) -> list[int | None] | None:
        """As `LlamaConfig.windows`."""
        return [self.sliding_window] * self.num_hidden_layers


class Qwen2Config(LlamaConfig):
    """Qwen2: biases of queries, keys and values; layers from `max_window_layers` on may see a window."""

    use_sliding_window: bool = False
    sliding_window: Size | None = 4096
    max_window_layers: Annotated[int, Field(ge=0)] = 28
    layer_types: list[Reach] | None = None
    use_mrope: Literal[False] = False

    @property
    def biased(self) -> tuple[bool, bool]:
        """As `LlamaConfig.biased`."""
        return True, False

    @property
    def windows(self) -> list[int | None] | None:
        """As `LlamaConfig.windows`."""
        window = self.sliding_window if self.use_sliding_window else None
        if self.layer_types is None:
            return [window if index >= self.max_window_layers else None for index in range(self.num_hidden_layers)]
        return [window if reach == "sliding_attention" else None for reach in self.layer_types]


class Qwen3Config(Qwen2Config):
    """Qwen3: norms of queries and keys, and biases by a key."""

    head_dim: Size | None = 128
    attention_bias: bool = False

    @property
    def biased(self) -> tuple[bool, bool]:
        """As `LlamaConfig.biased`."""
        return self.attention_bias, self.attention_bias

    @property
    def normed(self) -> bool:
        """As `LlamaConfig.normed`."""
        return True


FAMILIES: dict[str, type[LlamaConfig]] = {
    "llama": PlainConfig,
    "mistral": MistralConfig,
    "qwen2": Qwen2Config,
    "qwen3": Qwen3Config,
}


def read(content: dict[str, Any], tensors: Tensors, source: Source) -> Original:
    """A model of one of `FAMILIES`; every query head has the keys and values of its group as its own.

    Raises:
        InputError: a key of its config or a tensor is not as it has to be; names it.
    """
    c = check(FAMILIES[content["model_type"]], content, source)
    enough(tensors, c.num_hidden_layers, source)
    groups = c.num_key_value_heads or c.num_attention_heads
    divides(source, "num_key_value_heads", groups, c.num_attention_heads, "num_attention_heads")
    if c.head_dim is None:
        divides(source, "num_attention_heads", c.num_attention_heads, c.hidden_size, "hidden_size")
    if c.windows is not None and len(c.windows) != c.num_hidden_layers:
        raise InputError(f"{source.said}: layer_types: of {len(c.windows)} layers, not of {c.num_hidden_layers}")
    d, before = c.hidden_size, "model." if "model.embed_tokens.weight" in tensors else ""
    d_head = c.head_dim or d // c.num_attention_heads
    W_E = tensors.take(f"{before}embed_tokens.weight", c.vocab_size, d)
    W_U, said = unembedding(W_E, tensors, "lm_head.weight", c.tie_word_embeddings)
    original = Original(
        W_E=W_E,
        W_pos=nowhere(c.max_position_embeddings, d),
        W_U=W_U,
        b_U=W_E.new_zeros(c.vocab_size),
        layers=[],
        positions="rotary",
        norm="RMS",
        eps=c.rms_norm_eps,
        ln_final=_norm(tensors, f"{before}norm", d),
        read_as=said,
        rotary=rope(c, {}, source).frequencies(d_head, source),
        windows=c.windows,
    )
    layers = range(c.num_hidden_layers)
    original.layers += [_layer(c, tensors, f"{before}layers.{index}", d_head, source) for index in layers]
    tensors.done(*BUFFERS)
    return original


def _norm(tensors: Tensors, name: str, d: int) -> LayerNorm:
    return LayerNorm(tensors.take(f"{name}.weight", d), torch.zeros(d))


def _layer(c: LlamaConfig, tensors: Tensors, block: str, d_head: int, source: Source) -> OriginalLayer:
    d, n, wide, attn = c.hidden_size, c.num_attention_heads, c.intermediate_size, f"{block}.self_attn"
    groups = c.num_key_value_heads or n

    def of_heads(name: str, heads: int) -> tuple[Tensor, Tensor]:
        weight = heads_of(tensors.take(f"{attn}.{name}.weight", heads * d_head, d), heads)
        stored = heads_of(bias(tensors, f"{attn}.{name}.bias", heads * d_head, c.biased[0]), heads)
        return weight.repeat_interleave(n // heads, 0), stored.repeat_interleave(n // heads, 0)

    (W_Q, b_Q), (W_K, b_K), (W_V, b_V) = of_heads("q_proj", n), of_heads("k_proj", groups), of_heads("v_proj", groups)
    biased = isinstance(c, PlainConfig) and c.mlp_bias
    mlp = OriginalMLP(
        tensors.take(f"{block}.mlp.up_proj.weight", wide, d).T.clone(),
        bias(tensors, f"{block}.mlp.up_proj.bias", wide, biased),
        tensors.take(f"{block}.mlp.down_proj.weight", d, wide).T.clone(),
        bias(tensors, f"{block}.mlp.down_proj.bias", d, biased),
        activation(c.hidden_act, "hidden_act", source),
        _norm(tensors, f"{block}.post_attention_layernorm", d),
        tensors.take(f"{block}.mlp.gate_proj.weight", wide, d).T.clone(),
        bias(tensors, f"{block}.mlp.gate_proj.bias", wide, biased),
    )
    return OriginalLayer(
        W_Q,
        W_K,
        W_V,
        tensors.take(f"{attn}.o_proj.weight", d, n * d_head).T.unflatten(0, (n, -1)).clone(),
        b_Q,
        b_K,
        b_V,
        bias(tensors, f"{attn}.o_proj.bias", d, c.biased[1]),
        _norm(tensors, f"{block}.input_layernorm", d),
        mlp,
        q_norm=tensors.take(f"{attn}.q_norm.weight", d_head) if c.normed else None,
        k_norm=tensors.take(f"{attn}.k_norm.weight", d_head) if c.normed else None,
    )
