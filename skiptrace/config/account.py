"""`account`: what share of a model its entries are."""

from itertools import pairwise
from typing import Annotated

from pydantic import AfterValidator, Field

from skiptrace.config.base import Params

Count = Annotated[int, Field(ge=1)]


def ascending(counts: list[int]) -> list[int]:
    """The counts, if each is larger than the one before.

    Raises:
        ValueError: one is not.
    """
    if any(b <= a for a, b in pairwise(counts)):
        raise ValueError("each number must be larger than the one before")
    return counts


class AccountParams(Params):
    """On how much text attention is accounted for, and how many entries are kept on the way."""

    seed: Annotated[int, Field(ge=0)] = Field(0, description="of the training contexts and of the random order")
    contexts: Annotated[int, Field(ge=2)] = Field(64, description="held-out contexts that every loss is measured on")
    selection: Count = Field(
        128, description="contexts of training text, new ones in every round, that entries are ranked on"
    )
    selection_tokens: Count = Field(
        16384, description="tokens of training text in a round, of which long contexts hold fewer than `selection`"
    )
    entries: Annotated[list[Count], Field(min_length=1), AfterValidator(ascending)] = Field(
        [100, 300, 1000, 3000, 10000, 30000, 100000], description="entries kept of QK and of OV, along the curve"
    )
    rows: Count = Field(100, description="skip-bigrams, and skip-trigrams, that save most on text")
    shown_rows: Count = Field(200, description="rows of the mined table that a reader sees, as a point of the curve")
    edges: Count = Field(
        256, description="edges of rows that can be read, the first in order, that are tested on text as it is"
    )
    edge_places: Count = Field(
        256, description="places of the training text, and of the held-out text, at which such an edge is cut"
    )
