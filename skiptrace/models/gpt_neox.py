"""Reading checkpoints of GPT-NeoX, as which Pythia is published, in the format of the library transformers."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from skiptrace.models.foreign import Count, Foreign, Size, Source, activation, because, check, enough, layer_norm
from skiptrace.models.huggingface import GENERAL, ROPE, bias, divides, heads_of, mlp, nowhere, original, output, rope
from skiptrace.models.original import Original, OriginalLayer
from skiptrace.models.tensors import Tensors

# Older checkpoints keep the causal mask and the frequencies, which the config says.
BUFFERS = ("attention.bias", "attention.masked_bias", "attention.rotary_emb.inv_freq")


class GPTNeoXConfig(Foreign):
    """The keys of a GPT-NeoX config.json that are used; a value that cannot be run here is an error."""

    model_type: Literal["gpt_neox"]
    vocab_size: Size
    max_position_embeddings: Size
    hidden_size: Size
    num_hidden_layers: Count
    num_attention_heads: Size
    intermediate_size: Size
    hidden_act: str = "gelu"
    layer_norm_eps: Annotated[float, Field(gt=0)] = 1e-5
    rope_parameters: dict[str, Any] | None = None
    rope_scaling: dict[str, Any] | None = None
    rope_theta: float | None = None
    partial_rotary_factor: float | None = None
    use_parallel_residual: bool = True
    attention_bias: bool = True
    tie_word_embeddings: bool = False
    is_encoder_decoder: Literal[False] = False

    INSIDE: ClassVar = (f"{ROPE}.",)
    OTHERWISE: ClassVar = {"rotary_pct": "partial_rotary_factor", "rotary_emb_base": "rope_theta"}
    IRRELEVANT: ClassVar = GENERAL | because("dropout, of training alone", "attention_dropout hidden_dropout")


def read(content: dict[str, Any], tensors: Tensors, source: Source) -> Original:
    """A model in the format of GPT-NeoX, whose MLPs may read beside its heads.

    Raises:
        InputError: a key of its config or a tensor is not as it has to be; names it.
    """
    c = check(GPTNeoXConfig, content, source)
    enough(tensors, c.num_hidden_layers, source)
    divides(source, "num_attention_heads", c.num_attention_heads, c.hidden_size, "hidden_size")
    d, before = c.hidden_size, "gpt_neox." if "gpt_neox.embed_in.weight" in tensors else ""
    W_E = tensors.take(f"{before}embed_in.weight", c.vocab_size, d)
    name = "lm_head.weight" if "lm_head.weight" in tensors else "embed_out.weight"
    made = original(
        tensors,
        W_E,
        nowhere(c.max_position_embeddings, d),
        name,
        c.tie_word_embeddings,
        "rotary",
        c.layer_norm_eps,
        layer_norm(tensors, f"{before}final_layer_norm", d, "weight", "bias"),
        (_layer(c, tensors, f"{before}layers.{index}", source) for index in range(c.num_hidden_layers)),
    )
    made.rotary = rope(c, {"partial_rotary_factor": 0.25}, source).frequencies(d // c.num_attention_heads, source)
    made.parallel = c.use_parallel_residual
    tensors.done(*BUFFERS)
    return made


def _layer(c: GPTNeoXConfig, tensors: Tensors, block: str, source: Source) -> OriginalLayer:
    d, n, wide = c.hidden_size, c.num_attention_heads, c.intermediate_size
    attn = f"{block}.attention"
    # Every head's queries, keys and values stand side by side.
    weight = heads_of(tensors.take(f"{attn}.query_key_value.weight", 3 * d, d), n)
    W_Q, W_K, W_V = (part.contiguous() for part in weight.chunk(3, -1))
    stored = heads_of(bias(tensors, f"{attn}.query_key_value.bias", 3 * d, c.attention_bias), n)
    b_Q, b_K, b_V = (part.clone() for part in stored.chunk(3, -1))
    ln = layer_norm(tensors, f"{block}.post_attention_layernorm", d, "weight", "bias")
    names, act = ("dense_h_to_4h", "dense_4h_to_h"), activation(c.hidden_act, "hidden_act", source)
    after = mlp(tensors, f"{block}.mlp", names, (d, wide), act, ln)
    return OriginalLayer(
        W_Q,
        W_K,
        W_V,
        output(tensors, f"{attn}.dense", d, n),
        b_Q,
        b_K,
        b_V,
        bias(tensors, f"{attn}.dense.bias", d, c.attention_bias),
        layer_norm(tensors, f"{block}.input_layernorm", d, "weight", "bias"),
        after,
    )
