"""Reading checkpoints of BLOOM, whose positions are ALiBi, in the format of the library transformers."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from torch.nn import functional as F

from skiptrace.models.foreign import Count, Foreign, Size, Source, because, check, enough, layer_norm
from skiptrace.models.huggingface import GENERAL, divides, heads_of, mlp, nowhere, original, output
from skiptrace.models.original import Original, OriginalLayer
from skiptrace.models.relative import alibi, slopes
from skiptrace.models.tensors import Tensors


class BloomConfig(Foreign):
    """The keys of a BLOOM config.json that are used; a value that cannot be run here is an error."""

    model_type: Literal["bloom"]
    vocab_size: Size
    hidden_size: Size
    n_layer: Count
    n_head: Size
    n_inner: int | None = None
    seq_length: Size = 2048
    layer_norm_epsilon: Annotated[float, Field(gt=0)] = 1e-5
    apply_residual_connection_post_layernorm: Literal[False] = False
    tie_word_embeddings: bool = True
    is_encoder_decoder: Literal[False] = False

    OTHERWISE: ClassVar = {"n_embed": "hidden_size", "num_hidden_layers": "n_layer", "num_attention_heads": "n_head"}
    IRRELEVANT: ClassVar = (
        GENERAL
        | because("dropout, of training alone", "attention_dropout hidden_dropout")
        | because(
            "how the same numbers are computed",
            "pretraining_tp slow_but_exact attention_softmax_in_fp32 bias_dropout_fusion masked_softmax_fusion "
            "skip_bias_add skip_bias_add_qkv offset_alibi",
        )
        | because("how text becomes tokens, which tokenizers.<corpus> says", "unk_token_id")
    )
    WHY: ClassVar = {
        "apply_residual_connection_post_layernorm": "a stream that goes through layer norms cannot be read as a sum"
    }


def read(content: dict[str, Any], tensors: Tensors, source: Source) -> Original:
    """A model in the format of BLOOM; its embedding has a layer norm of its own, which is exact for each token.

    Raises:
        InputError: a key of its config or a tensor is not as it has to be; names it.
    """
    c = check(BloomConfig, content, source)
    enough(tensors, c.n_layer, source)
    divides(source, "n_head", c.n_head, c.hidden_size, "hidden_size")
    d, before = c.hidden_size, "transformer." if "transformer.word_embeddings.weight" in tensors else ""
    embedded = tensors.take(f"{before}word_embeddings.weight", c.vocab_size, d)
    ln = layer_norm(tensors, f"{before}word_embeddings_layernorm", d, "weight", "bias")
    made = original(
        tensors,
        F.layer_norm(embedded, (d,), ln.w, ln.b, c.layer_norm_epsilon),
        nowhere(c.seq_length, d),
        "lm_head.weight",
        c.tie_word_embeddings,
        "relative",
        c.layer_norm_epsilon,
        layer_norm(tensors, f"{before}ln_f", d, "weight", "bias"),
        (_layer(c, tensors, f"{before}h.{index}") for index in range(c.n_layer)),
        unembedded=embedded,
    )
    made.bias = alibi(slopes(c.n_head), c.seq_length).expand(c.n_layer, -1, -1)
    made.read_as.append("the layer norm of the embedding made part of it, exact for each token")
    tensors.done()
    return made


def _layer(c: BloomConfig, tensors: Tensors, block: str) -> OriginalLayer:
    d, n, attn = c.hidden_size, c.n_head, f"{block}.self_attention"
    # Every head's queries, keys and values stand side by side.
    weight = heads_of(tensors.take(f"{attn}.query_key_value.weight", 3 * d, d), n)
    stored = heads_of(tensors.take(f"{attn}.query_key_value.bias", 3 * d), n)
    W_Q, W_K, W_V = (part.contiguous() for part in weight.chunk(3, -1))
    b_Q, b_K, b_V = (part.clone() for part in stored.chunk(3, -1))
    after = mlp(
        tensors,
        f"{block}.mlp",
        ("dense_h_to_4h", "dense_4h_to_h"),
        (d, c.n_inner or 4 * d),
        "gelu_new",
        layer_norm(tensors, f"{block}.post_attention_layernorm", d, "weight", "bias"),
    )
    W_O, b_O = output(tensors, f"{attn}.dense", d, n), tensors.take(f"{attn}.dense.bias", d)
    ln = layer_norm(tensors, f"{block}.input_layernorm", d, "weight", "bias")
    return OriginalLayer(W_Q, W_K, W_V, W_O, b_Q, b_K, b_V, b_O, ln, after)
