"""`control`: small grammars in which counting is not enough, and the small models that read them."""

from typing import Annotated

from pydantic import Field, model_validator

from skiptrace.config.base import Params

Count = Annotated[int, Field(ge=1)]
Number = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class ControlParams(Params):
    """One grammar on which everything is chosen, others on which it is reported, and a model of each."""

    seed: Annotated[int, Field(ge=0, lt=2**31)] = Field(
        0, description="of the grammar that choices are made on; the seeds after it are those that are reported"
    )
    grammars: Count = Field(3, description="grammars that are reported, on which nothing is chosen")
    words: Annotated[int, Field(ge=9)] = Field(64, description="vocabulary; rules and decoys share its words")
    documents: Annotated[int, Field(ge=20)] = Field(6000, description="documents of training text")
    length: Annotated[int, Field(ge=8)] = Field(128, description="words per document")
    zipf: Annotated[float, Field(ge=0)] = Field(0.5, description="exponent of the word frequencies")
    follow_share: Share = Field(0.4, description="how often one of a word's preferred followers stands after it")
    reach: Count = Field(20, description="words before the destination within which a source counts")
    probability: Annotated[tuple[float, float], Field(strict=False)] = Field(
        (0.1, 0.9), description="how often the output token follows, [least, most] over the rules"
    )
    skip_trigrams: Count = Field(24, description="A … B → C")
    squares: Number = Field(1, description="squares of nine skip-trigrams that no single head can have")
    two_sources: Number = Field(4, description="rules that need two sources; each is two rows")
    negative: Number = Field(6, description="rules by which C does not follow B where A is within reach")
    companions: Number = Field(10, description="decoys: rare words that stand next to the source of a skip-trigram")
    companion_share: Share = Field(0.9, description="how often such a word follows the source")
    topics: Number = Field(4, description="decoys: words that make an output token likelier after any token")
    topic_share: Share = Field(0.15, description="how often that token follows")
    n_heads: Count = Field(4, description="heads of the models, in one layer")
    d_head: Count = Field(24, description="width of a head")
    d_model: Annotated[int, Field(ge=2)] = Field(96, description="width of the residual stream, even")
    n_ctx: Annotated[int, Field(ge=8)] = Field(32, description="tokens per context")
    steps: Count = Field(360, description="optimiser steps")
    batch_size: Count = Field(128, description="contexts per step")
    rows: Count = Field(400, description="mined rows that are checked on each model")
    contexts: Annotated[int, Field(ge=2)] = Field(16, description="contexts per row")

    @model_validator(mode="after")
    def _ordered(self) -> "ControlParams":
        low, high = self.probability
        if not 0 < low <= high <= 1:
            raise ValueError(f"probability must be [least, most] with 0 < least ≤ most ≤ 1, not {[low, high]}")
        if self.reach + 2 > self.n_ctx:
            raise ValueError(f"n_ctx must be at least {self.reach + 2} for a reach of {self.reach}")
        return self
