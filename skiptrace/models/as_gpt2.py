"""A GPT-2 that computes the same as a model that no family of transformers has."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from skiptrace.errors import InputError
from skiptrace.models.export import only_plain
from skiptrace.models.original import LayerNorm, Original, OriginalLayer, OriginalMLP
from skiptrace.models.transformer import Transformer
from skiptrace.models.unfolding import unfolded

FLAT = 1e16  # an eps beside which no variance counts in float32: times √eps, such a layer norm only centres
CENTRED = 1e-5  # how large a sum over the stream may be, in parts of the sum of sizes


def as_gpt2(model: Transformer) -> tuple[dict[str, Any], Original]:
    """The config and the weights of a GPT-2 that computes the same as a model that none of its families has.

    Its stream has more dimensions: shortformer positions, which queries and keys alone read; one that holds the sum of
    the others with its sign changed, so that layer norm finds it centred; one for the bias of the unembedding, which
    the last layer norm sets to 1; and zeros up to a multiple of the heads. Of a model without layer norm, they divide
    by √eps alone. MLPs that are not there are one of zeros.

    Raises:
        InputError: it has a part that GPT-2 lacks, a norm that does not centre, or one beside shortformer positions.
    """
    c = model.config
    only_plain(c, "transformers")
    shortformer = c.positional_embedding_type == "shortformer"
    if shortformer and c.eps is not None:
        raise InputError("positional_embedding_type: shortformer beside a layer norm is not written for transformers")
    o = unfolded(model)
    width, n_heads = o.W_E.shape[1], max(1, c.n_heads)
    minus, one = (width * (2 if shortformer else 1) + i for i in range(2))
    wide = -(-max(one + 1, n_heads * c.d_head) // n_heads) * n_heads
    d_head = wide // n_heads

    def written(W: Tensor, at: int = 0) -> Tensor:
        if c.eps is not None and W.sum(-1).abs().max() > CENTRED * W.abs().sum(-1).max():
            raise InputError(
                "normalization_type: an RMS norm in no family that has one is not written for transformers"
            )
        out = F.pad(W, (at, wide - at - width))
        out[..., minus] = -W.sum(-1)
        return out

    def read(W: Tensor, positions: bool = False) -> Tensor:
        out = F.pad(W, (0, 0, 0, wide - width))
        if positions and shortformer:
            out[..., width : 2 * width, :] = W
        return out

    def of_heads(W: Tensor, b: Tensor, positions: bool) -> tuple[Tensor, Tensor]:
        return read(F.pad(W, (0, d_head - c.d_head)), positions), F.pad(b, (0, d_head - c.d_head))

    def norm() -> LayerNorm:
        gain = FLAT**0.5 if c.eps is None else (width / wide) ** 0.5
        return LayerNorm(torch.full((wide,), gain), torch.zeros(wide))

    layers = []
    for layer in o.layers:
        (W_Q, b_Q), (W_K, b_K) = of_heads(layer.W_Q, layer.b_Q, True), of_heads(layer.W_K, layer.b_K, True)
        W_V, b_V = of_heads(layer.W_V, layer.b_V, False)
        scale = (d_head / c.d_head) ** 0.5
        W_O = F.pad(written(layer.W_O), (0, 0, 0, d_head - c.d_head))
        m = layer.mlp
        mlp = OriginalMLP(
            torch.zeros(wide, 1) if m is None else read(m.W_in),
            torch.zeros(1) if m is None else m.b_in,
            torch.zeros(1, wide) if m is None else written(m.W_out),
            torch.zeros(wide) if m is None else written(m.b_out),
            "gelu_new" if m is None else m.activation,
            norm(),
        )
        layers.append(OriginalLayer(W_Q * scale, W_K, W_V, W_O, b_Q * scale, b_K, b_V, written(layer.b_O), norm(), mlp))
    W_U, last = read(o.W_U), norm()
    W_U[one] = o.b_U
    last.b[one] = 1
    W_pos = written(o.W_pos, width if shortformer else 0)
    wanted = Original(written(o.W_E), W_pos, W_U, torch.zeros(c.d_vocab), layers, "standard", ln_final=last)
    content = {
        "model_type": "gpt2",
        "vocab_size": c.d_vocab,
        "n_positions": c.n_ctx,
        "n_embd": wide,
        "n_layer": c.n_layers,
        "n_head": n_heads,
        "n_inner": c.d_mlp or 1,
        "activation_function": c.act_fn or "gelu_new",
        "layer_norm_epsilon": FLAT if c.eps is None else c.eps * width / wide,
        "tie_word_embeddings": False,
    }
    return content, wanted
