"""`composition`: how heads work together, and what the residual stream holds."""

from typing import Annotated

from pydantic import Field

from skiptrace.config.base import Params

Count = Annotated[int, Field(ge=1)]
Pairs = Annotated[tuple[Annotated[tuple[str, str], Field(strict=False)], ...], Field(strict=False)]


class CompositionParams(Params):
    """Examples and word lists for the study of pairs of heads and the residual stream; `scoring` has the nulls."""

    subspace_share: Annotated[float, Field(gt=0, le=1)] = Field(
        0.9, description="a writer's subspace holds this share of what it writes, up to 1"
    )
    examples: Count = Field(2, description="predictions taken apart, for each number of heads in a path")
    example_tokens: Annotated[int, Field(ge=4)] = Field(24, description="tokens shown before each")
    word_pairs: dict[str, Pairs] = Field(
        default_factory=dict, description="families of your own: pairs of words, found with and without a leading space"
    )
    pairs_per_family: Annotated[int, Field(ge=3)] = Field(
        60, description="pairs of tokens in each family of the linear-representation check"
    )
    min_count: Annotated[int, Field(ge=0)] = Field(
        50, description="occurrences in the training text below which a token is left out of it"
    )
