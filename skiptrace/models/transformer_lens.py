"""Reading checkpoints of TransformerLens, and of the models on the Hub that its predecessors trained."""

from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import BeforeValidator, Field
from torch import Tensor

from skiptrace.errors import InputError
from skiptrace.models.foreign import (
    Count,
    Foreign,
    Size,
    Source,
    activation,
    because,
    check,
    enough,
    layer_norm,
)  # fmt: skip
from skiptrace.models.huggingface import Rope, nowhere
from skiptrace.models.original import Original, OriginalLayer, OriginalMLP
from skiptrace.models.relative import alibi, bucketed, slopes
from skiptrace.models.tensors import Tensors
from skiptrace.models.transformer_lens_4 import MARK, NATIVE, as_in_3

BUFFERS = ("attn.mask", "attn.IGNORE", "attn.rotary_sin", "attn.rotary_cos")


def _number(value: object) -> object:
    """A number that was written as text, as `json.dumps(…, default=str)` writes those of NumPy and torch."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


class LensConfig(Foreign):
    """The keys of a HookedTransformerConfig that are used; a value that cannot be run here is an error."""

    architecture: str | None = None
    n_layers: Count
    n_heads: Size
    d_model: Size
    d_head: Size
    n_ctx: Size
    d_vocab: Size
    d_vocab_out: int | None = None
    attn_only: bool = False
    d_mlp: int | None = None
    act_fn: str | None = None
    normalization_type: Literal["LN", "LNPre", "RMS", "RMSPre"] | None = "LN"
    final_rms: bool = False
    positional_embedding_type: Literal[
        "alibi", "none", "relative_positional_bias", "rotary", "shortformer", "standard"
    ] = "standard"
    relative_attention_num_buckets: Annotated[int, Field(ge=4, le=2**16, multiple_of=2)] | None = None
    relative_attention_max_distance: Annotated[int, Field(ge=3, lt=2**31)] | None = None
    tie_word_embeddings: bool | None = None
    rotary_dim: int | None = None
    rotary_base: Annotated[float, Field(gt=0), BeforeValidator(_number)] = 10_000.0
    rotary_adjacent_pairs: bool = False
    rotary_base_local: Literal[None] = None
    rotary_scaling_factor: Annotated[float, Field(ge=1, le=1)] = 1.0
    use_NTK_by_parts_rope: Literal[False] = False
    use_dynamic_ntk_rope: Literal[False] = False
    use_yarn_rope: Literal[False] = False
    eps: Annotated[float, Field(gt=0), BeforeValidator(_number)] = 1e-5
    n_key_value_heads: Size | None = None
    use_attn_scale: bool = True
    attn_scale: Annotated[float, BeforeValidator(_number)] = -1.0
    scale_attn_by_inverse_layer_idx: bool = False
    attention_dir: Literal["causal"] = "causal"
    right_multiply_matrices: Literal[True] = True
    factored_embed: Literal[False] = False
    parallel_attn_mlp: bool = False
    gated_mlp: bool = False
    use_local_attn: bool = False
    window_size: Size | None = None
    attn_types: list[Literal["global", "local"]] | None = None
    post_embedding_ln: Literal[False] = False
    use_qk_norm: bool = False
    qk_norm_after_rope: Literal[False] = False
    rotary_interleaved_cos_sin: Literal[False] = False
    rmsnorm_uses_offset: Literal[False] = False
    scale_embedding: Literal[False] | None = None
    per_layer_head_dim: Literal[None] = None
    per_layer_num_key_value_heads: Literal[None] = None
    is_audio_model: Literal[False] = False
    is_visual_model: Literal[False] = False
    is_multimodal: Literal[False] = False
    is_stateful: Literal[False] = False
    clip_qkv: Literal[None] = None
    use_logn_attn: Literal[False] = False
    use_attention_sinks: bool = False
    use_normalization_before_and_after: Literal[False] = False
    attn_scores_soft_cap: float | None = -1.0
    output_logits_soft_cap: float | None = -1.0
    num_experts: Literal[None] = None
    load_in_4bit: Literal[False] = False
    quantization_method: Literal[None] = None

    OTHERWISE: ClassVar = {"normalization": "normalization_type", "ln_eps": "eps"}
    IRRELEVANT: ClassVar = (
        because(
            "which activations hooks see, or how the same product is computed",
            "use_attn_result use_split_qkv_input use_hook_mlp_in use_attn_in use_hook_tokens "
            "ungroup_grouped_query_attention use_bfloat16_matmul attn_implementation "
            "split_attention_weights",
        )
        | because(
            "where the model came from, how it was named, or its size once more",
            "model_name original_architecture from_checkpoint checkpoint_index checkpoint_label_type "
            "checkpoint_value n_params version",
        )
        | because(
            "where and in which precision it ran; tensors are read as they are stored, into float32",
            "device n_devices dtype use_float16 use_bfloat16 save_checkpoints_to_bfloat16",
        )
        | because(
            "how text becomes tokens, which tokenizers.<corpus> says",
            "tokenizer_name default_prepend_bos tokenizer_prepends_bos tokenizer_appends_eos default_padding_side "
            "trust_remote_code",
        )
        | because(
            "of positions, or of frequencies of rotary ones, that are refused",
            "NTK_by_parts_low_freq_factor NTK_by_parts_high_freq_factor NTK_by_parts_factor NTK_original_ctx_len "
            "train_seq_length yarn_factor yarn_attention_factor yarn_beta_fast yarn_beta_slow "
            "yarn_original_max_position_embeddings yarn_truncate yarn_global_attn_only",
        )
        | because(
            "of models of images and sound, which are refused",
            "vision_hidden_size vision_num_layers vision_num_heads mm_tokens_per_image",
        )
        | because("of mixtures of experts, which are refused", "experts_per_token norm_topk_prob")
        | because("of a factored embedding, which is refused", "factor_size")
        | because("of encoders and decoders", "decoder_start_token_id")
        | because("normalization_type says it", "uses_rms_norm layer_norm_folding")
        | because(
            "how the weights were drawn before training",
            "seed init_mode init_weights initializer_range initializer_scale_global initializer_scale_hidden "
            "initializer_scale_embed initializer_scale_unembed weight_init_scheme weight_init_scale W_O_init_scale "
            "fixed_init store_init",
        )
        | because("of SoLU, which an attention-only model lacks and others are refused for", "neuron_scale neuron_temp")
        | because(
            "how it was trained",
            "lr lr_hidden lr_vector lr_schedule beta1 beta2 betas weight_decay grad_norm_clip batch_size "
            "batch_size_per_device batches_per_step num_devices tokens_per_step max_tokens max_steps warmup_tokens "
            "warmup_steps truncate_tokens n_epochs dataset_name dataset_subset_name shuffled_data train_loss_ewma_beta "
            "log_interval control use_acc use_ET debug debug_batch debug_overfit save_checkpoints checkpoint_every "
            "checkpoint_every_tokens use_checkpoint_schedule",
        )
    )
    WHY: ClassVar = {
        "positional_embedding_type": "only alibi, relative_positional_bias, standard, rotary, shortformer and none can "
        "be expanded",
        "right_multiply_matrices": "its matrices are transposed; save it from TransformerLens, which turns them round",
    }


# Keys by which older configs name the positions, with what true and false stand for.
POSITIONS = {"shortformer_pos": ("shortformer", "standard"), "use_pos_resid": ("standard", "shortformer")}


def read(content: dict[str, Any], tensors: Tensors, source: Source) -> Original:
    """A model in the format of TransformerLens.

    Raises:
        InputError: a key of its config or a tensor is not as it has to be; names it.
    """
    c = check(LensConfig, _named_positions(content, source), source)
    if MARK in tensors:
        if c.architecture not in (None, NATIVE):
            raise InputError(
                f"{source.said}: architecture: {c.architecture!r}: a bridge around a model of another library, which "
                "may hold its weights in another layout; import that model's folder, or give it to from_transformers"
            )
        tensors = as_in_3(tensors, c.n_heads, c.n_key_value_heads)
        # There neighbours are turned together, whatever the config says.
        c = c.model_copy(update={"rotary_dim": c.rotary_dim or c.d_head, "rotary_adjacent_pairs": True})
        if not c.use_attn_scale:
            raise InputError(
                f"{source.said}: use_attn_scale: what false means differs in TransformerLens 4 from model to model; "
                "set it to true, with attn_scale: 1.0 where scores are not divided by √d_head"
            )
    enough(tensors, c.n_layers, source)
    if c.n_heads % (c.n_key_value_heads or c.n_heads):
        raise InputError(f"{source.said}: n_key_value_heads: {c.n_key_value_heads} does not divide n_heads {c.n_heads}")
    if c.d_vocab_out not in (None, -1, c.d_vocab):
        raise InputError(
            f"{source.said}: d_vocab_out: {c.d_vocab_out} differs from d_vocab {c.d_vocab}; circuits here go from a "
            "vocabulary to itself"
        )
    if c.final_rms and c.normalization_type in ("LN", "LNPre"):
        raise InputError(f"{source.said}: final_rms: layer norms of two kinds in one model cannot be run here")
    if not c.attn_only and (c.d_mlp is None or c.d_mlp < 1 or c.act_fn is None):
        raise InputError(f"{source.said}: attn_only: a model with MLPs has d_mlp and act_fn; set it if there are none")
    if c.attn_only and (c.gated_mlp or c.parallel_attn_mlp):
        key = "gated_mlp" if c.gated_mlp else "parallel_attn_mlp"
        raise InputError(f"{source.said}: {key}: of MLPs, which attn_only says that there are none of; remove one")
    if c.use_qk_norm and c.normalization_type is None:
        raise InputError(f"{source.said}: use_qk_norm: without normalization_type there is no eps for it")
    if c.positional_embedding_type == "rotary" and not 0 < (c.rotary_dim or 0) <= c.d_head:
        raise InputError(f"{source.said}: rotary_dim: expected from 1 to d_head {c.d_head}, got {c.rotary_dim!r}")
    if c.positional_embedding_type == "relative_positional_bias":
        _check_buckets(c, source)
    return _read(c, tensors, source)


def _check_buckets(c: LensConfig, source: Source) -> None:
    """Do nothing where T5's positions are said in full.

    Raises:
        InputError: they are not, or the unembedding is tied, which T5 divides by √d_model and other models do not.
    """
    count, farthest = c.relative_attention_num_buckets, c.relative_attention_max_distance
    if count is None or farthest is None or farthest <= count // 2:
        raise InputError(
            f"{source.said}: relative_positional_bias: needs relative_attention_num_buckets, and a "
            "relative_attention_max_distance above half of it"
        )
    if c.tie_word_embeddings:
        raise InputError(
            f"{source.said}: tie_word_embeddings: T5 then divides what W_U reads by √d_model; do so to the W_U of the "
            "state dict if this model does, and set it to false"
        )


def _windows(c: LensConfig, source: Source) -> list[int | None] | None:
    """How many tokens each layer sees.

    Raises:
        InputError: local attention has no window, or its kinds are not one for each layer.
    """
    if not c.use_local_attn:
        return None
    if c.window_size is None or c.attn_types is None or len(c.attn_types) != c.n_layers:
        raise InputError(
            f"{source.said}: use_local_attn: needs window_size, and attn_types for each of {c.n_layers} layers"
        )
    return [c.window_size if kind == "local" else None for kind in c.attn_types]


def _named_positions(content: dict[str, Any], source: Source) -> dict[str, Any]:
    """The config with `positional_embedding_type` in place of the older keys.

    Raises:
        InputError: one is neither true nor false, or two contradict each other.
    """
    kept = {k: v for k, v in content.items() if k not in POSITIONS}
    now = "positional_embedding_type"
    found = {now: kept[now]} if now in kept else {}
    for key, (if_true, if_false) in POSITIONS.items():
        if key not in content:
            continue
        if not isinstance(content[key], bool):
            raise InputError(f"{source.said}: {key}: expected true or false, got {content[key]!r}")
        found[key] = if_true if content[key] else if_false
    if len(set(map(str, found.values()))) > 1:
        raise InputError(f"{source.said}: {' and '.join(found)} contradict each other; remove one")
    return kept | {now: next(iter(found.values()))} if found else kept


def _read(c: LensConfig, tensors: Tensors, source: Source) -> Original:
    scale = c.attn_scale if c.use_attn_scale and c.attn_scale > 0 else c.d_head**0.5 if c.use_attn_scale else 1.0
    weighted = c.normalization_type in ("LN", "RMS")
    kind = c.positional_embedding_type
    positions = "relative" if kind == "alibi" or kind == "relative_positional_bias" else kind
    rotary, relative = positions == "rotary", positions == "relative"
    if kind == "alibi":  # vectors that the library keeps, and never reads
        tensors.optional("pos_embed.W_pos", c.n_ctx, c.d_model)
    if rotary or relative:
        W_pos = nowhere(c.n_ctx, c.d_model)
    elif kind == "none":
        W_pos = torch.zeros(c.n_ctx, c.d_model)
    else:
        W_pos = tensors.take("pos_embed.W_pos", c.n_ctx, c.d_model)
    turned = Rope(rope_theta=c.rotary_base).frequencies(c.rotary_dim or 0, source) if rotary else None
    original = Original(
        W_E=tensors.take("embed.W_E", c.d_vocab, c.d_model),
        W_pos=W_pos,
        W_U=tensors.take("unembed.W_U", c.d_model, c.d_vocab),
        b_U=tensors.optional("unembed.b_U", c.d_vocab),
        layers=[],
        positions=positions,
        norm=None if c.normalization_type is None else "LN" if c.normalization_type.startswith("LN") else "RMS",
        eps=c.eps,
        ln_final=layer_norm(tensors, "ln_final", c.d_model) if weighted else None,
        rotary=turned,
        bias=_added(c, tensors) if relative else None,
        windows=_windows(c, source),
        parallel=c.parallel_attn_mlp,
        attention_soft_cap=_cap(c.attn_scores_soft_cap),
        logits_soft_cap=_cap(c.output_logits_soft_cap),
    )
    for index in range(c.n_layers):
        layer = _layer(c, tensors, f"blocks.{index}", weighted, source)
        factor = c.d_head**0.5 / (scale * (index + 1 if c.scale_attn_by_inverse_layer_idx else 1))
        if layer.q_norm is not None:  # which would undo a factor before it
            layer.q_norm *= factor
        else:
            layer.W_Q *= factor
            layer.b_Q *= factor
        original.layers.append(layer)
    tensors.done(*BUFFERS)
    return original


def _layer(c: LensConfig, tensors: Tensors, block: str, weighted: bool, source: Source) -> OriginalLayer:
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
        layer_norm(tensors, f"{block}.ln1", c.d_model) if weighted else None,
        q_norm=tensors.take(f"{attn}.q_norm.w", c.d_head) if c.use_qk_norm else None,
        k_norm=tensors.take(f"{attn}.k_norm.w", c.d_head) if c.use_qk_norm else None,
        sinks=tensors.take(f"{attn}.sinks", c.n_heads) if c.use_attention_sinks else None,
    )
    if c.positional_embedding_type == "rotary" and c.rotary_adjacent_pairs:
        _part_pairs(layer, c.rotary_dim or 0)
    if not c.attn_only and c.d_mlp is not None:
        layer.mlp = OriginalMLP(
            tensors.take(f"{block}.mlp.W_in", c.d_model, c.d_mlp),
            tensors.optional(f"{block}.mlp.b_in", c.d_mlp),
            tensors.take(f"{block}.mlp.W_out", c.d_mlp, c.d_model),
            tensors.optional(f"{block}.mlp.b_out", c.d_model),
            activation(c.act_fn, "act_fn", source),
            layer_norm(tensors, f"{block}.ln2", c.d_model) if weighted else None,
        )
        if c.gated_mlp:
            mlp = layer.mlp
            mlp.W_gate, mlp.b_gate = tensors.take(f"{block}.mlp.W_gate", c.d_model, c.d_mlp), torch.zeros(c.d_mlp)
            # Its bias is added to the product: a constant that the MLP writes.
            mlp.b_out += mlp.b_in @ mlp.W_out
            mlp.b_in.zero_()
    return layer


def _added(c: LensConfig, tensors: Tensors) -> Tensor | None:
    """What relative positions add to scores, by layer, head and distance; layers without a table have the first's."""
    if c.positional_embedding_type == "alibi":
        return alibi(slopes(c.n_heads), c.n_ctx).expand(c.n_layers, -1, -1)
    count, farthest = c.relative_attention_num_buckets, c.relative_attention_max_distance
    if c.n_layers == 0 or count is None or farthest is None:
        return None
    names = [f"blocks.{index}.attn.rel_pos_bias.weight" for index in range(c.n_layers)]
    own = [name for name in names if name == names[0] or name in tensors]
    tables = {name: tensors.take(name, count, c.n_heads) for name in own}
    return bucketed([tables.get(name, tables[names[0]]) for name in names], farthest, c.n_ctx)


def _cap(value: float | None) -> float | None:
    """A soft cap; zero and less stand for none."""
    return None if value is None or value <= 0 else value


def _part_pairs(layer: OriginalLayer, dim: int) -> None:
    """Bring dimensions that are turned as neighbours, 0 with 1 and so on, into the order of halves."""
    order = [*range(0, dim, 2), *range(1, dim, 2)]
    for each in (layer.W_Q, layer.W_K, layer.b_Q, layer.b_K, layer.q_norm, layer.k_norm):
        if each is not None:
            each[..., :dim] = each[..., order]
