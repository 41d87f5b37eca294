"""Folded weights as a model as it was trained again: the biases beside the weights, in layer norms where they fit."""

import torch
from jaxtyping import Float
from torch import Tensor

from skiptrace.arithmetic import on_one_thread
from skiptrace.errors import InputError
from skiptrace.models.config import ModelConfig
from skiptrace.models.original import LayerNorm, Original, OriginalLayer, OriginalMLP
from skiptrace.models.transformer import Transformer

NEAR = 1e-5  # how far a bias may be from what is written for it, in parts of the largest
SMALLEST = 1e-7  # singular values below this part of the largest are rounding errors of float32


def _rows(weight: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """The rows of a weight that read the stream, and its bias: what it reads of the dimension that holds 1."""
    last = weight[..., -1, :]
    beyond = weight.shape[-2] > width
    return weight[..., :width, :].clone(), last.clone() if beyond else torch.zeros_like(last)


def unfolded(model: Transformer) -> Original:
    """A model with its biases beside the weights again, and layer norms whose weights are 1.

    Raises:
        InputError: its positions stand in dimensions of their own, which layer norm does not touch.
    """
    c, width = model.config, model.config.d_model_imported or model.d_model
    if model.d_model - width > 1:
        raise InputError("positions that layer norm does not touch have no place in transformers: not exported")

    def norm() -> LayerNorm | None:
        return None if c.eps is None else LayerNorm(torch.ones(width), torch.zeros(width))

    W_U, b_U = _rows(model.W_U, width)
    layers = []
    for layer in model.blocks:
        (W_Q, b_Q), (W_K, b_K), (W_V, b_V) = (_rows(W, width) for W in (layer.W_Q, layer.W_K, layer.W_V))
        b_O = torch.zeros(width) if layer.b_O is None else layer.b_O[:width].clone()
        mlp = None
        if layer.mlp is not None:
            (W_in, b_in), W_out, b_out = _rows(layer.mlp.W_in, width), layer.mlp.W_out, layer.mlp.b_out
            gate = (None, None) if layer.mlp.W_gate is None else _rows(layer.mlp.W_gate, width)
            act = layer.mlp.activation
            mlp = OriginalMLP(W_in, b_in, W_out[:, :width].clone(), b_out[:width].clone(), act, norm(), *gate)
        W_O, norms = layer.W_O[..., :width].clone(), (layer.q_norm, layer.k_norm)
        made = OriginalLayer(W_Q, W_K, W_V, W_O, b_Q, b_K, b_V, b_O, norm(), mlp, None, *norms, layer.sinks)
        layers.append(made)
    W_E, W_pos = model.W_E[:, :width].clone(), model.W_pos[:, :width]
    return Original(W_E, W_pos, W_U, b_U, layers, c.positional_embedding_type, ln_final=norm())


@torch.no_grad()
def settle(wanted: Original, there: Original, config: ModelConfig, groups: int) -> None:
    """Put biases for which a format has no tensor into those that it has, in place.

    The bias β of a layer norm is β W in all that reads through it, which is what these biases were before they were
    folded; and b_V of heads is b_V W_O in what they write.
    """
    if wanted.ln_final is not None:
        wanted.ln_final.b.add_(_solve([wanted.W_U], [wanted.b_U]))
        wanted.b_U.zero_()
    for layer, place in zip(wanted.layers, there.layers, strict=True):
        _settle_heads(layer, place, config, groups)
        mlp, slot = layer.mlp, None if place.mlp is None else place.mlp
        if mlp is not None and slot is not None and mlp.ln is not None and not slot.b_in.any():
            gate, b_gate = ([], []) if mlp.W_gate is None or mlp.b_gate is None else ([mlp.W_gate], [mlp.b_gate])
            mlp.ln.b.add_(_solve([mlp.W_in, *gate], [mlp.b_in, *b_gate]))
            for b in (mlp.b_in, *b_gate):
                b.zero_()


def _settle_heads(layer: OriginalLayer, place: OriginalLayer, config: ModelConfig, groups: int) -> None:
    W_OV = torch.einsum("hdk,hke->de", layer.W_V, layer.W_O)
    if not place.b_O.any() and place.b_V.any():
        of_groups = layer.W_O.unflatten(0, (groups, -1)).sum(1).flatten(0, 1)
        b_V = _solve([of_groups], [layer.b_O]).unflatten(0, (groups, -1))
        layer.b_V.add_(b_V.repeat_interleave(config.n_heads // groups, 0))
        layer.b_O.zero_()
    if place.b_Q.any() or layer.ln is None:
        return
    read, biases = [layer.W_Q], [layer.b_Q]
    if config.rotary:  # else softmax ignores what keys have in common
        read, biases = [*read, layer.W_K], [*biases, layer.b_K]
    flat = [W.transpose(0, 1).flatten(1) for W in read]
    if place.b_O.any():
        beta = _solve(flat, [b.flatten() for b in biases])
        layer.b_O.sub_(beta @ W_OV)
    else:
        beta = _solve([*flat, W_OV], [*(b.flatten() for b in biases), layer.b_O])
        layer.b_O.zero_()
    layer.ln.b.add_(beta)
    for b in biases:
        b.zero_()


def _solve(weights: list[Tensor], biases: list[Tensor]) -> Float[Tensor, " rows"]:
    """The shortest β for which β W is each bias.

    Raises:
        InputError: there is none.
    """
    W, b = torch.cat(weights, 1).double(), torch.cat(biases).double()
    if not b.any():
        return torch.zeros(len(W))
    solved = on_one_thread(torch.linalg.lstsq, W.T, b[:, None], rcond=SMALLEST, driver="gelsd")
    beta = solved.solution[:, 0]
    if not torch.allclose(beta @ W, b, rtol=0, atol=NEAR * float(b.abs().max())):
        raise InputError("its biases have no place in the format that it was imported from: not exported")
    return beta.float()
