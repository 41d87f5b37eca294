"""`expansion`: which circuits are looked at, and how they become Parquet files."""

from typing import Annotated, Literal

from pydantic import Field

from skiptrace.config.base import Params

Count = Annotated[int, Field(ge=1)]
HeadName = Annotated[str, Field(pattern=r"^L\d+H\d+$")]
CircuitName = Literal["direct", "qk", "ov", "virtual_ov", "k_composition"]


class ExpansionParams(Params):
    """Which circuits are stored, of which heads, and how they are cut into Parquet part files."""

    store: Literal["full", "none"]
    circuits: list[CircuitName]
    heads: Literal["all"] | list[HeadName]
    virtual_heads: Annotated[int, Field(ge=0)]
    max_bytes: Count
    chunk_rows: Count
    row_group_rows: Count

    @property
    def only(self) -> list[str] | None:
        """The heads that are looked at; None for all."""
        return None if self.heads == "all" else list(self.heads)
