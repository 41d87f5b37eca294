"""`models`: one attention-only transformer per key, trained here or imported."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from skiptrace.config.base import Params, check, find
from skiptrace.config.repository import MODEL, repository

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]


class ModelShape(Params):
    """The corpus that a model reads, and its sizes."""

    corpus: str = Field(description="a key of corpora")
    n_layers: Annotated[int, Field(ge=0)] = Field(description="attention layers")
    n_heads: Annotated[int, Field(ge=0)] = Field(0, description="heads per layer")
    d_head: Annotated[int, Field(ge=0)] = Field(0, description="width of a head, at most d_model")
    d_model: Annotated[int, Field(ge=2)] = Field(description="width of the residual stream, even")
    n_ctx: Annotated[int, Field(ge=2)] = Field(description="tokens per context")


class ModelParams(ModelShape):
    """A model that is trained here: its shape, and how it is trained."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(description="of the initial weights and the order of the text")
    steps: Count = Field(description="optimiser steps")
    batch_size: Count = Field(description="contexts per step")
    warmup_steps: Annotated[int, Field(ge=0)] = Field(
        description="steps of linear warm-up, before half a cosine down to zero"
    )
    lr_embedding: Positive = Field(description="peak learning rate of AdamW, for W_E and W_U")
    lr_attention: Positive = Field(description="peak learning rate of Muon, for W_Q, W_K, W_V and W_O")
    weight_decay: Annotated[float, Field(ge=0)] = Field(description="decoupled, per unit of learning rate")
    twins: Annotated[int, Field(ge=0)] = Field(
        0, description="models of other seeds trained beside it: which rows recur in them?"
    )
    checkpoints: Annotated[int, Field(ge=0)] = Field(
        0, description="models kept along the way, evenly in log(step), to see heads form; 0 for none"
    )

    @model_validator(mode="after")
    def _sensible(self) -> "ModelParams":
        if self.n_layers == 0 and (self.n_heads or self.d_head):
            raise ValueError("n_heads and d_head have no meaning when n_layers is 0: remove them")
        if self.n_layers > 0 and (self.n_heads < 1 or self.d_head < 1):
            raise ValueError("n_heads and d_head must be at least 1 when n_layers is above 0")
        if self.d_head > self.d_model:
            raise ValueError(
                f"d_head {self.d_head} exceeds d_model {self.d_model}: "
                "a head cannot read more directions than the residual stream has"
            )
        if self.d_model % 2:
            raise ValueError(f"d_model must be even for sinusoidal positions, not {self.d_model}")
        if self.warmup_steps >= self.steps:
            raise ValueError(f"warmup_steps {self.warmup_steps} must be below steps {self.steps}")
        return self


class Checkpoint(Params):
    """Where the checkpoint of an imported model is; a path alone stands for {path: …}."""

    path: str = Field(
        description="folder or file of a checkpoint in imports/, or hub:NAME@COMMIT of the Hugging Face Hub"
    )
    file: str | None = Field(None, description="of a hub's repository with several checkpoints, the one that is meant")
    config: str | dict[str, Any] | None = Field(
        None,
        description="what config.json would say, or the name of a known one; left out, config.json beside it is read",
    )
    ignored: Annotated[tuple[str, ...], Field(strict=False)] = Field(
        (), description="keys of its config that are unknown here, and that do not change what the model computes"
    )

    @model_validator(mode="after")
    def _sensible(self) -> "Checkpoint":
        if repository(self.path) is None and self.file is not None:
            raise ValueError("file has no meaning beside a path in imports/: make it part of the path")
        return self

    def place(self, imports: Path) -> Path:
        """Where it is, or will be once it has been fetched from the hub."""
        found = repository(self.path)
        return Path(self.path) if found is None else imports / found.folder((self.file or MODEL).replace("/", "_"))


class ImportedModel(Params):
    """A model that was trained elsewhere: its checkpoint, and the corpus whose tokenizer it was trained with."""

    corpus: str = Field(description="a key of corpora, whose tokenizer is the one that the model was trained with")
    source: Annotated[Checkpoint, BeforeValidator(lambda v: {"path": v} if isinstance(v, str) else v)] = Field(
        alias="import", description="its checkpoint: a path, or a mapping with the keys below"
    )
    n_ctx: Annotated[int, Field(ge=2)] | None = Field(
        None, description="tokens per context that are used, at most those it was trained with; left out, all"
    )
    embedding: Literal["token", "effective"] = Field(
        "token",
        description="what circuits of later layers read of a token: token, W_E | effective, that and what the first "
        "layer's MLP makes of it alone",
    )
    layer_norm: Literal["leave_out", "mean"] = Field(
        "leave_out",
        description="1/std of layer norm in circuits: leave_out | mean, its mean over validation text, with its spread",
    )
    padding: Literal["drop", "keep"] = Field(
        "drop", description="rows of its vocabulary beyond the tokenizer's tokens: drop | keep, which no table mines"
    )


AnyModel = ModelParams | ImportedModel


def check_model(value: Any, key: str, path: Path) -> AnyModel:
    """Turn the mapping at `key` into a model that is trained here, or imported if it has the key `import`.

    Raises:
        InputError: a key is wrong.
    """
    imported = isinstance(value, dict) and "import" in value
    return check(ImportedModel, value, key, path) if imported else check(ModelParams, value, key, path)


def load_model(name: str, path: Path = Path("params.yaml")) -> AnyModel:
    """Read `models.<name>`.

    Raises:
        InputError: the key is absent or its content is wrong.
    """
    key = f"models.{name}"
    return check_model(find(key, path), key, path)
