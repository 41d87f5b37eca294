"""`dictionaries`: one sparse-autoencoder experiment per key, on a toy model or on a language model."""

import reprlib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from skiptrace.config.base import Params, check, find
from skiptrace.errors import InputError

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]


class TrainingParams(Params):
    """How sparse autoencoders are trained."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(description="of the initial dictionary and of the batches")
    entries: Annotated[int, Field(ge=2)] = Field(description="dictionary entries")
    steps: Count = Field(description="optimiser steps")
    batch_size: Annotated[int, Field(ge=2)] = Field(description="inputs per step")
    learning_rate: Positive = Field(description="peak learning rate of Adam")
    resample_every: Count = Field(
        description="steps after which entries that were never active start anew, in the first half"
    )


class DictionaryParams(TrainingParams):
    """Sparse autoencoders at several penalties λ, trained at once."""

    source: str = Field(description="what is taken apart")
    data: str = Field(description="what it runs on")
    penalties: Annotated[tuple[Positive, ...], Field(strict=False, min_length=1)] = Field(
        description="weights of the L1 norm; inputs are scaled to a mean squared norm of d"
    )


class HybridParams(Params):
    """Toy models trained with a penalty on their activations, so that a dictionary finds their features more easily."""

    penalties: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(strict=False, min_length=1)] = Field(
        (0.0, 0.1), description="weights of ‖h‖₁ beside the loss; 0 for the models as they are"
    )
    steps: Count = Field(1000, description="optimiser steps of the toy models")
    batch_size: Annotated[int, Field(ge=2)] = Field(256, description="inputs per step that hold at least one feature")
    learning_rate: Positive = Field(0.01, description="peak learning rate of the toy models")
    dictionary_steps: tuple[Count, ...] = Field(
        (600,), strict=False, description="optimiser steps of their dictionaries: few, so that ease shows"
    )


class ToyDictionaryParams(DictionaryParams):
    """Autoencoders on the hidden layer of toy models, whose features are known."""

    kind: Literal["toy"] = Field(description="toy: the `larger` toy models")
    shown: Positive = Field(description="the penalty that is looked into")
    sizes: Annotated[tuple[Annotated[int, Field(ge=2)], ...], Field(strict=False)] = Field(
        (), description="further numbers of dictionary entries, each at the penalty shown"
    )
    hybrid: HybridParams | None = Field(
        None, description="toy models trained for their dictionary: penalties on activations, beside none"
    )

    @model_validator(mode="after")
    def _listed(self) -> "ToyDictionaryParams":
        if self.shown not in self.penalties:
            raise ValueError(f"shown {self.shown:g} is none of penalties {', '.join(f'{p:g}' for p in self.penalties)}")
        return self


class ModelDictionaryParams(DictionaryParams):
    """Autoencoders on the activations of a language model.

    `source` is the folder of the model, `data` that of its tokens.
    """

    kind: Literal["model"] = Field(description="model: a language model")
    k: Annotated[tuple[Count, ...], Field(strict=False, min_length=1)] = Field(
        description="entries kept at each position by the TopK autoencoders, which have no penalty"
    )
    batch_k: Annotated[tuple[Count, ...], Field(strict=False)] = Field(
        (), description="entries kept on average over a batch by BatchTopK autoencoders beside them"
    )
    shown: Count = Field(description="the k that is looked into")
    windows: Count = Field(description="contexts of training text that activations are drawn from")
    check_windows: Count = Field(description="contexts of validation text that everything is measured on")
    contexts: Count = Field(description="contexts per feature in which it is most active")
    context_tokens: Annotated[int, Field(ge=2)] = Field(description="tokens shown before the active one")
    outs: Count = Field(description="tokens that a feature raises most")

    @model_validator(mode="after")
    def _listed(self) -> "ModelDictionaryParams":
        if self.shown not in self.k:
            raise ValueError(f"shown {self.shown} is none of k {', '.join(map(str, self.k))}")
        for name, kept in (("k", self.k), ("batch_k", self.batch_k)):
            if max(kept, default=0) >= self.entries:
                raise ValueError(f"{name} must be below entries, {self.entries}, not {max(kept)}")
        return self

    @property
    def model(self) -> str:
        """The name of the model."""
        return Path(self.source).name


KINDS: dict[str, type[ToyDictionaryParams] | type[ModelDictionaryParams]] = {
    "toy": ToyDictionaryParams,
    "model": ModelDictionaryParams,
}


def check_dictionary(value: Any, key: str, path: Path) -> ToyDictionaryParams | ModelDictionaryParams:
    """Turn the mapping at `key` into the class that its `kind` names.

    Raises:
        InputError: the kind is unknown or a key is wrong.
    """
    kind = value.get("kind") if isinstance(value, dict) else None
    if not isinstance(kind, str) or kind not in KINDS:
        raise InputError(f"{path}: {key}.kind: expected {' or '.join(KINDS)}, got {reprlib.repr(kind)}")
    return check(KINDS[kind], value, key, path)


def load_dictionary(name: str, path: Path = Path("params.yaml")) -> ToyDictionaryParams | ModelDictionaryParams:
    """Read `dictionaries.<name>`.

    Raises:
        InputError: the key is absent or its content is wrong.
    """
    key = f"dictionaries.{name}"
    return check_dictionary(find(key, path), key, path)
