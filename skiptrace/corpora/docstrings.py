"""What Python sources say about themselves: the docstrings of modules, classes and functions."""

import ast
import inspect
import re
from collections import deque
from collections.abc import Iterator

# An example, its continuation lines and its output, up to the next blank line, as the module doctest reads them.
DOCTEST = re.compile(r"^[ \t]*>>>(?: .*|$)(?:\n[ \t]*\S.*)*\n?", re.MULTILINE)
BLANK = re.compile(r"\n\s*\n\s*\n")
SHORTEST = 6  # words of a paragraph of running text
WORDS = 0.8  # share of its words that are letters alone, but for marks around them
WORD = re.compile(r"[(\"'“*`]*[A-Za-z]+(?:['’-][A-Za-z]+)*[)\"'”*`]*[.,;:?!]*[)\"'”]*")
END = re.compile(r"[.?!:][)\"'”]*$")


def docstrings(code: str) -> list[str]:
    """The docstrings of a source file in the order of their lines, without their indentation; nothing is executed.

    Raises:
        SyntaxError, ValueError, RecursionError: the source cannot be parsed.
    """
    found = []
    for node in _blocks(ast.parse(code)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node, clean=False)
            if text is not None:
                found.append((node.body[0].lineno, inspect.cleandoc(text)))
    return [text for _, text in sorted(found, key=lambda item: item[0])]


def _blocks(module: ast.Module) -> Iterator[ast.AST]:
    """Every statement, and what has statements in it, in the order of `ast.walk`, which spends its time on expressions.

    No expression holds a definition.
    """
    left = deque[ast.AST]([module])
    while left:
        node = left.popleft()
        yield node
        for part in ("body", "handlers", "cases", "orelse", "finalbody"):
            left.extend(getattr(node, part, ()))


def without_doctests(text: str) -> str:
    """A docstring without the examples after `>>>` and their output."""
    return BLANK.sub("\n\n", DOCTEST.sub("", text)).strip()


def sentences(text: str) -> list[str]:
    """The paragraphs of a docstring that are running text, each on one line.

    A paragraph ends at an empty line and where the indentation changes. It is running text when it has at least
    `SHORTEST` words, ends as a sentence does, and words of letters are at least `WORDS` of what stands between spaces.
    """
    found, lines, indent = [], list[str](), ""
    for line in [*text.split("\n"), ""]:
        stripped = line.strip()
        here = line[: len(line) - len(line.lstrip())]
        if lines and (not stripped or here != indent):
            found.append(" ".join(" ".join(lines).split()))
            lines = []
        indent = here
        if stripped:
            lines.append(stripped)
    return [paragraph for paragraph in found if _is_running(paragraph)]


def _is_running(paragraph: str) -> bool:
    parts = paragraph.split()
    words = sum(WORD.fullmatch(part) is not None for part in parts)
    return len(parts) >= SHORTEST and words >= WORDS * len(parts) and END.search(paragraph) is not None
