"""How an attack came out, and the table of all of them."""

from collections import Counter
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import NamedTuple

from skiptrace.errors import InputError, one_line


class Outcome(StrEnum):
    """What a damaged, killed or deceived program did."""

    noticed = "noticed"  # one line that names what is wrong
    same = "same result"  # the damage changed nothing that is read, or was undone
    wrong = "silently wrong"
    traceback = "traceback"


class Attempt(NamedTuple):
    """One attack: what was done, how it came out, and what is to be seen of it if it came out badly."""

    what: str
    outcome: Outcome
    detail: str = ""


class Part(NamedTuple):
    """A kind of attack: what the table calls it, how often it is tried by default, and how."""

    name: str
    count: int
    attack: Callable[[int, int], Iterator[Attempt]]  # of a count and a seed


def reading(what: str, read: Callable[[], object], expected: object = ...) -> Attempt:
    """Read something damaged; any value is right if none is `expected`."""
    try:
        value = read()
    except InputError as error:
        fine = bool(str(error).strip()) and "\n" not in one_line(error)
        return Attempt(what, Outcome.noticed if fine else Outcome.traceback, str(error))
    except Exception as error:
        return Attempt(what, Outcome.traceback, f"{type(error).__name__}: {one_line(error)}")
    return Attempt(what, Outcome.same if expected is ... or value == expected else Outcome.wrong)


def table(found: dict[str, list[Attempt]]) -> str:
    """One row per part."""
    lines = [f"{'attack':32}{'run':>7}" + "".join(f"{outcome:>16}" for outcome in Outcome)]
    for name, attempts in found.items():
        counts = Counter(attempt.outcome for attempt in attempts)
        lines.append(f"{name:32}{len(attempts):7}" + "".join(f"{counts[outcome]:16}" for outcome in Outcome))
    return "\n".join(lines)


def failures(found: dict[str, list[Attempt]]) -> list[str]:
    """What came out badly, one line each."""
    bad = (Outcome.wrong, Outcome.traceback)
    return [
        f"{name}: {attempt.what}: {attempt.outcome}: {attempt.detail[:300]}"
        for name, attempts in found.items()
        for attempt in attempts
        if attempt.outcome in bad
    ]
