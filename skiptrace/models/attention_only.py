"""Reading the attention-only models trained on SimpleStories, saved by the library transformers with a config of Llama.

Their page on the Hub (Butanium/simple-stories-1L4H128D-attention-only-toy-transformer and others) shows the class:
an embedding, layers of heads with a residual connection, and an unembedding; no layer norm, MLPs or positions.
"""

from typing import Any, ClassVar, Literal

import torch

from skiptrace.models.foreign import Count, Foreign, Size, Source, because, check, enough
from skiptrace.models.huggingface import GENERAL, divides, heads_of, unembedding
from skiptrace.models.original import Original, OriginalLayer
from skiptrace.models.tensors import Tensors

ARCHITECTURE = "AttentionOnlyTransformer"  # in `architectures`


class AttentionOnlyConfig(Foreign):
    """The keys of such a config.json that are used; a value that cannot be run here is an error."""

    model_type: Literal["llama"]
    vocab_size: Size
    max_position_embeddings: Size = 2048
    hidden_size: Size
    num_hidden_layers: Count
    num_attention_heads: Size
    num_key_value_heads: Size | None = None
    head_dim: Size | None = None
    attention_bias: Literal[False] = False
    tie_word_embeddings: bool = False
    is_encoder_decoder: Literal[False] = False

    IRRELEVANT: ClassVar = (
        GENERAL
        | because("dropout, of training alone", "attention_dropout")
        | because("how the same product is computed", "pretraining_tp")
        | because(
            "of parts of Llama that these models lack: norms, MLPs and rotary positions",
            "rms_norm_eps hidden_act intermediate_size mlp_bias rope_parameters rope_scaling rope_theta "
            "rope_interleaved partial_rotary_factor",
        )
    )


def read(content: dict[str, Any], tensors: Tensors, source: Source) -> Original:
    """A model of this class; scores are divided by √d_head, and it is said that its page does not show them.

    Raises:
        InputError: a key of its config or a tensor is not as it has to be; names it.
    """
    c = check(AttentionOnlyConfig, content, source)
    enough(tensors, c.num_hidden_layers, source)
    groups = c.num_key_value_heads or c.num_attention_heads
    divides(source, "num_key_value_heads", groups, c.num_attention_heads, "num_attention_heads")
    if c.head_dim is None:
        divides(source, "num_attention_heads", c.num_attention_heads, c.hidden_size, "hidden_size")
    d, d_head = c.hidden_size, c.head_dim or c.hidden_size // c.num_attention_heads
    W_E = tensors.take("embed_tokens.weight", c.vocab_size, d)
    W_U, said = unembedding(W_E, tensors, "lm_head.weight", c.tie_word_embeddings)
    layers = [_layer(c, tensors, f"layers.{index}.", d_head, groups) for index in range(c.num_hidden_layers)]
    tensors.done()
    said.append(
        "read as its page on the Hub describes it: heads alone, without layer norm, MLPs and positions, their scores "
        "divided by √d_head, which the page does not show"
    )
    W_pos, b_U = torch.zeros(c.max_position_embeddings, d), W_E.new_zeros(c.vocab_size)
    return Original(W_E, W_pos, W_U, b_U, layers, "none", read_as=said)


def _layer(c: AttentionOnlyConfig, tensors: Tensors, block: str, d_head: int, groups: int) -> OriginalLayer:
    d, n = c.hidden_size, c.num_attention_heads

    def named(name: str) -> str:
        # What stands between, the page does not show.
        return tensors.between(block, f"{name}.weight")

    def of_heads(name: str, heads: int) -> torch.Tensor:
        return heads_of(tensors.take(named(name), heads * d_head, d), heads).repeat_interleave(n // heads, 0)

    W_Q, W_K, W_V = of_heads("q_proj", n), of_heads("k_proj", groups), of_heads("v_proj", groups)
    W_O = tensors.take(named("o_proj"), d, n * d_head).T.unflatten(0, (n, -1)).clone()
    zero = W_Q.new_zeros(n, d_head)
    return OriginalLayer(W_Q, W_K, W_V, W_O, zero, zero.clone(), zero.clone(), W_Q.new_zeros(d))
