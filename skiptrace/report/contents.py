"""What the report holds, in its order."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

from skiptrace.report.inputs import Study
from skiptrace.report.rendering.document import Report, Section
from skiptrace.report.rendering.failures import attempt
from skiptrace.report.sections.dictionaries.features import features as dictionary_features
from skiptrace.report.sections.dictionaries.language import language
from skiptrace.report.sections.dictionaries.toy import toy
from skiptrace.report.sections.models.account import account
from skiptrace.report.sections.models.bigrams import direct
from skiptrace.report.sections.models.bugs import bugs
from skiptrace.report.sections.models.circuits import circuits
from skiptrace.report.sections.models.composition import composition
from skiptrace.report.sections.models.cutoffs import cutoffs
from skiptrace.report.sections.models.evidence import evidence
from skiptrace.report.sections.models.features import features
from skiptrace.report.sections.models.heads import heads
from skiptrace.report.sections.models.induction import induction
from skiptrace.report.sections.models.paths import expansion
from skiptrace.report.sections.models.positional import positional
from skiptrace.report.sections.models.skip_trigrams import skip_trigrams
from skiptrace.report.sections.models.stream import residual
from skiptrace.report.sections.models.terms import terms
from skiptrace.report.sections.models.truth import truth
from skiptrace.report.sections.models.virtual import virtual
from skiptrace.report.sections.run.corpora import corpora
from skiptrace.report.sections.run.imports import imports
from skiptrace.report.sections.run.provenance import provenance
from skiptrace.report.sections.run.summary import summary
from skiptrace.report.sections.run.tools import all_skip_trigrams, explorer, patterns
from skiptrace.report.sections.superposition.absolute import absolute
from skiptrace.report.sections.superposition.five import five
from skiptrace.report.sections.superposition.geometry import geometry
from skiptrace.report.sections.superposition.larger import larger
from skiptrace.report.sections.superposition.neurons import neurons
from skiptrace.report.sections.superposition.norms import norms
from skiptrace.report.sections.superposition.pairs import pairs
from skiptrace.report.sections.superposition.phase import phase
from skiptrace.report.sections.superposition.sensing import sensing
from skiptrace.report.sections.superposition.vectors import vectors
from skiptrace.report.sections.superposition.widths import widths

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


SECTIONS = (
    Chapter(whole, (summary, explorer, all_skip_trigrams, patterns, corpora, imports)),
    Chapter(
        models,
        (
            truth,
            direct,
            account,
            skip_trigrams,
            evidence,
            bugs,
            positional,
            heads,
            cutoffs,
            circuits,
            expansion,
            terms,
            composition,
            virtual,
            induction,
            residual,
            features,
        ),
    ),
    Chapter(
        superposition,
        (five, norms, phase, geometry, pairs, neurons, absolute, vectors, sensing, larger, widths),
    ),
    Chapter(dictionaries, (toy, language, dictionary_features)),
    Chapter(whole, (provenance,)),
)


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
