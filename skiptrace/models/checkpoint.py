"""Models on disk: safetensors under TransformerLens names, and a config beside them."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from skiptrace.errors import InputError
from skiptrace.files import read_json, read_tensors, write_json, write_tensors
from skiptrace.models.transformer import MLP, Norm, Transformer

Size = Annotated[int, Field(ge=1, lt=2**31)]
Count = Annotated[int, Field(ge=0, lt=2**31)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True))
class ModelConfig:
    """What config.json holds: the shape of a model and the conventions it follows.

    The second half is written of imported models alone. `d_normed` dimensions go through layer norm, what
    is left of it being `RMSPre`, with `eps`; `processing` says what was done to the weights, `approximate`
    what circuits leave out.
    """

    n_layers: Count
    n_heads: Count
    d_model: Size
    d_head: Count
    n_ctx: Size
    d_vocab: Size
    attn_only: bool = True
    normalization_type: Literal["RMSPre"] | None = None
    positional_embedding_type: Literal["shortformer", "standard"] = "shortformer"
    eps: Annotated[float, Field(gt=0)] | None = None
    d_normed: Size | None = None
    d_mlp: Size | None = None
    act_fn: Literal["gelu", "gelu_new", "relu"] | None = None
    imported_from: str | None = None
    d_model_imported: Size | None = None
    processing: list[str] | None = None
    approximate: list[str] | None = None

    def __post_init__(self) -> None:
        if (self.normalization_type is None) != (self.eps is None) or (self.eps is None) != (self.d_normed is None):
            raise ValueError("normalization_type, eps and d_normed come together")
        if (self.d_mlp is None) != self.attn_only or (self.act_fn is None) != self.attn_only:
            raise ValueError("a model that is not attn_only has d_mlp and act_fn")
        if self.d_normed is not None and self.d_normed > self.d_model:
            raise ValueError(f"d_normed {self.d_normed} exceeds d_model {self.d_model}")

    @property
    def norm(self) -> Norm | None:
        """What is left of layer norm."""
        return None if self.d_normed is None or self.eps is None else Norm(self.d_normed, self.eps)


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
    )
    for index, layer in enumerate(model.attention):
        for name in ("W_Q", "W_K", "W_V", "W_O"):
            tensor = getattr(layer, name)
            yield Slot(f"blocks.{index}.attn.{name}", tuple(tensor.shape), tensor)
        if layer.b_O is not None:
            yield Slot(f"blocks.{index}.attn.b_O", tuple(layer.b_O.shape), layer.b_O)
        if layer.mlp is not None:
            for name, tensor in layer.mlp.named_parameters():
                yield Slot(f"blocks.{index}.mlp.{name}", tuple(tensor.shape), tensor)


def config_of(model: Transformer) -> ModelConfig:
    """The shape of a model; where it came from is the importer's to add."""
    mlp = next((layer.mlp for layer in model.attention if layer.mlp is not None), None)
    return ModelConfig(
        model.n_layers,
        model.n_heads,
        model.d_model,
        model.d_head,
        model.n_ctx,
        model.d_vocab,
        mlp is None,
        None if model.norm is None else "RMSPre",
        "standard" if model.standard_positions else "shortformer",
        None if model.norm is None else model.norm.eps,
        None if model.norm is None else model.norm.width,
        None if mlp is None else mlp.W_in.shape[1],
        None if mlp is None else mlp.activation,  # type: ignore[arg-type]  # pydantic checks it
    )


ALWAYS = ("attn_only", "normalization_type", "positional_embedding_type")


def save(
    model: Transformer, folder: Path, dtype: torch.dtype = torch.float32, config: ModelConfig | None = None
) -> None:
    """Write model.safetensors and config.json into `folder`, each whole or not at all."""
    write_tensors(folder / "model.safetensors", {slot.name: slot.tensor.detach().to(dtype) for slot in slots(model)})
    content = asdict(config or config_of(model))
    kept = {k: v for k, v in content.items() if v is not None or k in ALWAYS}
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
    # Shapes are compared before any memory is asked for: config.json may claim any size.
    with torch.device("meta"):
        expected = list(slots(_empty(config, len(tensors), path, biased="blocks.0.attn.b_O" in tensors)))
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
    model = _empty(config, len(tensors), path, biased="blocks.0.attn.b_O" in tensors)
    with torch.no_grad():
        for slot in slots(model):
            slot.tensor.copy_(tensors.pop(slot.name))
    return model.requires_grad_(False).eval()


def _empty(config: ModelConfig, n_tensors: int, path: Path, biased: bool) -> Transformer:
    c = config
    if 4 * c.n_layers > n_tensors:
        raise InputError(f"{path}: {n_tensors} tensors are too few for the {c.n_layers} layers of config.json")
    model = Transformer(
        c.d_vocab, c.d_model, c.n_ctx, c.n_layers, c.n_heads, c.d_head,
        norm=c.norm, standard_positions=c.positional_embedding_type == "standard",
    )  # fmt: skip
    for layer in model.attention:
        if biased:
            layer.b_O = nn.Parameter(torch.empty(c.d_model)).data
        if c.d_mlp is not None and c.act_fn is not None:
            layer.mlp = MLP(c.d_model, c.d_mlp, c.act_fn)
    return model
