"""`expansion`: which circuits are looked at, and how they become Parquet files."""

from typing import Annotated, Literal

from pydantic import Field

from skiptrace.config.base import Params

Count = Annotated[int, Field(ge=1)]
HeadName = Annotated[str, Field(pattern=r"^L\d+H\d+$")]


class ExpansionParams(Params):
    """Which circuits are stored, of which heads, and how they are cut into Parquet part files."""

    store: Literal["full", "none"] = Field(
        "full", description="full: every entry | none: no entry; mining works from the factors either way"
    )
    circuits: Literal["all"] | list[str] = Field(
        "all", description="kinds of circuit that are stored: all | a list such as [qk, ov]"
    )
    heads: Literal["all"] | list[HeadName] = Field(
        "all", description="heads that are stored and mined: all | a list such as [L0H1, L1H0]"
    )
    virtual_heads: Annotated[int, Field(ge=0)] = Field(
        16, description="pairs of heads looked at, the strongest first; 0 for none"
    )
    offsets: list[Count] = Field(
        [1, 2, 4, 8, 16, 32],
        description="distances, in tokens, at which QK is stored and mined rows are looked at: of rotary models alone",
    )
    max_bytes: Count = Field(50_000_000_000, description="more than this is not begun")
    chunk_rows: Count = Field(1024, description="row tokens per part file")
    row_group_rows: Count = Field(128, description="row tokens in memory at once")

    @property
    def kinds(self) -> list[str] | None:
        """The kinds of circuit that are stored; None for all."""
        return None if self.circuits == "all" else list(self.circuits)

    @property
    def only(self) -> list[str] | None:
        """The heads that are looked at; None for all."""
        return None if self.heads == "all" else list(self.heads)
