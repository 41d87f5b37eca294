"""Reading checkpoints of GPT-2 as the library transformers writes them."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from skiptrace.errors import InputError
from skiptrace.models.foreign import Count, Foreign, Size, Source, activation, because, check, enough, layer_norm
from skiptrace.models.huggingface import GENERAL, original
from skiptrace.models.original import Original, OriginalLayer, OriginalMLP
from skiptrace.models.tensors import Tensors

BUFFERS = ("attn.bias", "attn.masked_bias")  # older checkpoints keep the causal mask under these names


class GPT2Config(Foreign):
    """The keys of a GPT-2 config.json that are used; a value that cannot be run here is an error."""

    model_type: Literal["gpt2"]
    vocab_size: Size
    n_positions: Size
    n_embd: Size
    n_layer: Count
    n_head: Size
    n_ctx: Size | None = None
    n_inner: Size | None = None
    activation_function: str = "gelu_new"
    layer_norm_epsilon: Annotated[float, Field(gt=0)] = 1e-5
    scale_attn_weights: bool = True
    scale_attn_by_inverse_layer_idx: bool = False
    tie_word_embeddings: bool = True
    add_cross_attention: Literal[False] = False
    is_encoder_decoder: Literal[False] = False
    pruned_heads: dict[str, list[int]] = Field({}, max_length=0)

    IRRELEVANT: ClassVar = GENERAL | because("how the same scores are computed", "reorder_and_upcast_attn")


def read(content: dict[str, Any], tensors: Tensors, source: Source) -> Original:
    """A model in the format of GPT-2.

    Raises:
        InputError: a key of its config or a tensor is not as it has to be; names it.
    """
    c = check(GPT2Config, content, source)
    enough(tensors, c.n_layer, source)
    if c.n_embd % c.n_head:
        raise InputError(f"{source.said}: n_head: {c.n_head} does not divide n_embd {c.n_embd}")
    if c.n_ctx not in (None, c.n_positions):
        raise InputError(f"{source.said}: n_ctx: {c.n_ctx} differs from n_positions {c.n_positions}; remove one")
    d, before = c.n_embd, "transformer." if "transformer.wte.weight" in tensors else ""
    W_E = tensors.take(f"{before}wte.weight", c.vocab_size, d)
    made = original(
        tensors,
        W_E,
        tensors.take(f"{before}wpe.weight", c.n_positions, d),
        "lm_head.weight",
        c.tie_word_embeddings,
        "standard",
        c.layer_norm_epsilon,
        layer_norm(tensors, f"{before}ln_f", d, "weight", "bias"),
        (_layer(c, tensors, f"{before}h.{index}", index, source) for index in range(c.n_layer)),
    )
    tensors.done(*BUFFERS)
    return made


def _layer(c: GPT2Config, tensors: Tensors, block: str, index: int, source: Source) -> OriginalLayer:
    d, wide, d_head = c.n_embd, c.n_inner or 4 * c.n_embd, c.n_embd // c.n_head
    # Conv1D holds weights as input × output; queries, keys and values stand side by side.
    weight = tensors.take(f"{block}.attn.c_attn.weight", d, 3 * d)
    bias = tensors.take(f"{block}.attn.c_attn.bias", 3 * d)
    W = [w.unflatten(1, (c.n_head, d_head)).transpose(0, 1).clone() for w in weight.split(d, 1)]
    b = [part.unflatten(0, (c.n_head, d_head)).clone() for part in bias.split(d)]
    scale = 1.0 if c.scale_attn_weights else d_head**0.5
    W[0] *= scale / (index + 1 if c.scale_attn_by_inverse_layer_idx else 1)
    b[0] *= scale / (index + 1 if c.scale_attn_by_inverse_layer_idx else 1)
    W_O = tensors.take(f"{block}.attn.c_proj.weight", d, d).unflatten(0, (c.n_head, d_head))
    mlp = OriginalMLP(
        tensors.take(f"{block}.mlp.c_fc.weight", d, wide),
        tensors.take(f"{block}.mlp.c_fc.bias", wide),
        tensors.take(f"{block}.mlp.c_proj.weight", wide, d),
        tensors.take(f"{block}.mlp.c_proj.bias", d),
        activation(c.activation_function, "activation_function", source),
        layer_norm(tensors, f"{block}.ln_2", d, "weight", "bias"),
    )
    b_O = tensors.take(f"{block}.attn.c_proj.bias", d)
    ln = layer_norm(tensors, f"{block}.ln_1", d, "weight", "bias")
    return OriginalLayer(W[0], W[1], W[2], W_O, b[0], b[1], b[2], b_O, ln, mlp)
