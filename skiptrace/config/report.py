"""`report`: how much of each table is shown."""

from typing import Annotated

from pydantic import Field

from skiptrace.config.base import Params

Count = Annotated[int, Field(ge=1)]


class ReportParams(Params):
    """How much of each table the report shows."""

    bigrams: Count = Field(30, description="rows of the bigram table")
    sources_per_head: Count = Field(8, description="rows of the skip-trigram table per head")
    offsets: Annotated[int, Field(ge=2)] = Field(
        32, description="distances shown in the plots of attention by offset, in tokens"
    )
    explorer_rows: Count = Field(
        24000, description="skip-trigrams per model in its searchable table, those with evidence first"
    )
