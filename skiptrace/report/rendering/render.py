"""A report as one self-contained HTML page and as Markdown."""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from importlib import resources
from itertools import groupby
from typing import NamedTuple

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from skiptrace.report.glossary import GLOSSARY
from skiptrace.report.rendering.document import (
    Block,
    Cell,
    Context,
    Contexts,
    Example,
    Examples,
    Excerpt,
    Figure,
    Link,
    Question,
    Report,
    Section,
    SkipTrigram,
    Table,
    Tokens,
    Tool,
)
from skiptrace.report.rendering.formulas import mathml
from skiptrace.report.rendering.packing import compressed
from skiptrace.report.rendering.tokens import plain_markdown, to_html, to_markdown, visible

# Modules in the order in which they may use each other; the page has them as one.
SCRIPTS = (
    "page.js", "address.js", "tokens.js", "csv.js", "tables.js", "matrix.js", "explorer.js", "skips.js", "maps.js",
    "patterns.js", "cards.js", "figures.js", "switch.js", "start.js",
)  # fmt: skip
SHARED = "/* styles of drawings */"  # where they stand in the page
ROWS = 4  # of a table in Markdown; the page has all
FILTERED, SEARCHED = 8, 16  # rows from which a table has filters, and a search field
CHOICES = 24  # values up to which a column of text is a filter


def html(report: Report) -> str:
    """The page: styles, scripts, figures and data inside it; its policy forbids it to fetch anything."""
    theme, script = _asset("theme.js"), _joined(SCRIPTS)
    return _with_shared_styles(
        html_environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            parts=parts(report),
            theme=Markup(theme),
            script=Markup(script),
            library=Markup(_library()),
            shared=Markup(SHARED),
            hashes=[_digest(theme), _digest(script)],
        )
    )


def _with_shared_styles(page: str) -> str:
    """The page with each style of its drawings named once, in place of a copy on every line of them."""
    names: dict[str, str] = {}

    def named(style: re.Match[str]) -> str:
        return f' class="{names.setdefault(style.group(1), f"d{len(names)}")}"'

    def inside(drawing: re.Match[str]) -> str:
        return drawing.group(1) + re.sub(
            r"<[^>]+>", lambda tag: re.sub(r' style="([^"]*)"', named, tag.group()), drawing.group(2)
        )

    page = re.sub(r"(<svg[^>]*>)(.*?</svg>)", inside, page, flags=re.DOTALL)
    rules = "".join(f".{name}{{{style}}}" for style, name in names.items())
    return page.replace(SHARED, rules, 1)


class Shown(NamedTuple):
    """Sections in succession that belong to one question, or to none; `groups` are they by what they are about."""

    question: Question | None
    sections: list[Section]

    @property
    def groups(self) -> list[tuple[str, list[Section]]]:
        """The name of each group, in their order, and its sections."""
        names = dict.fromkeys(section.group for section in self.sections)
        return [(name, [s for s in self.sections if s.group == name]) for name in names]


def parts(report: Report) -> list[Shown]:
    """The sections of a report by their questions."""
    asked = {question.anchor: question for question in report.questions}
    grouped = groupby(report.sections, lambda section: section.question)
    return [Shown(asked.get(anchor), list(sections)) for anchor, sections in grouped]


def html_environment(*packages: str) -> Environment:
    """What renders sections as HTML (`section.html.j2`), with the templates of `packages` as well."""
    environment = _environment(packages, autoescape=True)
    environment.filters |= {"cell": _html_cell, "prose": _prose, "svg": _inline, "order": _order}
    environment.filters |= {"formula": mathml, "named": _named}
    environment.globals |= {
        "is_a": _is_a,
        "sortable": _sortable,
        "filters": _filters,
        "help": _help,
        "searched": SEARCHED,
        "style": Markup(_asset("page.css")),
    }
    return environment


def markdown(report: Report, figures: str) -> str:
    """The same content as GitHub-flavoured Markdown; images are linked in the folder `figures`.

    What a folded part says of its model as others say it of theirs is left to the page, lest the text be too long.
    """
    environment = markdown_environment(prose=str, most=ROWS)
    shown = parts(report)
    elsewhere = {s.short for part in shown if part.question and not part.question.folded for s in part.sections}
    return environment.get_template("report.md.j2").render(
        report=report, parts=shown, figures=figures, elsewhere=elsewhere
    )


def markdown_environment(*packages: str, prose: Callable[[str], str], most: int | None = None) -> Environment:
    """What renders sections as Markdown (`section.md.j2`), with the templates of `packages` as well.

    `prose` is what becomes of titles, paragraphs and captions: `str`, or `inert_prose` where they hold foreign text;
    `most` are the rows of a table that are shown, all where it is left out.
    """
    environment = _environment(packages, autoescape=False)
    environment.filters |= {"cell": _markdown_cell, "prose": prose}
    environment.globals |= {"is_a": _is_a, "shown": lambda table: table.rows[:most]}
    return environment


def inert_prose(text: str) -> str:
    """Text in which nothing but the `code` between backticks is Markdown."""
    parts = text.split("`")
    return "".join(f"<code>{plain_markdown(p)}</code>" if i % 2 else plain_markdown(p) for i, p in enumerate(parts))


def _asset(name: str) -> str:
    return (resources.files("skiptrace.report") / "templates" / name).read_text(encoding="utf-8")


def _joined(modules: tuple[str, ...]) -> str:
    """The modules as one, without what they import from and export to each other."""
    text = "".join(_asset(name) for name in modules)
    return re.sub(r"^export (?=\w)", "", re.sub(r"^import [^;]*;\n+", "", text, flags=re.M), flags=re.M)


def _library() -> str:
    """DataTables, as the itables wheel carries it: a module that the page imports from its own text."""
    return compressed((resources.files("itables") / "html" / "dt_bundle.js").read_bytes())


def _digest(script: str) -> str:
    """The name under which the page's policy lets this one script run."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def _environment(packages: tuple[str, ...], autoescape: bool) -> Environment:
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package) for package in ("skiptrace.report", *packages)]),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["capital"] = lambda text: text[:1].upper() + text[1:]
    return environment


def _named(block: Block) -> str:
    """What a table or a figure is called where it is folded: its heading, or the first words of its caption."""
    if isinstance(block, Figure):
        return block.heading
    caption = block.caption if isinstance(block, Table) else ""
    first = re.split(r"[.:;](?:\s|$)|, | \(", caption, maxsplit=1)[0]
    # A letter that stands by itself is a symbol, and stays as it is.
    return f"Table: {first[:1].lower() if first[1:2].islower() else first[:1]}{first[1:]}"


def _is_a(block: Block, kind: str) -> bool:
    return type(block).__name__ == kind


def _sortable(table: Table) -> bool:
    """Whether every row stands for itself: one that begins with nothing goes on with the row above it."""
    return all(row[0] != "" for row in table.rows)


def _filters(table: Table) -> list[int]:
    """The columns of words with so few values that one picks among them."""
    if len(table.rows) < FILTERED:
        return []
    found = []
    for place, column in enumerate(table.columns):
        values = {row[place] for row in table.rows}
        plain = not column.numeric and all(isinstance(value, str) and not value[:1].isdigit() for value in values)
        if plain and 2 <= len(values) <= min(CHOICES, len(table.rows) // 2):
            found.append(place)
    return found


def _help(tool: Tool) -> str:
    """What the columns of a tool hold, by their names, as JSON."""
    return json.dumps({column.name: column.help for column in tool.help})


def _order(cell: Cell) -> str:
    """What a cell of numbers is sorted by: the first number in it, NaN where there is none."""
    number = re.search(r"[-+−]?\d[\d,]*(\.\d+)?(e[-+]?\d+)?", cell) if isinstance(cell, str) else None
    return number.group().replace(",", "").replace("−", "-").lstrip("+") if number else "NaN"


def _html_cell(cell: Cell) -> Markup:
    if isinstance(cell, Tokens):
        return Markup(" ".join(to_html(t) for t in cell.texts))
    if isinstance(cell, SkipTrigram):
        return Markup("{} … {} → {}").format(*(Markup(to_html(t)) for t in cell))
    if isinstance(cell, Examples):
        return Markup("".join(_html_example(e) for e in cell.rows))
    if isinstance(cell, Contexts):
        return Markup("".join(_html_context(c) for c in cell.rows))
    if isinstance(cell, Excerpt):
        return _html_excerpt(cell)
    if isinstance(cell, Link):
        return Markup('<a href="{}">{}</a>').format(cell.address, cell.text)
    return escape(cell.replace(" ± ", "\u00a0±\u00a0"))


def _html_example(example: Example | Excerpt) -> Markup:
    if isinstance(example, Excerpt):
        return Markup('<blockquote class="place">{}</blockquote>').format(_html_excerpt(example))
    tokens = " ".join([to_html(example.source), str(escape(example.between)), *map(to_html, example.rest)])
    return Markup(f'<div class="example">{tokens}</div>')


def _html_excerpt(excerpt: Excerpt) -> Markup:
    return Markup("").join(
        Markup('<mark class="{0}" title="{0}">{1}</mark>').format(role, text) if role else escape(text)
        for text, role in excerpt.parts
    )


def _html_context(context: Context) -> Markup:
    before, after = ("".join(map(visible, side)) for side in (context.before, context.after))
    text = f"{escape(before)}<mark>{escape(visible(context.token))}</mark>{escape(after)}"
    return Markup(f'<div class="example"><code class="token">{text}</code></div>')


APART = re.compile(r"(`[^`]*`|\[[^\[\]]+\]\((?:https://|#)[^()\s]+\))")  # code and links, whole
LINK = re.compile(r"\[([^\[\]]+)\]\(((?:https://|#)[^()\s]+)\)")
NAMES = "|".join(sorted(map(re.escape, GLOSSARY), key=len, reverse=True))
TERMS = re.compile(rf"(?<![\w-])(?!source text)(?:{NAMES})s?\b", re.I)  # which is no token
MEANINGS = {term.lower(): meaning for term, meaning in GLOSSARY.items()}


def _prose(text: str) -> Markup:
    """Escaped text with `code` between backticks, [links](https://…), and each term of the glossary explained once."""
    seen: set[str] = set()

    def explained(found: re.Match[str]) -> str:
        term = found.group().lower()
        term = term if term in MEANINGS else term.removesuffix("s")
        if term in seen:
            return found.group()
        seen.add(term)
        return f'<abbr title="{escape(MEANINGS[term])}">{found.group()}</abbr>'

    made = []
    for i, part in enumerate(APART.split(text)):
        safe = str(escape(part))
        if i % 2 == 0:
            made.append(TERMS.sub(explained, safe))
        elif part.startswith("`"):
            made.append(f"<code>{safe[1:-1]}</code>")
        else:
            made.append(LINK.sub(r'<a href="\2">\1</a>', safe))
    return Markup("".join(made))


def _markdown_cell(cell: Cell) -> str:
    if isinstance(cell, Tokens):
        return " ".join(to_markdown(t) for t in cell.texts)
    if isinstance(cell, SkipTrigram):
        return "{} … {} → {}".format(*map(to_markdown, cell))
    if isinstance(cell, Examples):
        return "<br>".join(map(_markdown_example, cell.rows))
    if isinstance(cell, Contexts):
        return "<br>".join(_markdown_context(c) for c in cell.rows)
    if isinstance(cell, Excerpt):
        return _markdown_excerpt(cell)
    if isinstance(cell, Link):
        return f"[{plain_markdown(cell.text)}]({cell.address})"
    return plain_markdown(cell)


def _markdown_example(example: Example | Excerpt) -> str:
    if isinstance(example, Excerpt):
        return _markdown_excerpt(example)
    return "".join([to_markdown(example.source), plain_markdown(example.between), *map(to_markdown, example.rest)])


def _markdown_excerpt(excerpt: Excerpt) -> str:
    return "".join(f"<b>{plain_markdown(t)}</b>" if role else plain_markdown(t) for t, role in excerpt.parts)


def _markdown_context(context: Context) -> str:
    before, after = ("".join(map(visible, side)) for side in (context.before, context.after))
    return f"{plain_markdown(before)}{to_markdown(context.token)}{plain_markdown(after)}"


def _inline(figure: Figure) -> Markup:
    """The SVG element of a figure, its ids made unique in the page."""
    svg, prefix = figure.svg[figure.svg.index("<svg") :], figure.name

    def renamed(tag: re.Match[str]) -> str:
        named = re.sub(r'\bid="', f'id="{prefix}-', tag.group())
        return re.sub(r'(xlink:href="|url\()#', rf"\1#{prefix}-", named)

    svg = re.sub(r'(<image[^>]*?) id="[^"]*"', r"\1", svg)  # equal images, as of two colour bars, have equal ids
    svg = re.sub(r"<[^>]+>", renamed, svg)  # inside tags only: a token may look like an id
    size = re.search(r'width="([\d.]+)pt" height="[\d.]+pt"', svg)
    width = f"width:{float(size.group(1)) * 1.25:.0f}px" if size else ""
    svg = re.sub(r' width="[\d.]+pt" height="[\d.]+pt"', "", svg, count=1)
    return Markup(svg.replace("<svg", f'<svg role="img" aria-label="{escape(figure.title)}" style="{width}"', 1))
