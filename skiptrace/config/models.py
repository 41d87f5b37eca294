"""`models`: one attention-only transformer per key, trained here or imported."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from skiptrace.config.base import Params, check, find

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]


class ModelShape(Params):
    """The corpus that a model reads, and its sizes."""

    corpus: str
    n_layers: Annotated[int, Field(ge=0)]
    n_heads: Annotated[int, Field(ge=0)] = 0
    d_head: Annotated[int, Field(ge=0)] = 0
    d_model: Annotated[int, Field(ge=2)]
    n_ctx: Annotated[int, Field(ge=2)]


class ModelParams(ModelShape):
    """A model that is trained here: its shape, and how it is trained."""

    seed: Annotated[int, Field(ge=0, lt=2**32)]
    steps: Count
    batch_size: Count
    warmup_steps: Annotated[int, Field(ge=0)]
    lr_embedding: Positive
    lr_attention: Positive
    weight_decay: Annotated[float, Field(ge=0)]
    checkpoints: Annotated[int, Field(ge=0)] = 0

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


class ImportedModel(Params):
    """A model that was trained elsewhere: its checkpoint, and the corpus whose tokenizer it was trained with."""

    corpus: str
    source: Annotated[str, Field(alias="import")]
    n_ctx: Annotated[int, Field(ge=2)] | None = None


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
