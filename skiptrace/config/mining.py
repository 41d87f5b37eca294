"""`mining`: which circuit entries become table rows."""

from typing import Annotated, Literal

from pydantic import Field

from skiptrace.config.base import Params

Count = Annotated[int, Field(ge=1)]


class MiningParams(Params):
    """Which entries of the circuits become table rows."""

    ranking: Literal["published", "expected"] = Field(
        "expected", description="published: QK·OV·p^power | expected: gain in attention share × OV"
    )
    context: Count = Field(64, description="tokens among which a source has to draw attention (expected)")
    bigrams: Count = Field(500, description="largest entries of the direct path")
    sources: Count = Field(300, description="source tokens per head")
    destinations: Count = Field(4, description="destination tokens per source")
    outs: Count = Field(4, description="out tokens per source")
    min_count: Annotated[int, Field(ge=0)] = Field(
        50, description="occurrences in the training text below which a token is left out"
    )
    frequency_power: Annotated[float, Field(ge=0)] = Field(
        0.1, description="weight p(token)^power on destinations (and sources, published)"
    )
    min_pairs: Count = Field(
        20, description="occurrences in the training text of destination and out, side by side (expected)"
    )
    text_power: Annotated[float, Field(ge=0)] = Field(
        0.5,
        description="weight share^power on contexts with the source, and on pairs of destination and out (expected)",
    )
    plain_share: Annotated[float, Field(ge=0, le=1)] = Field(
        0.05, description="share of the sources that may lack a letter or digit, as white space does (expected)"
    )
    frequent_tokens: Count = Field(500, description="tokens on which the direct path is compared with the corpus")
    largest: Count = Field(100, description="of all V³ products QK·OV per head, without any rule, exact")
    bins: Annotated[int, Field(ge=0)] = Field(
        100, description="of the histogram of each circuit's entries; 0 spares the pass over all of them"
    )
