"""Checkpoints in the real formats of others, of random weights, and plain forward passes to hold imports against."""

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

LENS = {"n_layers": 2, "n_heads": 3, "d_model": 10, "d_head": 4, "n_ctx": 7, "d_vocab": 23, "attn_only": True}
GPT2 = {"model_type": "gpt2", "vocab_size": 23, "n_positions": 7, "n_embd": 12, "n_layer": 2, "n_head": 3}
SPREAD = 0.5
SLOPES = (2.0**-4, 2.0**-8, 2.0**-2)  # ALiBi's of three heads
BUCKETS = {"positional_embedding_type": "relative_positional_bias", "relative_attention_num_buckets": 6,
           "relative_attention_max_distance": 5}  # fmt: skip


def bucket(distance: int, count: int, farthest: int) -> int:
    """Where a causal T5 puts a distance: half of the buckets are one each, the others grow up to `farthest`."""
    half = count // 2
    if distance < half:
        return distance
    return min(count - 1, half + int(math.log(distance / half) / math.log(farthest / half) * (count - half)))


def random_tensors(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, Tensor]:
    """Random weights of these shapes; those of layer norms stay near one, as in trained models."""
    generator = torch.Generator().manual_seed(seed)
    found = {name: torch.randn(shape, generator=generator) * SPREAD for name, shape in shapes.items()}
    return {
        n: 1 + 0.3 * t if n.endswith((".w", "ln_1.weight", "ln_2.weight", "ln_f.weight")) else t
        for n, t in found.items()
    }


def lens_shapes(config: dict) -> dict[str, tuple[int, ...]]:
    """Every tensor of a TransformerLens checkpoint, its buffers left out."""
    n, d, k, V = (config[key] for key in ("n_heads", "d_model", "d_head", "d_vocab"))
    groups = config.get("n_key_value_heads")
    under, g = ("_", groups) if groups else ("", n)
    shapes = {"embed.W_E": (V, d), "pos_embed.W_pos": (config["n_ctx"], d), "unembed.W_U": (d, V), "unembed.b_U": (V,)}
    weighted = config["normalization_type"] in ("LN", "RMS")
    for layer in range(config["n_layers"]):
        block = f"blocks.{layer}"
        shapes |= {
            f"{block}.attn.W_Q": (n, d, k), f"{block}.attn.{under}W_K": (g, d, k),
            f"{block}.attn.{under}W_V": (g, d, k), f"{block}.attn.W_O": (n, k, d), f"{block}.attn.b_Q": (n, k),
            f"{block}.attn.{under}b_K": (g, k), f"{block}.attn.{under}b_V": (g, k), f"{block}.attn.b_O": (d,),
        }  # fmt: skip
        if config["positional_embedding_type"] == "relative_positional_bias" and layer in config.get("tables", (0,)):
            shapes[f"{block}.attn.rel_pos_bias.weight"] = (config["relative_attention_num_buckets"], n)
        if config.get("use_attention_sinks"):
            shapes[f"{block}.attn.sinks"] = (n,)
        if weighted:
            shapes |= {
                f"{block}.ln1.{part}": (d,) for part in ("w", "b")[: 1 if config["normalization_type"] == "RMS" else 2]
            }
    if weighted:
        shapes |= {f"ln_final.{part}": (d,) for part in ("w", "b")[: 1 if config["normalization_type"] == "RMS" else 2]}
    return shapes


def write_lens(folder: Path, suffix: str = ".pth", seed: int = 0, **changed: object) -> tuple[dict, dict[str, Tensor]]:
    """Write a TransformerLens checkpoint with the buffers it really holds; return its config and its tensors."""
    config = {**LENS, "normalization_type": None, "positional_embedding_type": "standard", "eps": 1e-5, **changed}
    tensors = random_tensors(lens_shapes(config), seed)
    if config["positional_embedding_type"] == "relative_positional_bias":
        del tensors["pos_embed.W_pos"]
        config.pop("tables", None)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    buffers = {}
    for layer in range(config["n_layers"]):
        buffers[f"blocks.{layer}.attn.mask"] = torch.ones(7, 7, dtype=torch.bool).tril()
        buffers[f"blocks.{layer}.attn.IGNORE"] = torch.tensor(-torch.inf)
    if suffix == ".safetensors":
        save_file(tensors | buffers, folder / f"model{suffix}")
    else:
        torch.save(tensors | buffers, folder / f"model{suffix}")
    return config, tensors


def lens_logits(config: dict, tensors: dict[str, Tensor], tokens: Tensor) -> Tensor:
    """The logits as TransformerLens computes them, head by head in float64, nothing folded."""
    w = {name: t.double() for name, t in tensors.items()}
    kind, eps = config["normalization_type"], config["eps"]

    def norm(x: Tensor, name: str) -> Tensor:
        if kind is None:
            return x
        if kind.startswith("LN"):
            x = x - x.mean(-1, keepdim=True)
        x = x / (x.square().mean(-1, keepdim=True) + eps).sqrt()
        return x * w.get(f"{name}.w", 1) + w.get(f"{name}.b", 0)

    pos = w.get("pos_embed.W_pos", torch.zeros(config["n_ctx"], config["d_model"]))[: tokens.shape[1]]
    shortformer = config["positional_embedding_type"] == "shortformer"
    x = w["embed.W_E"][tokens] + (0 if shortformer or config["positional_embedding_type"] == "alibi" else pos)
    groups = config.get("n_key_value_heads")
    under, shared = ("_", config["n_heads"] // groups) if groups else ("", 1)
    for layer in range(config["n_layers"]):
        attn, read = f"blocks.{layer}.attn", norm(x, f"blocks.{layer}.ln1")
        towards = read + (pos if shortformer else 0)
        out = w[f"{attn}.b_O"].clone()
        for h in range(config["n_heads"]):
            g = h // shared
            query = towards @ w[f"{attn}.W_Q"][h] + w[f"{attn}.b_Q"][h]
            key = towards @ w[f"{attn}.{under}W_K"][g] + w[f"{attn}.{under}b_K"][g]
            value = read @ w[f"{attn}.{under}W_V"][g] + w[f"{attn}.{under}b_V"][g]
            added = 0
            if config["positional_embedding_type"] == "alibi":
                places = torch.arange(query.shape[-2])
                distance = places[:, None] - places
                added = -SLOPES[h] * distance
            elif config["positional_embedding_type"] == "relative_positional_bias":
                table = w.get(f"{attn}.rel_pos_bias.weight", w["blocks.0.attn.rel_pos_bias.weight"])
                ctx, sizes = query.shape[-2], (len(table), config["relative_attention_max_distance"])
                rows = [[table[bucket(max(0, i - j), *sizes), h] for j in range(ctx)] for i in range(ctx)]
                added = torch.tensor(rows)
            sink = w[f"{attn}.sinks"][h] if config.get("use_attention_sinks") else None
            pattern = causal(query, key, config["d_head"], added, config.get("attn_scores_soft_cap"), sink)
            out = out + pattern @ value @ w[f"{attn}.W_O"][h]
        x = x + out
    logits, cap = norm(x, "ln_final") @ w["unembed.W_U"] + w["unembed.b_U"], config.get("output_logits_soft_cap")
    return logits if cap is None else cap * (logits / cap).tanh()


def causal(
    query: Tensor,
    key: Tensor,
    d_head: int,
    added: Tensor | float = 0,
    cap: float | None = None,
    sink: Tensor | None = None,
) -> Tensor:
    """The attention pattern of one head: scores through a soft cap, what is added to them, and a sink beside them."""
    scores = query @ key.mT / math.sqrt(d_head)
    scores = (scores if cap is None else cap * (scores / cap).tanh()) + added
    weights = scores.exp().tril()
    return weights / (weights.sum(-1, keepdim=True) + (0 if sink is None else sink.exp()))


def write_gpt2(
    folder: Path, prefix: str = "transformer.", seed: int = 0, **changed: int
) -> tuple[dict, dict[str, Tensor]]:
    """Write a GPT-2 folder as `transformers` lays it out; return its config and its tensors."""
    config = {
        **GPT2,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "tie_word_embeddings": True,
        **changed,
    }
    d = config["n_embd"]
    shapes = {"wte.weight": (config["vocab_size"], d), "wpe.weight": (config["n_positions"], d)}
    for layer in range(config["n_layer"]):
        for name, shape in (
            ("attn.c_attn", (d, 3 * d)), ("attn.c_proj", (d, d)), ("mlp.c_fc", (d, 4 * d)), ("mlp.c_proj", (4 * d, d)),
        ):  # fmt: skip
            shapes |= {f"h.{layer}.{name}.weight": shape, f"h.{layer}.{name}.bias": shape[1:]}
        shapes |= {f"h.{layer}.{ln}.{part}": (d,) for ln in ("ln_1", "ln_2") for part in ("weight", "bias")}
    shapes |= {"ln_f.weight": (d,), "ln_f.bias": (d,)}
    tensors = random_tensors(shapes, seed)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file({prefix + name: t for name, t in tensors.items()}, folder / "model.safetensors")
    return config, tensors


def gpt2_logits(config: dict, tensors: dict[str, Tensor], tokens: Tensor) -> Tensor:
    """The logits as GPT-2 computes them, head by head in float64."""
    w = {name: t.double() for name, t in tensors.items()}
    d, n = config["n_embd"], config["n_head"]

    def norm(x: Tensor, name: str) -> Tensor:
        x = x - x.mean(-1, keepdim=True)
        x = x / (x.square().mean(-1, keepdim=True) + config["layer_norm_epsilon"]).sqrt()
        return x * w[f"{name}.weight"] + w[f"{name}.bias"]

    def through(x: Tensor, name: str) -> Tensor:
        return x @ w[f"{name}.weight"] + w[f"{name}.bias"]

    x = w["wte.weight"][tokens] + w["wpe.weight"][: tokens.shape[1]]
    for layer in range(config["n_layer"]):
        query, key, value = through(norm(x, f"h.{layer}.ln_1"), f"h.{layer}.attn.c_attn").split(d, -1)
        k = d // n
        heads = [
            causal(*(t[..., h * k : h * k + k] for t in (query, key)), k) @ value[..., h * k : h * k + k]
            for h in range(n)
        ]
        x = x + through(torch.cat(heads, -1), f"h.{layer}.attn.c_proj")
        inner = through(norm(x, f"h.{layer}.ln_2"), f"h.{layer}.mlp.c_fc")
        gelu = 0.5 * inner * (1 + (math.sqrt(2 / math.pi) * (inner + 0.044715 * inner**3)).tanh())
        x = x + through(gelu, f"h.{layer}.mlp.c_proj")
    return norm(x, "ln_f") @ w["wte.weight"].T


@pytest.fixture
def contexts() -> Tensor:
    """Two contexts of six tokens each."""
    return torch.randint(0, 23, (2, 6), generator=torch.Generator().manual_seed(4))
