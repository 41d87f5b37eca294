"""Tokens that a person names by their text."""

from tokenizers import Tokenizer

from skiptrace.errors import InputError
from skiptrace.tokens.tokenizer import UNKNOWN, token_text


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """The tokens of a text; text that spells a special token is plain text.

    Raises:
        InputError: a word is not in a vocabulary of words; names it.
    """
    tokenizer.encode_special_tokens = True
    encoded = tokenizer.encode(text, add_special_tokens=False)
    for token, (start, stop) in zip(encoded.tokens, encoded.offsets, strict=True):
        if token == UNKNOWN:
            raise InputError(f"{text[start:stop]!r}: the training text of this model has no such word")
    return list(encoded.ids)


def single(tokenizer: Tokenizer, text: str) -> int:
    """The one token that a text is.

    Raises:
        InputError: it is several, or none; says which.
    """
    found = ids(tokenizer, text)
    if len(found) != 1:
        parts = ", ".join(repr(token_text(tokenizer, i)) for i in found) or "none"
        raise InputError(f"{text!r}: not a single token; it is {len(found)}: {parts}")
    return found[0]
