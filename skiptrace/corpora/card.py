"""The card of a corpus: what was read, what was left out, and what of its validation text training saw too."""

import hashlib
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


@dataclass(frozen=True)
class Survival:
    """Characters of a sample of a corpus that were encoded and decoded, and those that did not come back.

    White space, which many tokenizers make one space, is counted apart. `most_lost`: the characters that are most
    often lost.
    """

    tried: int
    lost: int
    spaces_tried: int
    spaces_lost: int
    most_lost: str

    @property
    def share_lost(self) -> float:
        """The share of the characters that are no white space."""
        return self.lost / max(self.tried, 1)


@dataclass
class Tally:
    """How many there were of a kind, and the first few by name."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, source: str) -> None:
        """Count one."""
        self.count += 1
        if len(self.examples) < SHOWN:
            # Names of files need not be UTF-8.
            self.examples.append(source.encode("utf-8", "backslashreplace").decode())


@dataclass
class Notes:
    """What readers left out or altered.

    `unselected`: files in the folder that `include` does not name, or `exclude` does. `replaced`, `skipped`:
    files, or rows, that are not UTF-8 text. `unparsed`: sources without strings because they cannot be parsed.
    `repeated`: docstrings, or paragraphs of them, that an earlier place has too. `separators`: documents in which a
    well-known separator of documents stands.
    """

    unselected: Tally = field(default_factory=Tally)
    replaced: Tally = field(default_factory=Tally)
    skipped: Tally = field(default_factory=Tally)
    unparsed: Tally = field(default_factory=Tally)
    repeated: Tally = field(default_factory=Tally)
    separators: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        self._docstrings: set[int] = set()  # digests of those seen, 8 bytes of each

    def is_new(self, part: str) -> bool:
        """Whether a docstring, or a paragraph, is met for the first time."""
        digest = int.from_bytes(hashlib.blake2b(part.encode(errors="surrogatepass"), digest_size=8).digest())
        new = digest not in self._docstrings
        self._docstrings.add(digest)
        return new


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
    notes: Notes
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
        sizes = {split: Size(**content[split]) for split in ("train", "valid")}
        notes = Notes(**{name: Tally(**tally) for name, tally in content["notes"].items()})
        return Card(**content | sizes | {"notes": notes})
    except (TypeError, KeyError, AttributeError):
        raise InputError(f"{path}: not a corpus card; reproduce its stage") from None
