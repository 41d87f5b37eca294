"""What the report holds, in its order."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from inspect import isfunction
from itertools import groupby
from typing import NamedTuple

from skiptrace.report import order
from skiptrace.report.inputs import Study
from skiptrace.report.rendering.document import Report, Section
from skiptrace.report.rendering.failures import attempt

TITLE = "skiptrace report"
LEAD = (
    "What small attention-only transformers learned, read from their weights: the bigrams of the direct path, the "
    "skip-trigrams of every head, the scores that say what kind of head each one is, and how heads work together; then "
    "superposition, in toy models and in one of these."
)


def whole(study: Study) -> Iterator[Study]:
    """The whole run."""
    yield study


def models(study: Study) -> Iterator[Study]:
    """Every model."""
    for name in study.results.models:
        yield replace(study, subject=name, name=name)


def superposition(study: Study) -> Iterator[Study]:
    """The toy models, if the run has any."""
    if study.results.superposition:
        yield replace(study, subject="Superposition")


def dictionaries(study: Study) -> Iterator[Study]:
    """Every dictionary, followed by each of its sites."""
    for name, dictionary in study.results.dictionaries.items():
        yield (one := replace(study, subject=f"Dictionary {name}", name=name))
        for site in dictionary.features["site"].unique() if len(dictionary.features) else ():
            yield replace(one, site=site)


class Chapter(NamedTuple):
    """Sections that are made for every subject of one kind; one that returns None has nothing to say about it."""

    subjects: Callable[[Study], Iterator[Study]]
    sections: tuple[Callable[[Study], Section | None], ...]


SUBJECTS = {"run": whole, "models": models, "superposition": superposition, "dictionaries": dictionaries}


def _chapters() -> Iterator[Chapter]:
    """The sections of `order`, those in succession that are made for the same subjects together."""
    listed = [make for make in vars(order).values() if isfunction(make)]
    for room, sections in groupby(listed, key=lambda make: make.__module__.split(".")[-2]):
        yield Chapter(SUBJECTS[room], tuple(sections))


SECTIONS = tuple(_chapters())


def build(study: Study, chapters: tuple[Chapter, ...] = SECTIONS) -> Report:
    """The report on a run; what cannot be made is a box in it (`rendering.failures`)."""
    sections = [
        section
        for chapter in chapters
        for subject in chapter.subjects(study)
        for make in chapter.sections
        for section in attempt(subject.subject, make, subject)
    ]
    return Report(TITLE, LEAD, sections)
