"""What the report holds, in its order."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count, groupby

from skiptrace.report.equations import FORMULAS
from skiptrace.report.inputs import Study
from skiptrace.report.order import PARTS, Part
from skiptrace.report.rendering.document import Figure, Question, Report, Section
from skiptrace.report.rendering.failures import attempt
from skiptrace.report.sections.run.summary import lead

TITLE = "skiptrace report"


def whole(study: Study, _: Part) -> Iterator[Study]:
    """The whole run."""
    yield study


def models(study: Study, part: Part) -> Iterator[Study]:
    """Every model on natural text, or every model on planted text where the part is a control."""
    for name, model in study.results.models.items():
        if model.planted == part.control:
            yield replace(study, subject=name, name=name)


def superposition(study: Study, _: Part) -> Iterator[Study]:
    """The toy models, if the run has any."""
    if study.results.superposition:
        yield replace(study, subject="Superposition")


def dictionaries(study: Study, _: Part) -> Iterator[Study]:
    """Every dictionary, followed by each of its sites."""
    for name, dictionary in study.results.dictionaries.items():
        yield (one := replace(study, subject=f"Dictionary {name}", name=name))
        for site in dictionary.features["site"].unique() if len(dictionary.features) else ():
            yield replace(one, site=site)


SUBJECTS: dict[str, Callable[[Study, Part], Iterator[Study]]] = {
    "run": whole,
    "models": models,
    "superposition": superposition,
    "dictionaries": dictionaries,
}


def build(study: Study, parts: tuple[Part, ...] = PARTS) -> Report:
    """The report on a run; what cannot be made is a box in it (`rendering.failures`)."""
    sections, questions = list[Section](), list[Question]()
    for part in parts:
        found = list(_sections(study, part))
        sections += found
        if part.title and found:
            deep = [s.group for s in found if _depth(study, s.group) >= part.layers]
            questions.append(Question(part.anchor, part.title, part.lead, (deep or [found[0].group])[0], part.folded))
    return Report(TITLE, lead(study), _numbered(sections), questions=tuple(questions))


def _sections(study: Study, part: Part) -> Iterator[Section]:
    """The sections of a part: those in succession that are made for the same subjects together."""
    for room, makes in groupby(part.sections, key=lambda make: make.__module__.split(".")[-2]):
        listed = list(makes)
        for subject in SUBJECTS[room](study, part):
            for make in listed:
                formula = FORMULAS.get(".".join(make.__module__.split(".")[-2:]), "")
                for section in attempt(subject.subject, make, subject):
                    yield replace(section, question=part.anchor, formula=formula)


def _depth(study: Study, group: str) -> int:
    """The layers of the model that a group of sections is about; 0 where it is about no model."""
    return study.results.models[group].params.n_layers if group in study.results.models else 0


def _numbered(sections: list[Section]) -> list[Section]:
    """Every figure with its number in the report."""
    numbers = count(1)
    return [
        replace(s, blocks=[replace(b, number=next(numbers)) if isinstance(b, Figure) else b for b in s.blocks])
        for s in sections
    ]
