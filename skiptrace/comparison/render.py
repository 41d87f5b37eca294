"""A comparison as one self-contained HTML page, and as Markdown that a step summary or a comment can hold."""

import base64
import bisect
import re

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from skiptrace.comparison.compare import Comparison
from skiptrace.comparison.figures import similarities
from skiptrace.comparison.sections import build, summary
from skiptrace.report.rendering.document import Cell, Section, Tokens
from skiptrace.report.rendering.tokens import plain_markdown, to_html, to_markdown

LIMIT = 60_000  # bytes of Markdown; a comment may have 65 536 characters
ROWS = 300  # rows of a table in HTML
SENTENCES = 20  # of the summary in Markdown
FEWER = (40, 20, 10, 5, 2, 1)  # rows of a table in Markdown, the most that fit


def html(found: Comparison) -> str:
    """The page: styles and figures inside it, nothing fetched, no script."""
    environment = _environment(autoescape=True)
    environment.filters |= {"cell": _html_cell, "prose": _prose, "uri": _uri}
    matrices = {m.name: similarities(found, m).encode() for m in found.models if m.similarity is not None}
    return environment.get_template("comparison.html.j2").render(
        found=found, sections=build(found, ROWS), summary=summary(found), matrices=matrices
    )


def markdown(found: Comparison, limit: int = LIMIT) -> str:
    """GitHub-flavoured Markdown of at most `limit` bytes: tables are shortened, then left out from the end."""
    environment = _environment(autoescape=False)
    environment.filters |= {"cell": _markdown_cell, "prose": _markdown_prose}
    template = environment.get_template("comparison.md.j2")
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


def _environment(autoescape: bool) -> Environment:
    return Environment(
        loader=PackageLoader("skiptrace.comparison"),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _html_cell(cell: Cell) -> Markup:
    if isinstance(cell, Tokens):
        source, destination, out = map(to_html, cell.texts)
        return Markup(f"{source} … {destination} → {out}")
    return escape(cell)


def _markdown_cell(cell: Cell) -> str:
    if isinstance(cell, Tokens):
        source, destination, out = map(to_markdown, cell.texts)
        return f"{source} … {destination} → {out}"
    return plain_markdown(str(cell))


def _prose(text: str) -> Markup:
    """Escaped text in which `code` between backticks is set as code."""
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))


def _markdown_prose(text: str) -> str:
    """Text in which nothing but the `code` between backticks is Markdown."""
    parts = text.split("`")
    return "".join(f"<code>{plain_markdown(p)}</code>" if i % 2 else plain_markdown(p) for i, p in enumerate(parts))


def _uri(svg: bytes) -> Markup:
    """A figure as the address of an image, in which no script runs and no name clashes with the page's."""
    return Markup(f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}")
