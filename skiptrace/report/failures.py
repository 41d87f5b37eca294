"""Parts of a report that cannot be made: a box stands in their place, and the rest is as it would be."""

from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path

from skiptrace.errors import debugging, described
from skiptrace.report.document import Block, Failed, Figure, Report, Section

# The figures that failed while a part is made, and why; None outside of `attempt`.
_lost: ContextVar[dict[Path, str] | None] = ContextVar("lost", default=None)


def attempt(subject: str, make: Callable[..., Section | Iterable[Section]], *arguments: object) -> list[Section]:
    """The section or sections that `make` returns, or one that says why there is none.

    `subject` is what they are about, as `one`; with the name of `make` it gives the title of that one section. A figure
    that fails takes nothing else with it. With `SKIPTRACE_DEBUG=1` the error is raised.
    """
    lost: dict[Path, str] = {}
    before = _lost.set(lost)
    try:
        made = make(*arguments)
        sections = [made] if isinstance(made, Section) else list(made)
    except Exception as error:
        if debugging():
            raise
        name = getattr(make, "__name__", "part").strip("_").replace("_", " ")
        title = f"{subject}: {name}" if subject else name.capitalize()
        anchor = f"{subject} {name}".strip().lower().replace(" ", "-")
        return [Section(anchor, title, [], [Failed(title, described(error))])]
    finally:
        _lost.reset(before)
    return [replace(section, blocks=[_or_box(section, b, lost) for b in section.blocks]) for section in sections]


def spare(path: Path, error: Exception) -> bool:
    """Note that a figure failed, if the part it belongs to is attempted; otherwise the error is the caller's."""
    lost = _lost.get()
    if lost is None or debugging():
        return False
    path.unlink(missing_ok=True)  # of an earlier run
    lost[path] = described(error)
    return True


def failures(report: Report) -> list[Failed]:
    """Every box of a report."""
    return [block for section in report.sections for block in section.blocks if isinstance(block, Failed)]


def _or_box(section: Section, block: Block, lost: dict[Path, str]) -> Block:
    if isinstance(block, Figure) and block.path in lost:
        return Failed(f"{section.title}, figure {block.title!r}", lost[block.path])
    return block
