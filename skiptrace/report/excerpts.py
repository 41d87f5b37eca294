"""Real sentences: stretches of the held-out text in which the tokens of a finding are marked."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Integer

from skiptrace.account.readable import joined
from skiptrace.evidence.support import Positions
from skiptrace.models.windows import BOS_ID
from skiptrace.report.rendering.document import Excerpt, Part
from skiptrace.report.rendering.tokens import running

BEFORE, AFTER = 7, 5  # tokens shown before the first mark and after the last
GAP = 14  # tokens between two marks that are shown in full; of longer gaps the ends
ENDS = 4
ENDED = " .,;:!?)]}>-"
TRIED = 200  # places looked at

SOURCE, DESTINATION, OUT = "source", "destination", "out"


def skip_trigram(positions: Positions, texts: Sequence[str], source: int, destination: int, out: int) -> Excerpt | None:
    """A place where the source stands before the destination, in its window, and the out follows it.

    Of the `TRIED` places with the fewest tokens between, one with few line breaks; None if the text has none.
    """
    there, here = (places[:TRIED].tolist() for places in positions.skip_trigram(source, destination, out))
    places = [{first: SOURCE, last: DESTINATION, last + 1: OUT} for first, last in zip(there, here, strict=True)]
    return _best(positions, texts, places)


def bigram(positions: Positions, texts: Sequence[str], token: int, following: int) -> Excerpt | None:
    """A place where one token follows another; None if the text has none."""
    here = positions.of(token)
    here = here[positions.stream[here + 1] == following]
    return _best(positions, texts, [{int(p): DESTINATION, int(p) + 1: OUT} for p in here[:TRIED]])


def repetition(positions: Positions, texts: Sequence[str], token: int) -> Excerpt | None:
    """A place where a token stands again soon; the destination is what it follows there. None if there is none."""
    at = positions.of(token)
    pairs = [(int(a), int(b)) for a, b in pairwise(at) if 1 < b - a <= positions.window]
    nearest = sorted(pairs, key=lambda pair: pair[1] - pair[0])[:TRIED]
    return _best(positions, texts, [{a: SOURCE, b - 1: DESTINATION, b: OUT} for a, b in nearest])


def of_ids(ids: Integer[np.ndarray, " n"], texts: Sequence[str], marks: Mapping[int, str]) -> Excerpt:
    """A stretch of token ids with some of its places marked; it begins and ends where words do."""
    first, last = min(marks), max(marks)
    start, stop = max(0, first - BEFORE), min(len(ids), last + AFTER + 1)
    start = max([start, *(i + 1 for i in range(start, first) if ids[i] == BOS_ID)])
    stop = min([stop, *(i for i in range(last + 1, stop) if ids[i] == BOS_ID)])
    while start < first and joined(_at(ids, texts, start - 1), _at(ids, texts, start)):
        start += 1
    while stop > last + 1 and joined(_at(ids, texts, stop - 1), _at(ids, texts, stop)):
        stop -= 1
    return of_texts([texts[int(i)] for i in ids[start:stop]], {place - start: role for place, role in marks.items()})


def _at(ids: Integer[np.ndarray, " n"], texts: Sequence[str], place: int) -> str:
    """The text of a token; of what lies outside, and of the token that starts a document, none."""
    return texts[int(ids[place])] if 0 <= place < len(ids) and ids[place] != BOS_ID else ""


def of_texts(tokens: Sequence[str], marks: Mapping[int, str]) -> Excerpt:
    """Tokens in order with some of them marked; of a long gap between two marks only the ends."""
    places = sorted(marks)
    left_out = {
        i: " … " if i == a + ENDS + 1 else ""
        for a, b in pairwise(places)
        if b - a > GAP + 1
        for i in range(a + ENDS + 1, b - ENDS)
    }
    return Excerpt(tuple(_joined([Part(left_out.get(i, text), marks.get(i, "")) for i, text in enumerate(tokens)])))


WRITTEN = ("before", "source", "between", "destination", "out", "after")  # columns of a table of examples


def of_row(row: Mapping[Any, Any], columns: Sequence[str] = WRITTEN) -> Excerpt:
    """A row of a table of examples: the text is what these of its columns make together."""
    roles = {"source": SOURCE, "destination": DESTINATION, "out": OUT}
    return Excerpt(tuple(_joined([Part(row[name], roles.get(name, "")) for name in columns])))


def _joined(parts: Sequence[Part]) -> list[Part]:
    """Marked tokens by themselves, without their leading spaces, and what stands between them as one part."""
    joined: list[Part] = []
    between = ""
    for text, role in parts:
        if not role:
            between += text
            continue
        core = text.lstrip(" ") or text
        joined += [Part(_spaced(between + text[: len(text) - len(core)])), Part(running(core) or "·" * len(core), role)]
        between = ""
    first, *rest = (*joined, Part(_spaced(between)))
    # What ended the sentence before is no part of this one.
    return [part for part in (first if first.role else Part(first.text.lstrip(ENDED)), *rest) if part.text]


def _spaced(text: str) -> str:
    """Running text with the spaces at its ends kept as one."""
    if not text.strip(" "):
        return " " if text else ""
    return (" " if text[0] == " " else "") + running(text) + (" " if text[-1] == " " else "")


def _best(positions: Positions, texts: Sequence[str], places: Sequence[Mapping[int, str]]) -> Excerpt | None:
    """The first of the places whose surroundings have the fewest line breaks and rules."""

    def noise(marks: Mapping[int, str]) -> int:
        span = positions.stream[max(0, min(marks) - BEFORE) : max(marks) + AFTER]
        around = [texts[int(i)] for i in span]
        return sum("\n" in text for text in around) + sum(not any(map(str.isalnum, text)) for text in around) // 2

    if not places:
        return None
    return of_ids(positions.stream, texts, min(places, key=noise))
