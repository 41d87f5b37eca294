"""`rules`: what counts of the training text say next, beside what models say."""

from typing import Annotated

from pydantic import Field

from skiptrace.config.base import Params

Count = Annotated[int, Field(ge=1)]


class RulesParams(Params):
    """Which models are compared with rules of the corpus, at every checkpoint, and how these are counted."""

    models: dict[str, str] = Field(
        {"zero": "prose", "one": "prose", "two": "code"},
        description="models that are compared, each with its corpus; {} for none",
    )
    seed: Annotated[int, Field(ge=0)] = Field(0, description="of the exchange of predictions that gives what is chance")
    contexts: Annotated[int, Field(ge=2)] = Field(64, description="held-out contexts whose predictions are compared")
    window: Count = Field(32, description="tokens before the destination among which a source counts")
    places: Count = Field(
        1_000_000, description="places of training text, spread evenly, that skip-trigrams are counted at"
    )
    min_count: Count = Field(20, description="such places with source … destination below which the two make no rule")
