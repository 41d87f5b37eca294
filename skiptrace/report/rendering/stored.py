"""A report as JSON, so that one stage builds its content and another renders it."""

from dataclasses import fields, is_dataclass
from typing import Any

from skiptrace.report.rendering.document import (
    Column,
    Context,
    Contexts,
    Example,
    Examples,
    Excerpt,
    Failed,
    Figure,
    Finding,
    Findings,
    Link,
    Part,
    Question,
    Report,
    Section,
    SkipTrigram,
    Table,
    Tokens,
    Tool,
)

CLASSES: dict[str, type] = {
    c.__name__: c
    for c in (
        Column, Context, Contexts, Example, Examples, Excerpt, Failed, Figure, Finding, Findings, Link, Part, Question,
        Section, SkipTrigram, Table, Tokens, Tool,
    )
}  # fmt: skip
CLASS = "class"  # the key that names the class of an object; no class has a field of this name


def to_json(report: Report) -> dict[str, Any]:
    """The report as objects, lists and text."""
    packed = {"corpora": dict(report.corpora), "models": dict(report.models), "constants": dict(report.constants)}
    packed |= {"questions": _plain(report.questions)}
    return {"title": report.title, "lead": report.lead, "sections": _plain(report.sections)} | packed


def from_json(value: Any) -> Report:
    """The report of which `to_json` gave this value.

    Raises:
        ValueError: no report is stored so.
    """
    try:
        sections = [_made(section) for section in value["sections"]]
        questions = tuple(_made(question) for question in value["questions"])
        packed = (value["corpora"], value["models"], value["constants"])
        return Report(value["title"], value["lead"], sections, *packed, questions)
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a report as it is stored here: {error}") from None


def _plain(value: Any) -> Any:
    name = type(value).__name__
    if name in CLASSES and isinstance(value, CLASSES[name]):
        return {CLASS: name} | {field: _plain(getattr(value, field)) for field in _fields(value)}
    return [_plain(part) for part in value] if isinstance(value, (list, tuple)) else value


def _made(value: Any) -> Any:
    if isinstance(value, dict):
        given = {name: _made(part) for name, part in value.items() if name != CLASS}
        return CLASSES[value[CLASS]](**given)
    return tuple(_made(part) for part in value) if isinstance(value, list) else value


def _fields(value: Any) -> tuple[str, ...]:
    return tuple(f.name for f in fields(value)) if is_dataclass(value) else value._fields
