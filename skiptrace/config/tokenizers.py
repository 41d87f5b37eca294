"""`tokenizers`: one key per corpus, of the same name."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from skiptrace.config.base import Params

# 256 bytes and the separator: below that a byte-level vocabulary cannot spell every text.
SMALLEST = 257


class TokenizerParams(Params):
    """A vocabulary made from the training documents: byte-level BPE, or every word its own token."""

    kind: Literal["bpe", "words"] = "bpe"
    vocab_size: Annotated[int, Field(ge=SMALLEST, le=1_000_000)] | None = None

    @model_validator(mode="after")
    def _sized(self) -> "TokenizerParams":
        if self.kind == "bpe" and self.vocab_size is None:
            raise ValueError("vocab_size: missing; say how many tokens the vocabulary should have")
        if self.kind == "words" and self.vocab_size is not None:
            raise ValueError("vocab_size has no meaning for words: remove it")
        return self
