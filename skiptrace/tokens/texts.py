"""The text of a token for people, as the tokenizer's own decoder makes it."""

import json
import re
from typing import Any

from tokenizers import Tokenizer

BYTE = re.compile(r"<0x([0-9A-F]{2})>")  # how vocabularies with byte fallback spell a byte
BEFORE = "a"  # a token that starts a text may lose its space; this one stands before it


class TokenTexts:
    r"""The text of each token of a tokenizer; bytes that are no whole UTF-8 character read as `\xe2`.

    Where a decoder tells words from their continuations, words have their space before them, or after.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer, self._decoder = tokenizer, tokenizer.decoder
        self._added = {i: token.content for i, token in tokenizer.get_added_tokens_decoder().items()}
        said = self._decoder if self._decoder is not None else tokenizer.pre_tokenizer
        self._types = _types(said)

    def __call__(self, token_id: int) -> str:
        """The text of one token."""
        piece = self._added.get(token_id) or self._tokenizer.id_to_token(token_id)
        if not piece:
            return f"<{token_id}>"
        if token_id in self._added:
            return piece
        if "ByteLevel" in self._types:
            return in_bytes(piece) or piece
        if "ByteFallback" in self._types and (byte := BYTE.fullmatch(piece)):
            return bytes([int(byte[1], 16)]).decode("utf-8", errors="backslashreplace")
        if self._decoder is None:
            return piece
        # Of tokens whose mark stands at their end, the last one loses it.
        after = BEFORE if "BPEDecoder" in self._types else ""
        decoded: str = self._decoder.decode([BEFORE, piece, after] if after else [BEFORE, piece])
        return decoded.removeprefix(self._decoder.decode([BEFORE])).removesuffix(after) or piece


def token_text(tokenizer: Tokenizer, token_id: int) -> str:
    """The text of one token; of many, make `TokenTexts` once."""
    return TokenTexts(tokenizer)(token_id)


def in_bytes(piece: str) -> str | None:
    """The text of a piece of a byte-level vocabulary; None if it is none."""
    if not set(piece) <= BYTE_OF.keys():
        return None
    return bytes(BYTE_OF[c] for c in piece).decode("utf-8", errors="backslashreplace")


def _types(component: Any) -> set[str]:
    """The names of a decoder or pre-tokenizer and of those that it is made of."""
    if component is None:
        return set()
    found: set[str] = set()
    waiting = [json.loads(component.__getstate__())]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            found.update(name for key, name in value.items() if key == "type" and isinstance(name, str))
        if isinstance(value, dict | list):
            waiting.extend(value.values() if isinstance(value, dict) else value)
    return found


def _byte_of() -> dict[str, int]:
    # GPT-2's alphabet: printable Latin-1 bytes stand for themselves, the others, in order,
    # for the characters from U+0100 on.
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in printable]
    return {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(others)}


BYTE_OF = _byte_of()
