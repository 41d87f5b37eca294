"""Writing a model in the format of TransformerLens."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from skiptrace.errors import InputError
from skiptrace.files import atomic_folder, write_json, write_tensors
from skiptrace.models.config import ModelConfig
from skiptrace.models.formats import TRANSFORMERS
from skiptrace.models.transformer import Transformer


def to_transformer_lens(model: Transformer, folder: Path, *, standard: bool = False) -> None:
    """Write model.safetensors and config.json, the fields of a HookedTransformerConfig, into `folder`.

    The dimension that always holds 1 becomes biases again. What was folded stays folded: layer norm is `RMSPre`, b_K
    and b_V are zero. Token ids are those of data/tokens. TransformerLens 4 has no shortformer positions: with
    `standard` they get dimensions of their own in a stream twice as wide, which queries and keys alone read.

    Raises:
        InputError: the model's positions stand in dimensions of their own, for which TransformerLens has no model, or
            would have to with a layer norm between; or they are rotary or relative, or it has windows, norms of queries
            and keys, soft caps, sinks, or MLPs that are gated or beside the heads.
    """
    config = model.config
    only_plain(config, "TransformerLens")
    width = config.d_model_imported or config.d_model
    if config.d_model - width > 1:
        raise InputError("positions that layer norm does not touch have no place in TransformerLens: not exported")
    state, content = _state(model, width), _config(config, width)
    if standard and content["positional_embedding_type"] == "shortformer":
        if config.normalization_type is not None:
            raise InputError("TransformerLens 4 has no shortformer positions beside a layer norm: not exported")
        state = {name: _widened(name, tensor) for name, tensor in state.items()}
        content |= {"d_model": 2 * width, "positional_embedding_type": "standard"}
    with atomic_folder(folder) as partial:
        write_tensors(partial / "model.safetensors", {n: t.detach().clone().contiguous() for n, t in state.items()})
        write_json(partial / "config.json", content)


def only_plain(config: ModelConfig, library: str) -> None:
    """Do nothing for a model of parts that GPT-2 has too.

    Raises:
        InputError: its positions are rotary or relative, or it has windows, norms of queries and keys, soft caps,
            sinks, or MLPs that are gated or beside the heads; names the key.
    """
    more = [
        name
        for name in (
            "rotary_frequencies",
            "attention_windows",
            "use_qk_norm",
            "gated_mlp",
            "parallel_attn_mlp",
            "attention_soft_cap",
            "logits_soft_cap",
            "use_attention_sinks",
        )
        if getattr(config, name)
    ]
    if config.positional_embedding_type == "relative":
        more.append("positional_embedding_type")
    if more:
        family = TRANSFORMERS.get(config.imported_from or "")
        here = library == "TransformerLens" and family is not None and family.architecture is not None
        instead = "export it --to transformers, which TransformerLens 4 reads" if here else "load the original there"
        raise InputError(f"{more[0]}: models with it are not written for {library}; {instead}")


def _widened(name: str, tensor: Tensor) -> Tensor:
    """A tensor of a model whose stream is [x, position]: x W_Q + position W_Q = [x, position] [W_Q; W_Q]."""
    kind, zero = name.rpartition(".")[2], torch.zeros_like(tensor)
    if kind in ("W_Q", "W_K"):
        return torch.cat([tensor, tensor], -2)
    if kind in ("W_V", "W_U", "W_in"):
        return torch.cat([tensor, zero], -2)
    if kind == "W_pos":
        return torch.cat([zero, tensor], -1)
    return torch.cat([tensor, zero], -1) if kind in ("W_E", "W_O", "b_O", "W_out", "b_out") else tensor


def _config(config: ModelConfig, width: int) -> dict[str, Any]:
    content: dict[str, Any] = {
        "n_layers": config.n_layers,
        # Heads of no layer need a size all the same.
        "n_heads": max(1, config.n_heads),
        "d_model": width,
        "d_head": max(1, config.d_head),
        "n_ctx": config.n_ctx,
        "d_vocab": config.d_vocab,
        "attn_only": config.attn_only,
        "normalization_type": None if config.normalization_type is None else "RMSPre",
        # TransformerLens has no model without positions; zeros that queries and keys read are none.
        "positional_embedding_type": "standard" if config.standard_positions else "shortformer",
    }
    optional = {"eps": config.eps, "d_mlp": config.d_mlp, "act_fn": config.act_fn}
    return content | {key: value for key, value in optional.items() if value is not None}


def _state(model: Transformer, width: int) -> dict[str, Tensor]:
    """Weights under the names of TransformerLens, cut at `width`, and the biases that stood beyond it."""
    beyond = model.d_model > width

    def bias(weight: Tensor) -> Tensor:
        last = weight[..., -1, :]
        return last.contiguous() if beyond else torch.zeros_like(last).contiguous()

    def into(weight: Tensor) -> Tensor:
        return weight[..., :width, :].contiguous()

    state = {
        "embed.W_E": model.W_E[:, :width].contiguous(),
        "pos_embed.W_pos": model.W_pos[:, :width].contiguous(),
        "unembed.W_U": into(model.W_U),
        "unembed.b_U": bias(model.W_U),
    }
    for index, layer in enumerate(model.blocks):
        block, zero = f"blocks.{index}", torch.zeros(model.n_heads, model.d_head)
        state |= {f"{block}.attn.{name}": into(getattr(layer, name)) for name in ("W_Q", "W_K", "W_V")}
        state |= {f"{block}.attn.b_Q": bias(layer.W_Q), f"{block}.attn.b_K": zero, f"{block}.attn.b_V": zero.clone()}
        state[f"{block}.attn.W_O"] = layer.W_O[..., :width].contiguous()
        state[f"{block}.attn.b_O"] = torch.zeros(width) if layer.b_O is None else layer.b_O[:width].contiguous()
        if layer.mlp is not None:
            mlp = layer.mlp
            state |= {f"{block}.mlp.W_in": into(mlp.W_in), f"{block}.mlp.b_in": bias(mlp.W_in)}
            state |= {f"{block}.mlp.W_out": mlp.W_out[:, :width].contiguous(), f"{block}.mlp.b_out": mlp.b_out[:width]}
    return state
