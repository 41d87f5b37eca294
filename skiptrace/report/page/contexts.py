"""Places in the validation text that show a token, or a skip-trigram at work."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Integer

from skiptrace.evidence.support import Positions
from skiptrace.models.windows import BOS_ID

BEFORE, AFTER = 6, 5  # tokens shown around a token
AROUND = 4  # tokens shown around each end of a skip-trigram whose middle is left out
LONGEST = 20  # tokens between source and destination that are shown in full
LEFT_OUT = -1


@dataclass(frozen=True)
class Places:
    """Stretches of text: token ids, −1 where a stretch is left out, and the places in `ids` to mark."""

    ids: list[int]
    marks: list[int]


def of_token(positions: Positions, token: int, most: int) -> list[Places]:
    """At most `most` places of a token, at even distances over the text."""
    at = positions.of(token)
    chosen = at[np.unique(np.linspace(0, len(at) - 1, min(most, len(at))).astype(int))] if len(at) else at
    return [_stretch(positions.stream, [(p - BEFORE, p + AFTER)], [p]) for p in chosen.tolist()]


def of_skip_trigram(positions: Positions, source: int, destination: int, out: int, most: int) -> list[Places]:
    """At most `most` places where the source stands before the destination and the out follows it.

    Those with the fewest tokens between come first.
    """
    there, here = (places[:most].tolist() for places in positions.skip_trigram(source, destination, out))
    return [_trigram(positions.stream, *ends) for ends in zip(there, here, strict=True)]


def _trigram(stream: Integer[np.ndarray, " n"], source: int, destination: int) -> Places:
    start, stop = source - AROUND, destination + 1 + AROUND
    whole = destination - source <= LONGEST
    spans = [(start, stop)] if whole else [(start, source + AROUND), (destination - AROUND, stop)]
    return _stretch(stream, spans, [source, destination, destination + 1])


def _stretch(stream: Integer[np.ndarray, " n"], spans: list[tuple[int, int]], marked: list[int]) -> Places:
    """The tokens of the spans, ends included, within the document of the marked ones."""
    starts = [i for i in range(max(0, spans[0][0]), marked[0] + 1) if stream[i] == BOS_ID]
    stops = [i for i in range(marked[-1] + 1, min(len(stream), spans[-1][1] + 1)) if stream[i] == BOS_ID]
    first, end = (starts[-1] if starts else 0), (stops[0] if stops else len(stream))
    ids: list[int] = []
    marks: list[int] = []
    for number, (start, stop) in enumerate(spans):
        ids += [LEFT_OUT] if number else []
        for i in range(max(first, start), min(end, stop + 1)):
            marks += [len(ids)] if i in marked else []
            ids.append(int(stream[i]))
    return Places(ids, marks)
