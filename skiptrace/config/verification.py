"""`verification`: how mined rows are checked on the running model and in the corpus."""

from typing import Annotated

from pydantic import Field

from skiptrace.config.base import Params

Count = Annotated[int, Field(ge=1)]


class VerificationParams(Params):
    """How many rows are checked, in how many contexts, against which null."""

    seed: Annotated[int, Field(ge=0, lt=2**32)]
    rows: Count
    contexts: Annotated[int, Field(ge=2)]
    context_tokens: Annotated[int, Field(ge=4)]
    null_rows: Annotated[int, Field(ge=10)]
    fdr: Annotated[float, Field(gt=0, lt=1)]
    quartets: Count
