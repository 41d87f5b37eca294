"""Models on disk: safetensors under TransformerLens names, and a config beside them."""

from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import NamedTuple

import torch
from pydantic import ValidationError
from torch import Tensor

from skiptrace.errors import InputError
from skiptrace.files import read_json, read_tensors, write_json, write_tensors
from skiptrace.models.config import ModelConfig
from skiptrace.models.transformer import Transformer


class Slot(NamedTuple):
    """A tensor of the checkpoint: its name, its shape and the tensor of the model that holds it."""

    name: str
    shape: tuple[int, ...]
    tensor: Tensor


def slots(model: Transformer) -> Iterator[Slot]:
    """Every tensor that a checkpoint of this model holds."""
    yield from (
        Slot(name, tuple(tensor.shape), tensor)
        for name, tensor in (
            ("embed.W_E", model.W_E),
            ("pos_embed.W_pos", model.W_pos),
            ("unembed.W_U", model.W_U),
        )
        if name != "pos_embed.W_pos" or not model.config.by_distance  # which no vectors hold
    )
    for index, layer in enumerate(model.blocks):
        for name in ("W_Q", "W_K", "W_V", "W_O"):
            tensor = getattr(layer, name)
            yield Slot(f"blocks.{index}.attn.{name}", tuple(tensor.shape), tensor)
        others = {"b_O": layer.b_O, "q_norm.w": layer.q_norm, "k_norm.w": layer.k_norm, "sinks": layer.sinks}
        for name, tensor in (others | {"distance_bias": layer.distance_bias}).items():
            if tensor is not None:
                yield Slot(f"blocks.{index}.attn.{name}", tuple(tensor.shape), tensor)
        if layer.mlp is not None:
            for name, tensor in layer.mlp.named_parameters():
                yield Slot(f"blocks.{index}.mlp.{name}", tuple(tensor.shape), tensor)


ALWAYS = ("attn_only", "normalization_type", "positional_embedding_type")


def save(model: Transformer, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write model.safetensors and config.json into `folder`, each whole or not at all."""
    write_tensors(folder / "model.safetensors", {slot.name: slot.tensor.detach().to(dtype) for slot in slots(model)})
    usual = {f.name: f.default for f in fields(ModelConfig)}
    kept = {k: v for k, v in asdict(model.config).items() if v != usual[k] or k in ALWAYS}
    write_json(folder / "config.json", kept, sealed=True)


def read_config(path: Path) -> ModelConfig:
    """Read config.json.

    Raises:
        InputError: a key is missing, unknown or of the wrong type; names it.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a mapping")
    try:
        return ModelConfig(**{k: v for k, v in content.items() if not k.startswith("__")})
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def load(folder: Path) -> Transformer:
    """Read a model, in evaluation mode and without gradients.

    Raises:
        InputError: a file is unreadable, a tensor is missing, has another shape than config.json
            says, or holds a value that is not finite; names the tensor.
    """
    config = read_config(folder / "config.json")
    path = folder / "model.safetensors"
    tensors = read_tensors(path)
    if 4 * config.n_layers > len(tensors):
        raise InputError(f"{path}: {len(tensors)} tensors are too few for the {config.n_layers} layers of config.json")
    # Shapes are compared before any memory is asked for: config.json may claim any size.
    with torch.device("meta"):
        expected = list(slots(Transformer(config)))
    for name, shape, _ in expected:
        if name not in tensors:
            raise InputError(f"{path}: tensor {name} is missing; config.json says it is there")
        if tuple(tensors[name].shape) != shape:
            found = tuple(tensors[name].shape)
            raise InputError(f"{path}: tensor {name} has shape {found}, config.json says {shape}")
        if not tensors[name].isfinite().all():
            raise InputError(f"{path}: tensor {name} holds NaN or infinity")
    extra = sorted(tensors.keys() - {slot.name for slot in expected})
    if extra:
        raise InputError(f"{path}: tensor {extra[0]} has no place in the model of config.json")
    model = Transformer(config)
    with torch.no_grad():
        for slot in slots(model):
            slot.tensor.copy_(tensors.pop(slot.name))
    return model.requires_grad_(False).eval()
