"""State dicts of the bridges of TransformerLens 4, brought under the names and into the shapes of TransformerLens 3."""

from torch import Tensor

from skiptrace.models.tensors import Layout, Tensors

MARK = "embed.weight"  # a tensor that only they have
NATIVE = "TransformerLensNative"  # the architecture of models that it trained itself
OTHERS = {
    "embed.weight": "embed.W_E", "pos_embed.weight": "pos_embed.W_pos", "unembed.bias": "unembed.b_U",
}  # fmt: skip
ATTENTION = {"q": "Q", "k": "K", "v": "V", "o": "O"}
MLP = {"in": "in", "out": "out", "gate": "gate"}


def as_in_3(tensors: Tensors, n_heads: int, groups: int | None) -> Tensors:
    """The tensors of a bridge as a HookedTransformer holds them; `groups` of keys and values if they are shared."""

    def layout(name: str, shape: tuple[int, ...]) -> Layout:
        place, _, kind = name.rpartition(".")
        before, _, part = place.rpartition(".")
        if name in OTHERS:
            return Layout(OTHERS[name], shape, _as_it_is)
        if name == "unembed.weight":
            return Layout("unembed.W_U", shape[::-1], _transposed)
        if before.endswith(".mlp") and part in MLP:
            new = f"{before}.{'W' if kind == 'weight' else 'b'}_{part}"
            return Layout(new, shape[::-1], _transposed if kind == "weight" else _as_it_is)
        if before.endswith(".attn") and part in ATTENTION:
            shared = groups is not None and part in "kv"
            heads, under = groups if shared and groups else n_heads, "_" if shared else ""
            new = f"{before}.{under}{'W' if kind == 'weight' else 'b'}_{ATTENTION[part]}"
            return _of_heads(new, shape, heads, part == "o", Layout(name, shape, _as_it_is))
        if kind in ("weight", "bias") and part.startswith("ln"):
            return Layout(f"{place}.{kind[0]}", shape, _as_it_is)
        return Layout(name, shape, _as_it_is)

    return tensors.laid_out(layout)


def _of_heads(new: str, shape: tuple[int, ...], heads: int, out: bool, unknown: Layout) -> Layout:
    """W_Q … W_O and b_Q … b_O from the linear layers that hold the heads side by side, outputs first."""
    if len(shape) == 1 and out:
        return Layout(new, shape, _as_it_is)
    side = shape[-1] if out else shape[0]
    if len(shape) not in (1, 2) or side % heads:
        return unknown  # and refused as such
    d_head = side // heads
    if len(shape) == 1:
        return Layout(new, (heads, d_head), lambda t: t.unflatten(0, (heads, -1)))
    if out:
        return Layout(new, (heads, d_head, shape[0]), lambda t: t.T.unflatten(0, (heads, -1)))
    return Layout(new, (heads, shape[1], d_head), lambda t: t.unflatten(0, (heads, -1)).mT)


def _as_it_is(t: Tensor) -> Tensor:
    return t


def _transposed(t: Tensor) -> Tensor:
    return t.T
