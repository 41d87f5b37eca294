"""Tokens that a person names by their text."""

from tokenizers import Tokenizer

from skiptrace.errors import InputError
from skiptrace.tokens.texts import token_text
from skiptrace.tokens.tokenizer import held_back, special_ids, unknown_id


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """The tokens of a text; text that spells a special token is plain text.

    Raises:
        InputError: the vocabulary lacks a part of it; names that part.
    """
    tokenizer.encode_special_tokens = True
    with held_back(f"{text!r}: the tokenizer of this model fails on it"):
        encoded = tokenizer.encode(text, add_special_tokens=False)
    lacking = {unknown_id(tokenizer), *special_ids(tokenizer)}
    covered: set[int] = set()
    for token, (start, stop) in zip(encoded.ids, encoded.offsets, strict=True):
        if token in lacking:
            raise _unknown(text[start:stop] or text)
        covered.update(range(start, stop))
    # Some tokenizers leave out what they do not know, and count the offsets of the rest as if it had not been there.
    uncovered = [character for place, character in enumerate(text) if place not in covered]
    if not all(map(str.isspace, uncovered)):
        lost = [character for character in text if not tokenizer.encode(character, add_special_tokens=False).ids]
        named = [c for c in lost if not c.isspace()]
        if named or len(lost) < len(uncovered):
            raise _unknown(next(c for c in named or uncovered if not c.isspace()))
    return list(encoded.ids)


def _unknown(part: str) -> InputError:
    return InputError(f"{part!r}: the vocabulary of this model has no token for it")


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
