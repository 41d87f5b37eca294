"""Reading checkpoints of OPT in the format of the library transformers."""

from typing import Any, ClassVar, Literal

from skiptrace.errors import InputError
from skiptrace.models.foreign import Count, Foreign, Size, Source, activation, because, check, enough
from skiptrace.models.huggingface import GENERAL, bias, divides, heads_of, mlp, original, output
from skiptrace.models.original import LayerNorm, Original, OriginalLayer
from skiptrace.models.tensors import Tensors

EPS = 1e-5  # of every layer norm, which no key says
FIRST = 2  # rows of the positions that no token has


class OPTConfig(Foreign):
    """The keys of an OPT config.json that are used; a value that cannot be run here is an error."""

    model_type: Literal["opt"]
    vocab_size: Size
    max_position_embeddings: Size
    hidden_size: Size
    num_hidden_layers: Count
    num_attention_heads: Size
    ffn_dim: Size
    word_embed_proj_dim: Size | None = None
    activation_function: str = "relu"
    do_layer_norm_before: Literal[True] = True
    without_final_layer_norm: Literal[False] = False
    layer_norm_elementwise_affine: bool = True
    enable_bias: bool = True
    tie_word_embeddings: bool = True
    is_encoder_decoder: Literal[False] = False

    OTHERWISE: ClassVar = {"_remove_final_layer_norm": "without_final_layer_norm"}
    IRRELEVANT: ClassVar = (
        GENERAL
        | because("dropout, of training alone", "dropout attention_dropout activation_dropout layerdrop")
        | because("how the weights were drawn before training", "init_std")
    )
    WHY: ClassVar = {
        "do_layer_norm_before": "layer norm after what a layer writes cannot be folded into weights",
        "without_final_layer_norm": "a model with layer norms in its layers alone cannot be run here",
    }


def read(content: dict[str, Any], tensors: Tensors, source: Source) -> Original:
    """A model in the format of OPT.

    Raises:
        InputError: a key of its config or a tensor is not as it has to be; names it.
    """
    c = check(OPTConfig, content, source)
    enough(tensors, c.num_hidden_layers, source)
    divides(source, "num_attention_heads", c.num_attention_heads, c.hidden_size, "hidden_size")
    d = c.hidden_size
    if c.word_embed_proj_dim not in (None, d):
        raise InputError(
            f"{source.said}: word_embed_proj_dim: {c.word_embed_proj_dim} differs from hidden_size {d}; an embedding "
            "that is projected cannot be read here"
        )
    before = "model.decoder" if "model.decoder.embed_tokens.weight" in tensors else "decoder"
    W_E = tensors.take(f"{before}.embed_tokens.weight", c.vocab_size, d)
    W_pos = tensors.take(f"{before}.embed_positions.weight", c.max_position_embeddings + FIRST, d)
    made = original(
        tensors,
        W_E,
        W_pos[FIRST:].clone(),
        "lm_head.weight",
        c.tie_word_embeddings,
        "standard",
        EPS,
        _norm(c, tensors, f"{before}.final_layer_norm"),
        (_layer(c, tensors, f"{before}.layers.{index}", source) for index in range(c.num_hidden_layers)),
    )
    tensors.done()
    return made


def _norm(c: OPTConfig, tensors: Tensors, name: str) -> LayerNorm | None:
    if not c.layer_norm_elementwise_affine:
        return None
    return LayerNorm(*(tensors.take(f"{name}.{part}", c.hidden_size) for part in ("weight", "bias")))


def _layer(c: OPTConfig, tensors: Tensors, block: str, source: Source) -> OriginalLayer:
    d, n, attn = c.hidden_size, c.num_attention_heads, f"{block}.self_attn"
    W_Q, W_K, W_V = (heads_of(tensors.take(f"{attn}.{x}_proj.weight", d, d), n) for x in "qkv")
    b_Q, b_K, b_V = (heads_of(bias(tensors, f"{attn}.{x}_proj.bias", d, c.enable_bias), n) for x in "qkv")
    act, ln = (
        activation(c.activation_function, "activation_function", source),
        _norm(c, tensors, f"{block}.final_layer_norm"),
    )
    after = mlp(tensors, block, ("fc1", "fc2"), (d, c.ffn_dim), act, ln, c.enable_bias)
    return OriginalLayer(
        W_Q,
        W_K,
        W_V,
        output(tensors, f"{attn}.out_proj", d, n),
        b_Q,
        b_K,
        b_V,
        bias(tensors, f"{attn}.out_proj.bias", d, c.enable_bias),
        _norm(c, tensors, f"{block}.self_attn_layer_norm"),
        after,
    )
