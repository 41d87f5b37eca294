"""`report`: how much of each table is shown."""

from typing import Annotated

from pydantic import Field

from skiptrace.config.base import Params

Count = Annotated[int, Field(ge=1)]


class ReportParams(Params):
    """How much of each table the report shows."""

    bigrams: Count
    sources_per_head: Count
    corner: Annotated[int, Field(ge=2)]
    offsets: Annotated[int, Field(ge=2)]
    explorer_tokens: Count
    explorer_entries: Count
    explorer_rows: Count
