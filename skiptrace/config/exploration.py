"""`exploration`: what the report's page can look up in a model."""

from typing import Annotated

from pydantic import Field

from skiptrace.config.base import Params

Count = Annotated[int, Field(ge=1)]


class ExplorationParams(Params):
    """How many tokens the page can look up, and how much it shows of each."""

    tokens: Count = Field(2048, description="tokens that the page can look up in every head, the most frequent first")
    entries: Count = Field(5, description="largest entries that it shows of each, per head and role")
    corner: Annotated[int, Field(ge=2)] = Field(20, description="tokens on each side of the heat maps")
