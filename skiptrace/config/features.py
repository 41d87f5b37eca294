"""`features`: skip-trigrams between features, of the models that are named."""

from typing import Annotated

from pydantic import Field, model_validator

from skiptrace.config.dictionaries import TrainingParams

Count = Annotated[int, Field(ge=1)]


class FeaturesParams(TrainingParams):
    """A TopK autoencoder of what the heads of the last layer read, and on how much text its entries are measured.

    Held-out contexts and numbers of kept entries are those of `account`, rules of mining those of `mining`.
    """

    models: dict[str, str] = Field(
        {"one": "prose"},
        description="models that are studied, each with its corpus; {} for none. `two: code` beside it takes 1.7 "
        "minutes more, and says what docs/guide.md has of it",
    )
    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(
        0, description="of the dictionary, of its text and of the random features beside it"
    )
    entries: Annotated[int, Field(ge=2)] = Field(512, description="features")
    k: Count = Field(8, description="features that may be active at once")
    steps: Count = Field(1000, description="optimiser steps")
    batch_size: Annotated[int, Field(ge=2)] = Field(512, description="inputs per step")
    learning_rate: Annotated[float, Field(gt=0)] = Field(0.005, description="peak learning rate of Adam")
    resample_every: Count = Field(
        200, description="steps after which entries that were never active start anew, in the first half"
    )
    windows: Count = Field(400, description="contexts of training, and of held-out, text that features and rows see")
    selection: Count = Field(
        16, description="contexts of training text, new ones in every round, that entries and rows are ranked on"
    )
    most: Count = Field(10_000, description="entries kept of QK and of OV at most, along the curve of `account`")
    rows: Count = Field(1000, description="rows of either rule of mining whose worth is measured on training text")
    checked: Count = Field(200, description="of these, rows that save most, whose edges are cut on held-out text")
    places: Count = Field(64, description="places of held-out text at which the edge of a row is cut, at most")
    tokens: Count = Field(6, description="tokens that a feature is named by")

    @model_validator(mode="after")
    def _sparse(self) -> "FeaturesParams":
        if self.k >= self.entries:
            raise ValueError(f"k must be below entries, {self.entries}, not {self.k}")
        return self
