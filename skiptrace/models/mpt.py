"""Reading checkpoints of MPT, whose positions are ALiBi, in the format of the library transformers."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from skiptrace.models.foreign import Count, Foreign, Size, Source, because, check, enough, layer_norm
from skiptrace.models.huggingface import GENERAL, divides, heads_of, mlp, nowhere, original, output
from skiptrace.models.original import Original, OriginalLayer
from skiptrace.models.relative import alibi, slopes_in_turn
from skiptrace.models.tensors import Tensors


class MPTAttention(Foreign):
    """The keys of `attn_config`."""

    attn_type: Literal["multihead_attention"] = "multihead_attention"
    clip_qkv: Literal[None] = None
    softmax_scale: Annotated[float, Field(gt=0)] | None = None
    prefix_lm: Literal[False] = False
    qk_ln: Literal[False] = False
    attn_uses_sequence_id: Literal[False] = False
    alibi: Literal[True] = True
    alibi_bias_max: Annotated[float, Field(gt=0)] = 8.0
    is_encoder_decoder: Literal[False] = False

    IRRELEVANT: ClassVar = (
        GENERAL
        | because("dropout, of training alone", "attn_pdrop")
        | because("how the same scores are computed", "attn_impl")
        | because("attn_type says it", "model_type")
    )


class MPTConfig(Foreign):
    """The keys of an MPT config.json that are used; a value that cannot be run here is an error."""

    model_type: Literal["mpt"]
    vocab_size: Size
    d_model: Size
    n_heads: Size
    n_layers: Count
    max_seq_len: Size
    expansion_ratio: Size = 4
    layer_norm_epsilon: Annotated[float, Field(gt=0)] = 1e-5
    no_bias: Literal[True] = True
    logit_scale: Literal[None] = None
    norm_type: Literal["layernorm", "low_precision_layernorm"] = "low_precision_layernorm"
    attn_config: dict[str, Any] = Field(default_factory=dict)
    tie_word_embeddings: bool = True
    is_encoder_decoder: Literal[False] = False

    INSIDE: ClassVar = ("attn_config.",)
    OTHERWISE: ClassVar = {"hidden_size": "d_model", "num_hidden_layers": "n_layers", "num_attention_heads": "n_heads"}
    IRRELEVANT: ClassVar = (
        GENERAL
        | because("dropout, of training alone", "emb_pdrop")
        | because("of how training went", "embedding_fraction init_config init_device verbose")
        | because("position vectors, which a model with alibi does not have", "learned_pos_emb")
    )


def read(content: dict[str, Any], tensors: Tensors, source: Source) -> Original:
    """A model in the format of MPT.

    Raises:
        InputError: a key of its config or a tensor is not as it has to be; names it.
    """
    c = check(MPTConfig, content, source)
    how = check(MPTAttention, c.attn_config, source.inside("attn_config"))
    enough(tensors, c.n_layers, source)
    divides(source, "n_heads", c.n_heads, c.d_model, "d_model")
    d, before = c.d_model, "transformer." if "transformer.wte.weight" in tensors else ""
    W_E = tensors.take(f"{before}wte.weight", c.vocab_size, d)
    made = original(
        tensors,
        W_E,
        nowhere(c.max_seq_len, d),
        "lm_head.weight",
        c.tie_word_embeddings,
        "relative",
        c.layer_norm_epsilon,
        layer_norm(tensors, f"{before}norm_f", d, "weight", "bias"),
        (_layer(c, how, tensors, f"{before}blocks.{index}") for index in range(c.n_layers)),
    )
    steepest = how.alibi_bias_max
    made.bias = alibi(slopes_in_turn(c.n_heads, steepest), c.max_seq_len).expand(c.n_layers, -1, -1)
    tensors.done()
    return made


def _layer(c: MPTConfig, how: MPTAttention, tensors: Tensors, block: str) -> OriginalLayer:
    d, n = c.d_model, c.n_heads
    d_head = d // n
    W_Q, W_K, W_V = (heads_of(part, n) for part in tensors.take(f"{block}.attn.Wqkv.weight", 3 * d, d).chunk(3))
    if how.softmax_scale is not None:
        W_Q *= how.softmax_scale * d_head**0.5
    zero = W_Q.new_zeros(n, d_head)
    W_O, ln = (
        output(tensors, f"{block}.attn.out_proj", d, n),
        layer_norm(tensors, f"{block}.norm_1", d, "weight", "bias"),
    )
    before = layer_norm(tensors, f"{block}.norm_2", d, "weight", "bias")
    names, wide = ("up_proj", "down_proj"), c.expansion_ratio * d
    after = mlp(tensors, f"{block}.ffn", names, (d, wide), "gelu", before, biased=False)
    return OriginalLayer(W_Q, W_K, W_V, W_O, zero, zero.clone(), zero.clone(), W_Q.new_zeros(d), ln, after)
