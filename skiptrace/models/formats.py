"""Reading checkpoints made elsewhere, whatever their format."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from skiptrace.errors import InputError
from skiptrace.files import read_json
from skiptrace.models import attention_only, bloom, gpt2, gpt_neo, gpt_neox, llama, mpt, opt, transformer_lens
from skiptrace.models.foreign import Foreign, Source, because
from skiptrace.models.original import Original
from skiptrace.models.tensors import Tensors, find

Reader = Callable[[dict[str, Any], Tensors, Source], Original]


class Family(NamedTuple):
    """A family of transformers: its config, its reader, and, where models are written in its format, the class there.

    `reach` are the keys that say how many positions there are.
    """

    config: type[Foreign]
    read: Reader
    architecture: str | None = None
    reach: tuple[str, ...] = ("max_position_embeddings",)


TRANSFORMERS: dict[str, Family] = {  # by model_type
    "bloom": Family(bloom.BloomConfig, bloom.read),
    "gpt2": Family(gpt2.GPT2Config, gpt2.read, "GPT2LMHeadModel", ("n_positions", "n_ctx")),
    "gpt_neo": Family(gpt_neo.GPTNeoConfig, gpt_neo.read, "GPTNeoForCausalLM"),
    "gpt_neox": Family(gpt_neox.GPTNeoXConfig, gpt_neox.read, "GPTNeoXForCausalLM"),
    "mpt": Family(mpt.MPTConfig, mpt.read),
    "opt": Family(opt.OPTConfig, opt.read, "OPTForCausalLM"),
    **{name: Family(kind, llama.read, f"{name.title()}ForCausalLM") for name, kind in llama.FAMILIES.items()},
}
TRANSFORMER_LENS = "transformer-lens"
ENCODER = "every layer reads an encoder, so that no circuit leads from the tokens of a text to its logits"
# Families of transformers that cannot be imported, with the reason.
REFUSED: dict[str, str] = (
    because(ENCODER, "t5 mt5 umt5 longt5 bart mbart pegasus")
    | because("it is bidirectional, and predicts no next token", "bert roberta distilbert deberta-v2 modernbert mpnet")
    | because("it normalises what layers write, and caps scores and logits", "gemma2 gemma3 gemma3_text")
    | because("it is a mixture of experts", "gpt_oss mixtral qwen2_moe qwen3_moe")
    | because("it has no attention, or other layers between", "mamba mamba2 rwkv recurrent_gemma")
)

# Configs of published models that are a state dict alone, whose config stands in a notebook.
KNOWN: dict[str, dict[str, Any]] = {
    "attn_only_2L_half": {
        "n_layers": 2, "n_heads": 12, "d_model": 768, "d_head": 64, "n_ctx": 2048, "d_vocab": 50278, "attn_only": True,
        "attention_dir": "causal", "normalization_type": None, "positional_embedding_type": "shortformer",
        "tokenizer_name": "EleutherAI/gpt-neox-20b", "seed": 398, "use_attn_result": True,
    },
}  # fmt: skip


class Read(NamedTuple):
    """A checkpoint as it was trained, the name of its format, and the keys of its config that matter."""

    original: Original
    format: str
    config: dict[str, Any] | None = None


def read(path: Path, config: Mapping[str, Any] | str | None = None, ignored: tuple[str, ...] = ()) -> Read:
    """Read a checkpoint folder, or one file beside its config.json.

    `config` stands for config.json: its content, or the name of one of `KNOWN`. `ignored` are keys of it that the user
    knows not to matter.

    Raises:
        InputError: there is no config or no checkpoint, the model is of a kind whose circuits cannot be expanded, or a
            tensor is not as the config says; names the key or tensor.
    """
    if not path.exists():
        raise InputError(f"{path}: does not exist")
    file = find(path)
    content, said = _config(file, config)
    return of_tensors(content, Tensors.of_file(file), Source(said, ignored))


def _config(file: Path, config: Mapping[str, Any] | str | None) -> tuple[dict[str, Any], Path | str]:
    if isinstance(config, str):
        if config not in KNOWN:
            raise InputError(f"import.config: {config!r} is no known config; there is {', '.join(KNOWN)}")
        return KNOWN[config], f"the known config {config}"
    if config is not None:
        return dict(config), "import.config"
    beside = file.parent / "config.json"
    if not beside.exists():
        raise InputError(
            f"{beside}: does not exist; put it there, or give its content or the name of a known one "
            f"({', '.join(KNOWN)}) as import: {{path: {file}, config: …}}"
        )
    content = read_json(beside)
    if not isinstance(content, dict):
        raise InputError(f"{beside}: expected a mapping")
    return content, beside


def of_tensors(content: dict[str, Any], tensors: Tensors, source: Source) -> Read:
    """A model from its config and tensors; a config with `model_type` is of transformers, another of TransformerLens.

    Raises:
        InputError: as `read`.
    """
    if "model_type" not in content:
        beside = tensors.first("encoder", "cross_attn")
        if beside is not None:
            raise InputError(f"{tensors.said}: tensor {beside} is of a model with an encoder: {ENCODER}")
        return Read(transformer_lens.read(content, tensors, source), TRANSFORMER_LENS)
    family = content["model_type"]
    if not isinstance(family, str) or family not in TRANSFORMERS:
        if family in REFUSED:
            raise InputError(f"{source.said}: model_type: {family!r} cannot be imported: {REFUSED[family]}")
        known = ", ".join(TRANSFORMERS)
        raise InputError(f"{source.said}: model_type: {family!r} cannot be imported; of transformers, {known} can")
    if content.get("architectures") == [attention_only.ARCHITECTURE]:
        return Read(attention_only.read(content, tensors, source), attention_only.ARCHITECTURE)
    kind, read, *_ = TRANSFORMERS[family]
    kept = {k: v for k, v in content.items() if k not in kind.IRRELEVANT and k not in source.ignored}
    inside = {key.partition(".")[2] for key in source.ignored if key.startswith(kind.INSIDE)}
    for name, value in kept.items():
        if inside and isinstance(value, dict):
            kept[name] = {k: v for k, v in value.items() if k not in inside}
    return Read(read(content, tensors, source), family, kept)


def plain(content: Any) -> dict[str, Any]:
    """The config of a model in memory as its config.json would have it."""
    found: dict[str, Any] = json.loads(json.dumps(content, default=str))
    return found
