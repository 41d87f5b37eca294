"""`mining`: which circuit entries become table rows."""

from typing import Annotated, Literal

from pydantic import Field

from skiptrace.config.base import Params

Count = Annotated[int, Field(ge=1)]


class MiningParams(Params):
    """Which entries of the circuits become table rows."""

    ranking: Literal["published", "expected"]
    context: Count
    bigrams: Count
    sources: Count
    destinations: Count
    outs: Count
    min_count: Annotated[int, Field(ge=0)]
    frequency_power: Annotated[float, Field(ge=0)]
    frequent_tokens: Count
    largest: Count
    bins: Annotated[int, Field(ge=0)]
