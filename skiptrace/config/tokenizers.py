"""`tokenizers`: one key per corpus, of the same name."""

from typing import Annotated

from pydantic import Field

from skiptrace.config.base import Params

# 256 bytes and the separator: below that a byte-level vocabulary cannot spell every text.
SMALLEST = 257


class TokenizerParams(Params):
    """A byte-level BPE vocabulary to be trained on the training documents."""

    vocab_size: Annotated[int, Field(ge=SMALLEST, le=1_000_000)]
