"""What Python sources say about themselves: the docstrings of modules, classes and functions."""

import ast
import inspect
import re

# An example, its continuation lines and its output, up to the next blank line, as the module doctest reads them.
DOCTEST = re.compile(r"^[ \t]*>>>(?: .*|$)(?:\n[ \t]*\S.*)*\n?", re.MULTILINE)
BLANK = re.compile(r"\n\s*\n\s*\n")


def docstrings(code: str) -> list[str]:
    """The docstrings of a source file in the order of their lines, without their indentation; nothing is executed.

    Raises:
        SyntaxError, ValueError, RecursionError: the source cannot be parsed.
    """
    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node, clean=False)
            if text is not None:
                found.append((node.body[0].lineno, inspect.cleandoc(text)))
    return [text for _, text in sorted(found, key=lambda item: item[0])]


def without_doctests(text: str) -> str:
    """A docstring without the examples after `>>>` and their output."""
    return BLANK.sub("\n\n", DOCTEST.sub("", text)).strip()
