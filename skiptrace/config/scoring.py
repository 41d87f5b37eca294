"""`scoring`: how heads are scored, and what their scores are compared with."""

from typing import Annotated

from pydantic import Field

from skiptrace.config.base import Params

Count = Annotated[int, Field(ge=1)]


class ScoringParams(Params):
    """How heads are scored and what their scores are compared with."""

    seed: Annotated[int, Field(ge=0, lt=2**32)]
    null_draws: Annotated[int, Field(ge=2)]
    null_sd: Annotated[float, Field(gt=0)]
    repeated_tokens: Annotated[int, Field(ge=2)]
    repeats: Annotated[int, Field(ge=2)]
    sequences: Count
    loss_contexts: Count
    positional_share: Annotated[float, Field(gt=0, lt=1)]
    positional_attention: Annotated[float, Field(gt=0, lt=1)]
