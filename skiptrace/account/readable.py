"""Which skip-trigrams a reader can read: a rule about the characters of their tokens, the same for any text."""

from enum import StrEnum

OPENING, CLOSING = "([{<“‘", ")]}>”’"
QUOTES = "\"'`´“”‘’"
APOSTROPHES = "'’"
LONGEST_RULE = 3  # a character that is neither letter nor quote and stands so often in a row draws a line


class Kind(StrEnum):
    """What a token is made of, spaces around it aside."""

    WORD = "word"  # two letters or more
    LETTER = "letter"
    NUMBER = "number"
    MARK = "mark"  # brackets and quotes
    SYMBOL = "symbol"  # other punctuation
    RULE = "rule"  # a line of dashes, dots or the like
    BLANK = "blank"  # white space
    MIXED = "mixed"


def kind(token: str) -> Kind:
    """The kind of a token."""
    text = token.strip()
    if not text:
        return Kind.BLANK
    if text.isalpha():
        return Kind.WORD if len(text) > 1 else Kind.LETTER
    if text.isdigit():
        return Kind.NUMBER
    if any(c.isalnum() or c == "\\" for c in text):
        return Kind.MIXED
    if all(c in OPENING + CLOSING + QUOTES for c in text):
        return Kind.MARK
    if len(text) >= LONGEST_RULE and len(set(text)) == 1:
        return Kind.RULE
    return Kind.SYMBOL


def readable(source: str, destination: str, out: str) -> bool:
    """Whether a skip-trigram reads as one: a word that calls for something, or a bracket or quote that is closed.

    The source is a word, and the output a word, bracket, quote or other punctuation; or the source is a bracket or
    quote and the output closes it. After an apostrophe the output may be a single letter (couldn … ' → t). The
    destination is anything but a line of dashes and a mixture of letters with other characters.
    """
    if kind(destination) in (Kind.RULE, Kind.MIXED):
        return False
    first, last = kind(source), kind(out)
    if first is Kind.MARK:
        return closes(source, out)
    if first is not Kind.WORD:
        return False
    if last is Kind.LETTER:
        return destination.strip() in tuple(APOSTROPHES)
    return last in (Kind.WORD, Kind.MARK, Kind.SYMBOL)


def closes(source: str, out: str) -> bool:
    """Whether the output begins with what closes the last bracket or quote of the source."""
    opened, text = source.strip()[-1], out.strip()
    if opened in OPENING:
        return text.startswith(CLOSING[OPENING.index(opened)])
    return opened in QUOTES and text.startswith(opened)


def whole(before: str, text: str, after: str) -> bool:
    """Whether a text begins and ends where words and names do, between what stands before and after it."""
    return not (joined(before, text) or joined(text, after))


def joined(left: str, right: str) -> bool:
    """Whether a word or name goes on from one text into the next."""
    return bool(left and right) and all(c.isalnum() or c == "_" for c in (left[-1], right[0]))
