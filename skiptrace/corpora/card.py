"""The card of a corpus: what was read, what was left out, and what of its validation text training saw too."""

import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from skiptrace.errors import InputError
from skiptrace.files import read_json, write_json

LINE = 40  # characters from which a line says enough to be recognised
LONG = 200  # characters from which it is many sentences
SENTENCE = re.compile(r"(?<=[.!?])\s+")
SHOWN = 5  # sources that are named


@dataclass(frozen=True)
class Size:
    """Documents and characters of a split."""

    documents: int
    characters: int


@dataclass
class Notes:
    """What readers have to say of files that are not UTF-8."""

    replaced: int = 0
    skipped: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, source: str, skipped: bool) -> None:
        """Count one file."""
        self.skipped += skipped
        self.replaced += not skipped
        if len(self.examples) < SHOWN:
            self.examples.append(source)


@dataclass(frozen=True)
class Card:
    """Counts of documents, except where a name says lines or characters.

    `leaking`: validation documents of which more than half of the lines, or sentences of long ones, stand in the
    training text too, those of `LINE` characters or more; `lines` and `lines_seen` are all such lines of the
    validation text, and those seen.
    """

    train: Size
    valid: Size
    empty: int
    duplicates: int
    encoding_replaced: int
    encoding_skipped: int
    encoding_examples: list[str]
    longest_source: str
    longest_characters: int
    lines: int = 0
    lines_seen: int = 0
    leaking: int = 0


def with_leak(card: Card, texts: Callable[[str], Iterable[str]]) -> Card:
    """Add what validation text shares with training text, line by line; `texts` yields those of a split.

    Of each distinct validation line the memory is that of one number.
    """
    wanted = {hash(line) for text in texts("valid") for line in _lines(text)}
    seen: set[int] = set()
    for text in texts("train"):
        seen.update(wanted.intersection(map(hash, _lines(text))))
    lines = found = leaking = 0
    for text in texts("valid"):
        known = [hash(line) in seen for line in _lines(text)]
        lines, found = lines + len(known), found + sum(known)
        leaking += 2 * sum(known) > len(known)
    return replace(card, lines=lines, lines_seen=found, leaking=leaking)


def _lines(text: str) -> Iterable[str]:
    """The lines that say enough; of text that is set without line ends, the sentences."""
    for line in text.splitlines():
        for part in [line] if len(line) <= LONG else SENTENCE.split(line):
            if len(stripped := part.strip()) >= LINE:
                yield stripped


def write(path: Path, card: Card) -> None:
    """Write card.json."""
    write_json(path, asdict(card), sealed=True)


def read(path: Path) -> Card:
    """Read card.json.

    Raises:
        InputError: the file is missing or is no card.
    """
    content: Any = read_json(path)
    try:
        return Card(**content | {split: Size(**content[split]) for split in ("train", "valid")})
    except (TypeError, KeyError):
        raise InputError(f"{path}: not a corpus card; reproduce its stage") from None
