"""Tokens as a reader sees them: made visible, and harmless in HTML and Markdown."""

import html
import re
import unicodedata

LONGEST = 40  # characters of a token that are shown
SYNTAX = frozenset("\\`*_~#|<>&[]!@$:^")  # what Markdown, as GitHub reads it, might take for its own
OUTSIDE = frozenset("`|\\<>&$@")  # what stays out of code between backticks
PLAIN = re.compile(r"(?:[^\W_]|[ \[\](),.;%/±–−+→…×≤≥=’'-]|: )*")
MARKS = {" ": "·", "\n": "↵", "\t": "⇥", "\r": "␍"}
# A spreadsheet takes text that begins so for a formula, also in full width.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def visible(token: str, longest: int = LONGEST) -> str:
    """The token with spaces as `·`, line breaks as `↵`, and what prints as nothing spelled out."""
    shown = "".join(MARKS.get(c) or (c if _prints(c) else _spelled(c)) for c in token)
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def _prints(character: str) -> bool:
    # Categories C* (controls, bidirectional marks, surrogates) and Z* (spaces) leave no mark on a page;
    # combining marks would land on their neighbour.
    return unicodedata.category(character)[0] not in "CZ" and not unicodedata.combining(character)


def _spelled(character: str) -> str:
    number = ord(character)
    return f"\\u{number:04x}" if number > 0xFF else f"\\x{number:02x}"


def is_word(token: str) -> bool:
    """Whether a token is a word: two letters or more, spaces aside."""
    word = token.strip()
    return len(word) > 1 and word.isalpha()


def to_html(token: str) -> str:
    """A token as an HTML element in which nothing of it is markup."""
    return f'<code class="token">{html.escape(visible(token))}</code>'


def to_markdown(token: str) -> str:
    """A token as inline code that survives a Markdown table cell: between backticks wherever nothing can go wrong."""
    shown = visible(token)
    return f"<code>{plain_markdown(shown)}</code>" if set(shown) & OUTSIDE or not shown else f"`{shown}`"


def plain_markdown(text: str) -> str:
    """Text in which no character is Markdown syntax; numbers, intervals and plain words stay as they are."""
    if PLAIN.fullmatch(text) and "](" not in text:
        return text
    return "".join(f"&#{ord(c)};" if c in SYNTAX else c for c in text)


def running(text: str) -> str:
    """Text as it runs on a page: what prints as nothing is spelled out, and only single spaces stay as they are."""
    return " ".join(visible(word, len(word) * 6) for word in text.split(" ") if word)
