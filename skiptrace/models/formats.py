"""Reading checkpoints of TransformerLens and of Hugging Face GPT-2."""

from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from skiptrace.errors import InputError
from skiptrace.files import read_json
from skiptrace.models.original import LayerNorm, Original, OriginalLayer, OriginalMLP
from skiptrace.models.tensors import Tensors, find

Size = Annotated[int, Field(ge=1, lt=2**24)]
Count = Annotated[int, Field(ge=0, lt=2**16)]


class _Config(BaseModel):
    """The keys of a foreign config.json that matter here; others are ignored."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class LensConfig(_Config):
    """Of a HookedTransformerConfig: a value that this house cannot run is an error here."""

    n_layers: Count
    n_heads: Size
    d_model: Size
    d_head: Size
    n_ctx: Size
    d_vocab: Size
    attn_only: bool = False
    d_mlp: Size | None = None
    act_fn: Literal["gelu", "gelu_new", "relu"] | None = None
    normalization_type: Literal["LN", "LNPre", "RMS", "RMSPre"] | None = "LN"
    positional_embedding_type: Literal["standard", "shortformer"] = "standard"
    eps: Annotated[float, Field(gt=0)] = 1e-5
    n_key_value_heads: Size | None = None
    use_attn_scale: bool = True
    attn_scale: float = -1.0
    scale_attn_by_inverse_layer_idx: bool = False
    attention_dir: Literal["causal"] = "causal"
    parallel_attn_mlp: Literal[False] = False
    gated_mlp: Literal[False] = False
    use_local_attn: Literal[False] = False
    post_embedding_ln: Literal[False] = False
    use_qk_norm: Literal[False] = False
    use_normalization_before_and_after: Literal[False] = False
    attn_scores_soft_cap: Annotated[float, Field(le=0)] = -1.0
    output_logits_soft_cap: Annotated[float, Field(le=0)] = -1.0


class GPT2Config(_Config):
    """Of a GPT-2 config.json as `transformers` writes it."""

    model_type: Literal["gpt2"]
    vocab_size: Size
    n_positions: Size
    n_embd: Size
    n_layer: Count
    n_head: Size
    n_inner: Size | None = None
    activation_function: Literal["gelu_new", "gelu", "relu"] = "gelu_new"
    layer_norm_epsilon: Annotated[float, Field(gt=0)] = 1e-5
    scale_attn_weights: bool = True
    scale_attn_by_inverse_layer_idx: bool = False
    add_cross_attention: Literal[False] = False


class Read(NamedTuple):
    """A checkpoint as it was trained, and the name of its format."""

    original: Original
    format: str


def read(path: Path) -> Read:
    """Read a checkpoint folder, or one file beside its config.json.

    config.json says which format it is: one with `model_type` is of `transformers`, another of TransformerLens.

    Raises:
        InputError: the folder has no config.json or no checkpoint, the model is of a kind whose circuits cannot be
            expanded, or a tensor is not as the config says; names the key or tensor.
    """
    if not path.exists():
        raise InputError(f"{path}: does not exist")
    file = find(path)
    config = file.parent / "config.json"
    content = read_json(config)
    if not isinstance(content, dict):
        raise InputError(f"{config}: expected a mapping")
    if "model_type" in content:
        return Read(_gpt2(_check(GPT2Config, content, config), Tensors(file), config), "gpt2")
    return Read(_lens(_check(LensConfig, content, config), Tensors(file), config), "transformer-lens")


C = TypeVar("C", bound=_Config)
WHY = {
    "positional_embedding_type": "rotary and relative positions make QK depend on the distance, so that it is no one "
    "matrix; only standard and shortformer can be expanded",
    "model_type": "only gpt2 can be imported of the models of transformers",
}


def _check(kind: type[C], content: dict[str, Any], path: Path) -> C:
    try:
        return kind.model_validate({k: v for k, v in content.items() if isinstance(k, str)})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        given = "" if first["type"] == "missing" else f", got {first['input']!r}"
        raise InputError(f"{path}: {key}: {WHY.get(key, first['msg'])}{given}") from None


def _enough(tensors: Tensors, n_layers: int, config: Path) -> None:
    if len(tensors) < 4 * n_layers:  # before any loop that a wrong number could make endless
        raise InputError(f"{config}: {n_layers} layers, but {tensors.path} has only {len(tensors)} tensors")


def _norm(tensors: Tensors, name: str, d: int, w: str = "w", b: str = "b") -> LayerNorm:
    return LayerNorm(tensors.take(f"{name}.{w}", d), tensors.optional(f"{name}.{b}", d))


def _lens(c: LensConfig, tensors: Tensors, config: Path) -> Original:
    _enough(tensors, c.n_layers, config)
    if c.n_heads % (c.n_key_value_heads or c.n_heads):
        raise InputError(f"{config}: n_key_value_heads: {c.n_key_value_heads} does not divide n_heads {c.n_heads}")
    if not c.attn_only and (c.d_mlp is None or c.act_fn is None):
        raise InputError(f"{config}: attn_only: a model with MLPs has d_mlp and act_fn; set attn_only if it has none")
    scale = c.attn_scale if c.use_attn_scale and c.attn_scale > 0 else c.d_head**0.5 if c.use_attn_scale else 1.0
    weighted = c.normalization_type in ("LN", "RMS")
    original = Original(
        tensors.take("embed.W_E", c.d_vocab, c.d_model),
        tensors.take("pos_embed.W_pos", c.n_ctx, c.d_model),
        tensors.take("unembed.W_U", c.d_model, c.d_vocab),
        tensors.optional("unembed.b_U", c.d_vocab),
        [],
        c.positional_embedding_type,
        _kind(c.normalization_type),
        c.eps,
        _norm(tensors, "ln_final", c.d_model) if weighted else None,
    )
    for index in range(c.n_layers):
        layer = _lens_layer(c, tensors, f"blocks.{index}", weighted)
        factor = c.d_head**0.5 / (scale * (index + 1 if c.scale_attn_by_inverse_layer_idx else 1))
        layer.W_Q *= factor
        layer.b_Q *= factor
        original.layers.append(layer)
    tensors.done("attn.mask", "attn.IGNORE")
    return original


def _kind(name: str | None) -> Literal["LN", "RMS"] | None:
    return None if name is None else "LN" if name.startswith("LN") else "RMS"


def _lens_layer(c: LensConfig, tensors: Tensors, block: str, weighted: bool) -> OriginalLayer:
    shared = c.n_heads // (c.n_key_value_heads or c.n_heads)
    into, bias = (c.d_model, c.d_head), (c.d_head,)
    attn = f"{block}.attn"
    under, groups = ("_", c.n_key_value_heads) if c.n_key_value_heads else ("", c.n_heads)
    layer = OriginalLayer(
        tensors.take(f"{attn}.W_Q", c.n_heads, *into),
        tensors.take(f"{attn}.{under}W_K", groups, *into).repeat_interleave(shared, 0),
        tensors.take(f"{attn}.{under}W_V", groups, *into).repeat_interleave(shared, 0),
        tensors.take(f"{attn}.W_O", c.n_heads, c.d_head, c.d_model),
        tensors.optional(f"{attn}.b_Q", c.n_heads, *bias),
        tensors.optional(f"{attn}.{under}b_K", groups, *bias).repeat_interleave(shared, 0),
        tensors.optional(f"{attn}.{under}b_V", groups, *bias).repeat_interleave(shared, 0),
        tensors.optional(f"{attn}.b_O", c.d_model),
        _norm(tensors, f"{block}.ln1", c.d_model) if weighted else None,
    )
    if not c.attn_only and c.d_mlp is not None and c.act_fn is not None:
        layer.mlp = OriginalMLP(
            tensors.take(f"{block}.mlp.W_in", c.d_model, c.d_mlp),
            tensors.optional(f"{block}.mlp.b_in", c.d_mlp),
            tensors.take(f"{block}.mlp.W_out", c.d_mlp, c.d_model),
            tensors.optional(f"{block}.mlp.b_out", c.d_model),
            c.act_fn,
            _norm(tensors, f"{block}.ln2", c.d_model) if weighted else None,
        )
    return layer


def _gpt2(c: GPT2Config, tensors: Tensors, config: Path) -> Original:
    _enough(tensors, c.n_layer, config)
    if c.n_embd % c.n_head:
        raise InputError(f"{config}: n_head: {c.n_head} does not divide n_embd {c.n_embd}")
    d, wide, d_head = c.n_embd, c.n_inner or 4 * c.n_embd, c.n_embd // c.n_head
    before = "transformer." if "transformer.wte.weight" in tensors else ""
    W_E = tensors.take(f"{before}wte.weight", c.vocab_size, d)
    # Tied weights are stored once; a fine-tuned model may have untied them.
    W_U = tensors.take("lm_head.weight", c.vocab_size, d) if "lm_head.weight" in tensors else W_E
    original = Original(
        W_E,
        tensors.take(f"{before}wpe.weight", c.n_positions, d),
        W_U.T.clone(),
        W_U.new_zeros(c.vocab_size),
        [],
        "standard",
        "LN",
        c.layer_norm_epsilon,
        _norm(tensors, f"{before}ln_f", d, "weight", "bias"),
    )
    for index in range(c.n_layer):
        block = f"{before}h.{index}"
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
            c.activation_function,
            _norm(tensors, f"{block}.ln_2", d, "weight", "bias"),
        )
        b_O = tensors.take(f"{block}.attn.c_proj.bias", d)
        ln = _norm(tensors, f"{block}.ln_1", d, "weight", "bias")
        original.layers.append(OriginalLayer(W[0], W[1], W[2], W_O, b[0], b[1], b[2], b_O, ln, mlp))
    tensors.done("attn.bias", "attn.masked_bias")  # older checkpoints keep the causal mask under these names
    return original
