"""A comparison as one self-contained HTML page, and as Markdown that a step summary or a comment can hold."""

import base64
import bisect
from dataclasses import replace

from markupsafe import Markup

from skiptrace.comparison.compare import Comparison
from skiptrace.comparison.figures import similarities
from skiptrace.comparison.sections import build, summary
from skiptrace.report.rendering.document import Section
from skiptrace.report.rendering.failures import figure
from skiptrace.report.rendering.render import html_environment, inert_prose, markdown_environment

LIMIT = 60_000  # bytes of Markdown; a comment may have 65 536 characters
ROWS = 300  # rows of a table in HTML
SENTENCES = 20  # of the summary in Markdown
FEWER = (40, 20, 10, 5, 2, 1)  # rows of a table in Markdown, the most that fit


def html(found: Comparison) -> str:
    """The page: styles and figures inside it, nothing fetched, no script."""
    environment = html_environment("skiptrace.comparison")
    environment.filters["uri"] = _uri
    matrices = {f"heads-{model.name}": model for model in found.models if model.similarity is not None}
    sections = build(found, ROWS)
    for number, section in enumerate(sections):
        if section.anchor in matrices:
            drawn = figure(
                f"similarities_{number}",
                f"Similarity of heads of {section.group}",
                f"Every head of {found.a} with every head of {found.b}; the pairs that were matched are framed. One "
                "dark square in a row and in a column: the match leaves no doubt.",
                similarities,
                found,
                matrices[section.anchor],
            )
            sections[number] = replace(section, blocks=[*section.blocks, drawn])
    template = environment.get_template("comparison.html.j2")
    return template.render(found=found, sections=sections, summary=summary(found))


def markdown(found: Comparison, limit: int = LIMIT) -> str:
    """GitHub-flavoured Markdown of at most `limit` bytes: tables are shortened, then left out from the end."""
    template = markdown_environment("skiptrace.comparison", prose=inert_prose).get_template("comparison.md.j2")
    lines = summary(found)[:SENTENCES]

    def text(sections: list[Section], kept: int) -> str:
        left_out = len(sections) - kept
        return template.render(found=found, sections=sections[:kept], summary=lines, left_out=left_out)

    def fits(content: str) -> bool:
        return len(content.encode()) <= limit

    for rows in FEWER:
        sections = build(found, rows)
        if fits(whole := text(sections, len(sections))):
            return whole
    kept = bisect.bisect_left(range(len(sections)), True, key=lambda n: not fits(text(sections, n + 1)))
    return text(sections, kept).encode()[:limit].decode(errors="ignore")


def _uri(svg: bytes) -> Markup:
    """A figure as the address of an image, in which no script runs and no name clashes with the page's."""
    return Markup(f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}")
