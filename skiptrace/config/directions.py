"""`directions`: the singular directions within each head."""

from typing import Annotated

from pydantic import Field

from skiptrace.config.base import Params

Count = Annotated[int, Field(ge=0)]


class DirectionsParams(Params):
    """How a head's circuits are split into directions, and on how much text these are removed."""

    seed: Count = Field(0, description="of the random heads and of the random directions")
    weighted: bool = Field(True, description="tokens weigh their share of the training text; false: all the same")
    gap: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.02, description="singular values nearer than this share of the larger are one group, from 0 to below 1"
    )
    null_draws: Annotated[int, Field(ge=2)] = Field(
        20, description="random heads that shares and copying are compared with"
    )
    shown: Count = Field(6, description="groups of each circuit whose tokens are read out")
    tokens: Annotated[int, Field(ge=1)] = Field(6, description="tokens read out at each end of a direction")
    min_count: Count = Field(50, description="occurrences in the training text below which a token is not read out")
    removed: Count = Field(3, description="groups of each circuit that are removed on held-out text; 0 for none")
    random_directions: Annotated[int, Field(ge=2)] = Field(
        4, description="random directions of the same circuit that are removed beside each"
    )
    contexts: Annotated[int, Field(ge=2)] = Field(24, description="held-out contexts that they are removed on")
