"""`verification`: how mined rows are checked on the running model and in the corpus."""

from typing import Annotated

from pydantic import Field

from skiptrace.config.base import Params

Count = Annotated[int, Field(ge=1)]


class VerificationParams(Params):
    """How many rows are checked, in how many contexts, against which null."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(0, description="of the contexts and of the random rows")
    rows: Count = Field(2000, description="rows checked per model, half from either ranking")
    contexts: Annotated[int, Field(ge=2)] = Field(
        32, description="contexts per row, shared by rows of one source and destination"
    )
    context_tokens: Annotated[int, Field(ge=4)] = Field(64, description="tokens per context, at most n_ctx")
    null_rows: Annotated[int, Field(ge=10)] = Field(
        200, description="random rows per head that effects are compared with, two of each source and destination"
    )
    fdr: Annotated[float, Field(gt=0, lt=1)] = Field(0.05, description="false-discovery rate, between 0 and 1")
    min_p_out: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.05, description="least mean p(out) of a row that survives, between 0 and 1"
    )
    matched_rows: Annotated[int, Field(ge=10)] = Field(
        500, description="rows checked of each kind of stand-in of the heads, spread evenly over its best `rows`"
    )
    other_destinations: Annotated[int, Field(ge=1)] = Field(
        9, description="destinations of similar frequency beside a row's own, with its source and output token"
    )
    text_places: Count = Field(
        32, description="places of the validation text, as it is, at which the edge of a row is cut"
    )
    bound_places: Count = Field(
        64, description="places of the validation text at which the cost of all entries of the heads is bounded"
    )
    quartets: Count = Field(50, description="crossed pairs whose cost is measured")
