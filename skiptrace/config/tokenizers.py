"""`tokenizers`: one key per corpus, of the same name."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from skiptrace.config.base import Params
from skiptrace.config.repository import TOKENIZER, repository

# 256 bytes and the separator: below that a byte-level vocabulary cannot spell every text.
SMALLEST = 257


class TokenizerParams(Params):
    """A vocabulary made from the training documents, as byte-level BPE or a token per word, or one that exists.

    `max_lost`: the largest share of a corpus's characters, white space aside, that may not survive encoding and
    decoding.
    """

    kind: Literal["bpe", "words", "existing"] = Field(
        "bpe",
        description="bpe: byte-level pieces | words: every word between spaces | existing: one that was made elsewhere",
    )
    vocab_size: Annotated[int, Field(ge=SMALLEST, le=1_000_000)] | None = Field(
        None, description="tokens, at least 257; bpe only"
    )
    path: str | None = Field(
        None,
        description="tokenizer.json, a folder with vocab.json and merges.txt, or hub:NAME@COMMIT; existing only",
    )
    bos: str | None = Field(None, description="its token that starts a document; existing only")
    max_lost: Annotated[float, Field(ge=0, le=1)] = Field(
        0.05, description="largest share of characters, white space aside, that tokens may lose; of any kind"
    )

    @model_validator(mode="after")
    def _sized(self) -> "TokenizerParams":
        if self.kind == "bpe" and self.vocab_size is None:
            raise ValueError("vocab_size: missing; say how many tokens the vocabulary should have")
        if self.kind != "bpe" and self.vocab_size is not None:
            raise ValueError(f"vocab_size has no meaning for {self.kind}: remove it")
        for name, value in (("path", self.path), ("bos", self.bos)):
            if self.kind == "existing" and value is None:
                raise ValueError(
                    f"{name}: missing; an existing tokenizer has a path and a bos, its start-of-text token"
                )
            if self.kind != "existing" and value is not None:
                raise ValueError(f"{name} has no meaning for {self.kind}: remove it, or make it existing")
        if self.path is not None:
            repository(self.path)
        return self

    def place(self, imports: Path) -> Path | None:
        """Where an existing one is, or will be once it has been fetched from the hub; None for one that is made."""
        found = None if self.path is None else repository(self.path)
        if found is not None:
            return imports / found.folder(TOKENIZER)
        return None if self.path is None else Path(self.path)
