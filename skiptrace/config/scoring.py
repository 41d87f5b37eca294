"""`scoring`: how heads and pairs of heads are scored, and what their scores are compared with."""

from typing import Annotated

from pydantic import Field

from skiptrace.config.base import Params

Count = Annotated[int, Field(ge=1)]


class ScoringParams(Params):
    """How heads and pairs of heads are scored, and what their scores are compared with."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(
        0, description="of the random matrices and of the repeated random tokens"
    )
    null_draws: Annotated[int, Field(ge=2)] = Field(200, description="random heads or matrices compared with")
    null_sd: Annotated[float, Field(gt=0)] = Field(
        3.0, description="a score is significant (a head copies) this many standard deviations above them"
    )
    repeated_tokens: Annotated[int, Field(ge=2)] = Field(
        25, description="random tokens in the span that prefix matching repeats"
    )
    repeats: Annotated[int, Field(ge=2)] = Field(4, description="times the span is repeated")
    sequences: Count = Field(
        64,
        description="contexts of validation text, and sequences of repeated tokens, averaged over",
    )
    loss_contexts: Count = Field(
        4096, description="contexts of the validation text that losses are measured on, or all it has"
    )
    positional_share: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.5,
        description="a head is primarily positional when the position term explains this share of the variance of its "
        "attention scores on text, 0 to 1, and",
    )
    positional_attention: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.15, description="by itself puts this much attention on its favourite distance, 0 to 1"
    )
