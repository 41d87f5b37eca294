"""Parts of a report that cannot be made: a box stands in their place, and the rest is as it would be."""

from collections.abc import Callable
from dataclasses import replace
from typing import ParamSpec

from skiptrace.errors import debugging, described
from skiptrace.report.rendering.document import Block, Failed, Figure, Section

P = ParamSpec("P")


def attempt(subject: str, make: Callable[P, Section | None], *args: P.args, **kwargs: P.kwargs) -> list[Section]:
    """The section that `make` returns, none if it returns none, or one that says why it could not be made.

    `subject` is what it is about, as `one`; with the name of `make` it gives the title of a section that failed. With
    `SKIPTRACE_DEBUG=1` the error is raised.
    """
    try:
        made = make(*args, **kwargs)
    except Exception as error:
        if debugging():
            raise
        name = getattr(make, "__name__", "part").replace("_", " ")
        title = f"{subject}: {name}" if subject else name.capitalize()
        anchor = f"{subject} {name}".strip().lower().replace(" ", "-")
        return [Section(anchor, title, [], [Failed(title, described(error))])]
    return [] if made is None else [replace(made, blocks=[_titled(made, block) for block in made.blocks])]


def figure(
    name: str, title: str, caption: str, draw: Callable[P, str], *args: P.args, **kwargs: P.kwargs
) -> Figure | Failed:
    """The figure that `draw` returns as SVG, or a box that says why not: it takes nothing else of its section with it.

    `name` is that of its file, without suffix. With `SKIPTRACE_DEBUG=1` the error is raised.
    """
    try:
        return Figure(name, title, caption, draw(*args, **kwargs))
    except Exception as error:
        if debugging():
            raise
        return Failed(f"figure {title!r}", described(error))


def _titled(section: Section, block: Block) -> Block:
    return replace(block, title=f"{section.title}, {block.title}") if isinstance(block, Failed) else block
