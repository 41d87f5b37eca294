"""What the readers of all formats share: every key of a config.json is used, known to be irrelevant, or refused."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from skiptrace.errors import InputError
from skiptrace.models.config import Activation
from skiptrace.models.original import LayerNorm
from skiptrace.models.tensors import Tensors

Size = Annotated[int, Field(ge=1, lt=2**24)]
Count = Annotated[int, Field(ge=0, lt=2**16)]

# gelu_fast and gelu_pytorch_tanh are other names of GELU by the tanh approximation.
ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu",
    "gelu_new": "gelu_new",
    "gelu_fast": "gelu_new",
    "gelu_pytorch_tanh": "gelu_new",
    "relu": "relu",
    "silu": "silu",
}


class Foreign(BaseModel):
    """The keys of a config.json that say what a model computes, in the format of one library.

    `IRRELEVANT` are the keys that the format has besides, each with the reason why it does not matter; `OTHERWISE` are
    keys under another name, as older files have them; `WHY` is what is said of values that cannot be imported. `INSIDE`
    are the mappings that have a format of their own, each with the dot behind its name.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    IRRELEVANT: ClassVar[Mapping[str, str]] = {}
    OTHERWISE: ClassVar[Mapping[str, str]] = {}
    WHY: ClassVar[Mapping[str, str]] = {}
    INSIDE: ClassVar[tuple[str, ...]] = ()


class Source(NamedTuple):
    """Where a config comes from, for errors, and the keys of it that the user declares irrelevant.

    Those of a mapping in it, `within`, are declared with its name and a dot before them.
    """

    said: Path | str
    ignored: tuple[str, ...] = ()
    within: str = ""

    def inside(self, name: str) -> "Source":
        """That of a mapping in this config."""
        start = f"{name}."
        ignored = tuple(key.removeprefix(start) for key in self.ignored if key.startswith(start))
        return Source(f"{self.said}: {name}", ignored, start)


F = TypeVar("F", bound=Foreign)


def because(reason: str, keys: str) -> dict[str, str]:
    """Keys, separated by blanks, that are irrelevant for one reason."""
    return dict.fromkeys(keys.split(), reason)


def check(kind: type[F], content: Mapping[str, Any], source: Source) -> F:
    """The config as its format declares it.

    Raises:
        InputError: a key is unknown, missing, given under two names, or has a value that cannot be imported; names it.
    """
    unheard = [key for key in source.ignored if key not in content and not key.startswith(kind.INSIDE)]
    if unheard:
        raise InputError(f"{source.said}: {unheard[0]}: in `ignored`, but not in the config; take it out")
    kept: dict[str, Any] = {}
    given: dict[str, str] = {}
    for key, value in content.items():
        if key in kind.IRRELEVANT or key in source.ignored:
            continue
        name = kind.OTHERWISE.get(key, key)
        if name in kept and kept[name] != value:
            raise InputError(f"{source.said}: {given[name]} and {key} contradict each other; remove one")
        kept[name], given[name] = value, str(key)
    try:
        return kind.model_validate(kept)
    except ValidationError as error:
        # An unknown key first: what is missing is often there under another name.
        first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
        name = ".".join(map(str, first["loc"]))
        key = given.get(name, name)
        if first["type"] == "extra_forbidden":
            raise InputError(
                f"{source.said}: {key}: unknown key, which may change what the model computes; if it does not, "
                f"list {f'{source.within}{key}' if source.within else 'it'} in `ignored` beside the import"
            ) from None
        said = "" if first["type"] == "missing" else f", got {first['input']!r}"
        raise InputError(f"{source.said}: {key}: {kind.WHY.get(name, first['msg'])}{said}") from None


def activation(name: str | None, key: str, source: Source) -> Activation:
    """The activation function of MLPs.

    Raises:
        InputError: it is none that a model here can run.
    """
    if name not in ACTIVATIONS:
        known = ", ".join(ACTIVATIONS)
        raise InputError(f"{source.said}: {key}: {name!r} is no activation that can be run here; there is {known}")
    return ACTIVATIONS[name]


def enough(tensors: Tensors, n_layers: int, source: Source) -> None:
    """Refuse a number of layers that the checkpoint cannot have, before any loop that it could make endless.

    Raises:
        InputError: it has fewer than four tensors for each.
    """
    if len(tensors) < 4 * n_layers:
        raise InputError(f"{source.said}: {n_layers} layers, but {tensors.said} has only {len(tensors)} tensors")


def layer_norm(tensors: Tensors, name: str, d: int, w: str = "w", b: str = "b") -> LayerNorm:
    """The weights of a layer norm; one without biases has zeros."""
    return LayerNorm(tensors.take(f"{name}.{w}", d), tensors.optional(f"{name}.{b}", d))
