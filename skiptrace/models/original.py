"""A model as it was trained elsewhere, and its rewriting into weights that circuits can be read from.

Every step leaves what the model predicts unchanged; which were taken is recorded.
"""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from skiptrace.models.config import Activation, ModelConfig, Positions
from skiptrace.models.transformer import Transformer

WITHOUT_STD = "circuits leave out the division by the standard deviation, which differs from place to place"
WITHOUT_MLPS = "circuits leave out the MLPs: those of heads are direct paths, as if no MLP stood between"


class LayerNorm(NamedTuple):
    """The weights of a layer norm."""

    w: Float[Tensor, " d_model"]
    b: Float[Tensor, " d_model"]


@dataclass
class OriginalMLP:
    """An MLP and the layer norm that it reads through."""

    W_in: Float[Tensor, "d_model d_mlp"]
    b_in: Float[Tensor, " d_mlp"]
    W_out: Float[Tensor, "d_mlp d_model"]
    b_out: Float[Tensor, " d_model"]
    activation: Activation
    ln: LayerNorm | None
    W_gate: Float[Tensor, "d_model d_mlp"] | None = None
    b_gate: Float[Tensor, " d_mlp"] | None = None


@dataclass
class OriginalLayer:
    """The heads of one layer with all biases, the layer norm that they read through, and the MLP after them."""

    W_Q: Float[Tensor, "n_heads d_model d_head"]
    W_K: Float[Tensor, "n_heads d_model d_head"]
    W_V: Float[Tensor, "n_heads d_model d_head"]
    W_O: Float[Tensor, "n_heads d_head d_model"]
    b_Q: Float[Tensor, "n_heads d_head"]
    b_K: Float[Tensor, "n_heads d_head"]
    b_V: Float[Tensor, "n_heads d_head"]
    b_O: Float[Tensor, " d_model"]
    ln: LayerNorm | None = None
    mlp: OriginalMLP | None = None
    from_positions: tuple[Tensor, Tensor] | None = None  # W_Q and W_K of positions, where they are others than tokens'
    # Weights of the norms that queries and keys go through, those of all models of a family or of none.
    q_norm: Float[Tensor, " d_head"] | None = None
    k_norm: Float[Tensor, " d_head"] | None = None
    sinks: Float[Tensor, " n_heads"] | None = None


@dataclass
class Original:
    """A whole model; `norm` is what its layer norms do, their weights aside: LN centres and scales, RMS scales.

    `rotary`, `windows` and `parallel` are `rotary_frequencies`, `attention_windows` and `parallel_attn_mlp` of
    `ModelConfig`, as are the soft caps; `bias` is what relative positions add to scores, by layer, head and distance.
    `read_as` are sentences on how the checkpoint was read where it could have been read otherwise.
    """

    W_E: Float[Tensor, "d_vocab d_model"]
    W_pos: Float[Tensor, "n_ctx d_model"]
    W_U: Float[Tensor, "d_model d_vocab"]
    b_U: Float[Tensor, " d_vocab"]
    layers: list[OriginalLayer]
    positions: Positions
    norm: Literal["LN", "RMS"] | None = None
    eps: float = 1e-5
    ln_final: LayerNorm | None = None
    read_as: list[str] = field(default_factory=list)
    rotary: list[float] | None = None
    bias: Float[Tensor, "n_layers n_heads n_ctx"] | None = None
    windows: list[int | None] | None = None
    parallel: bool = False
    attention_soft_cap: float | None = None
    logits_soft_cap: float | None = None

    @property
    def sinks(self) -> bool:
        """Whether a part of the attention goes to no source."""
        return any(layer.sinks is not None for layer in self.layers)

    @property
    def keeps_b_K(self) -> bool:
        """Whether softmax sees b_K: keys are turned or scaled, scores are capped, or a sink stands among them."""
        return (
            self.rotary is not None
            or self.attention_soft_cap is not None
            or any(layer.k_norm is not None or layer.sinks is not None for layer in self.layers)
        )

    @property
    def linear(self) -> bool:
        """As `ModelConfig.linear`."""
        bent = self.attention_soft_cap or self.logits_soft_cap or self.sinks
        return self.norm is None and all(layer.mlp is None for layer in self.layers) and not bent


class Folded(NamedTuple):
    """The rewritten model, what was done to it, and what its circuits leave out."""

    model: Transformer
    processing: list[str]
    approximate: list[str]


@torch.no_grad()
def fold(original: Original) -> Folded:
    """Rewrite a model, in float32 and in place, so that its predictions stay and its circuits are weights alone.

    Layer-norm weights go into the weights that read through them, and all that writes is centred; what is left of
    layer norm, the division by the standard deviation, is kept where the model runs. The unembedding is centred.
    b_K is dropped, since softmax ignores it, unless keys are turned or scaled. b_V is a constant, since attention sums
    to one: it goes with b_O into the unembedding's bias, or stays b_O before layer norms and MLPs. b_Q, a b_K that is
    kept, the input biases of MLPs and the bias of the unembedding become weights from a last dimension that always
    holds 1.
    """
    o, steps = original, list(original.read_as)
    if o.ln_final is not None or any(layer.ln is not None for layer in o.layers):
        _fold_layer_norm(o)
        steps.append("layer norm: its weights and biases folded into the weights that read through it")
        if any(layer.from_positions is not None for layer in o.layers):
            steps.append("positions given dimensions of their own, which layer norm's weights do not stretch")
    if o.norm == "LN":
        _centre_writers(o)
        steps.append("everything that writes to the residual stream centred, so that layer norm only scales it")
    if o.logits_soft_cap is None:
        o.W_U -= o.W_U.mean(1, keepdim=True)
        o.b_U -= o.b_U.mean()
        steps.append("the unembedding centred over the vocabulary, which softmax ignores")
    if any(bool(b.any()) for layer in o.layers for b in (layer.b_Q, layer.b_K, layer.b_V, layer.b_O)):
        steps.append(
            ("" if o.keeps_b_K else "b_K dropped, which softmax ignores; ")
            + ("b_V kept, of which a sink takes its part" if o.sinks else "b_V folded into ")
            + ("" if o.sinks else "the bias of the unembedding" if o.linear else "the constant that a layer writes")
        )
    _fold_value_biases(o)
    model = _assemble(o)
    if (model.d_model - o.W_E.shape[1]) % o.W_E.shape[1]:
        kept = "b_Q, b_K" if o.keeps_b_K else "b_Q"
        steps.append(f"{kept} and the other biases made weights from a last dimension that always holds 1")
    return Folded(model, steps, _left_out(o))


def _left_out(o: Original) -> list[str]:
    parts = []
    if o.norm is not None:
        parts.append(WITHOUT_STD)
    if any(layer.mlp is not None for layer in o.layers):
        parts.append(WITHOUT_MLPS)
    if o.rotary is not None:
        parts.append(
            "QK depends on the distance between two tokens, by which rotary positions turn it: circuits have its mean "
            "over distances, the mined table the distance among `expansion.offsets` at which it is largest"
        )
    for what, cap in (("attention scores", o.attention_soft_cap), ("logits", o.logits_soft_cap)):
        if cap is not None:
            parts.append(f"circuits leave out that {what} x become {cap:g} tanh(x/{cap:g})")
    if o.sinks:
        parts.append("circuits leave out the sinks, numbers that take their part of each head's attention")
    if o.bias is not None:
        parts.append(
            "circuits leave out what relative positions add to attention scores, a number for each head and distance; "
            "at a distance, as in qk_at_4, it is part of them"
        )
    seen = {} if o.windows is None else {i: w for i, w in enumerate(o.windows) if w is not None and w < len(o.W_pos)}
    if seen:
        layers = ", ".join(map(str, seen))
        parts.append(
            f"circuits leave out that heads of layers {layers} see the last {min(seen.values())} tokens alone"
            if len(set(seen.values())) == 1
            else f"circuits leave out that heads of layers {layers} see the last tokens alone"
        )
    return parts


def _fold_layer_norm(o: Original) -> None:
    # Shortformer positions are added behind layer norm: its weights are not theirs.
    apart = o.positions == "shortformer" and any(bool((n.ln.w != 1).any()) for n in o.layers if n.ln is not None)
    for layer in o.layers:
        if apart:
            layer.from_positions = layer.W_Q.clone(), layer.W_K.clone()
        if layer.ln is not None:
            for weight, bias in ((layer.W_Q, layer.b_Q), (layer.W_K, layer.b_K), (layer.W_V, layer.b_V)):
                bias += layer.ln.b @ weight
                weight *= layer.ln.w[:, None]
        if layer.mlp is not None and layer.mlp.ln is not None:
            layer.mlp.b_in += layer.mlp.ln.b @ layer.mlp.W_in
            layer.mlp.W_in *= layer.mlp.ln.w[:, None]
            if layer.mlp.W_gate is not None and layer.mlp.b_gate is not None:
                layer.mlp.b_gate += layer.mlp.ln.b @ layer.mlp.W_gate
                layer.mlp.W_gate *= layer.mlp.ln.w[:, None]
    if o.ln_final is not None:
        o.b_U += o.ln_final.b @ o.W_U
        o.W_U *= o.ln_final.w[:, None]


def _centre_writers(o: Original) -> None:
    writers = [o.W_E, *([o.W_pos] if o.positions == "standard" else [])]
    for layer in o.layers:
        writers += [layer.W_O, layer.b_O, *([layer.mlp.W_out, layer.mlp.b_out] if layer.mlp is not None else [])]
    for weight in writers:
        weight -= weight.mean(-1, keepdim=True)


def _fold_value_biases(o: Original) -> None:
    """Make b_V part of b_O; where nothing but weights reads the stream, follow the constant to the logits."""
    stands = torch.zeros_like(o.W_E[0])
    for layer in o.layers:
        if o.linear:
            layer.b_Q += stands @ layer.W_Q
            layer.b_V += stands @ layer.W_V
            layer.b_K += stands @ layer.W_K
        if layer.sinks is None:
            layer.b_O += torch.einsum("hk,hkd->d", layer.b_V, layer.W_O)
        if o.linear:
            stands += layer.b_O
            layer.b_O.zero_()
    o.b_U += stands @ o.W_U


def _assemble(o: Original) -> Transformer:
    """Lay the dimensions out: the stream, positions if they stand apart, and the one that holds 1 if it is needed."""
    width = o.W_E.shape[1]
    n_heads, d_head = o.layers[0].b_Q.shape if o.layers else (0, 0)
    apart = width if any(layer.from_positions is not None for layer in o.layers) else 0
    mlps = [layer.mlp for layer in o.layers if layer.mlp is not None]
    biases = [o.b_U, *(layer.b_Q for layer in o.layers), *(mlp.b_in for mlp in mlps)]
    biases += [layer.b_V for layer in o.layers if layer.sinks is not None]
    biases += [layer.b_K for layer in o.layers if o.keeps_b_K] + [mlp.b_gate for mlp in mlps if mlp.b_gate is not None]
    one = int(any(bool(b.any()) for b in biases))
    mlp = mlps[0] if mlps else None
    config = ModelConfig(
        n_layers=len(o.layers),
        n_heads=n_heads,
        d_model=width + apart + one,
        d_head=d_head,
        n_ctx=len(o.W_pos),
        d_vocab=len(o.W_E),
        attn_only=mlp is None,
        normalization_type=None if o.norm is None else "RMSPre",
        positional_embedding_type=o.positions,
        eps=None if o.norm is None else o.eps,
        d_normed=None if o.norm is None else width,
        d_mlp=None if mlp is None else mlp.W_in.shape[1],
        act_fn=None if mlp is None else mlp.activation,
        gated_mlp=mlp is not None and mlp.W_gate is not None,
        parallel_attn_mlp=o.parallel,
        use_qk_norm=any(layer.q_norm is not None for layer in o.layers),
        rotary_frequencies=o.rotary,
        attention_soft_cap=o.attention_soft_cap,
        logits_soft_cap=o.logits_soft_cap,
        use_attention_sinks=o.sinks,
        attention_windows=None if o.windows is None or not any(o.windows) else o.windows,
    )
    model = Transformer(config)

    def fill(place: Tensor, rows: Tensor, positions: Tensor | None = None, bias: Tensor | None = None) -> None:
        place.zero_()
        place[..., :width, :] = rows
        if positions is not None:
            place[..., width : width + apart, :] = positions
        if one and bias is not None:
            place[..., -1, :] = bias

    fill(model.W_E.T, o.W_E.T, bias=torch.ones(len(o.W_E)))
    fill(model.W_U, o.W_U, bias=o.b_U)
    if not config.by_distance:
        model.W_pos.zero_()[:, apart : apart + width] = o.W_pos
    for index, (layer, into) in enumerate(zip(o.layers, model.blocks, strict=True)):
        query, key = layer.from_positions or (None, None)
        fill(into.W_Q, layer.W_Q, query, layer.b_Q)
        fill(into.W_K, layer.W_K, key, layer.b_K if o.keeps_b_K else None)
        for name in ("q_norm", "k_norm"):
            if getattr(into, name) is not None:
                getattr(into, name).copy_(getattr(layer, name))
        if into.distance_bias is not None and o.bias is not None:
            into.distance_bias.copy_(o.bias[index])
        fill(into.W_V, layer.W_V, bias=None if layer.sinks is None else layer.b_V)
        if into.sinks is not None and layer.sinks is not None:
            into.sinks.copy_(layer.sinks)
        fill(into.W_O.mT, layer.W_O.mT)
        if into.b_O is not None:
            into.b_O.copy_(F.pad(layer.b_O, (0, apart + one)))
        if layer.mlp is not None and into.mlp is not None:
            fill(into.mlp.W_in, layer.mlp.W_in, bias=layer.mlp.b_in)
            if layer.mlp.W_gate is not None and into.mlp.W_gate is not None:
                fill(into.mlp.W_gate, layer.mlp.W_gate, bias=layer.mlp.b_gate)
            fill(into.mlp.W_out.T, layer.mlp.W_out.T)
            into.mlp.b_out.copy_(F.pad(layer.mlp.b_out, (0, apart + one)))
    return model.requires_grad_(False).eval()
