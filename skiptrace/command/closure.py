"""The code that a stage runs: its own module and all that it imports from this project, with a digest of each.

DVC does not follow imports. The first stage writes these digests, one file per stage, and each stage depends on its
own: a change of a module reruns the stages that import it, and no other.
"""

import ast
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from skiptrace.errors import InputError
from skiptrace.files import sha256

PACKAGES = ("skiptrace", "stages")
ENTRY = 'if __name__ == "__main__":'  # ends a module that `python -m` runs


def stages(root: Path) -> list[str]:
    """The names of all stages, in alphabetical order: modules of `stages` that can be run."""
    return sorted(path.stem for path in (root / "stages").glob("*.py") if ENTRY in path.read_text(encoding="utf-8"))


def digests(root: Path, stage: str) -> dict[str, str]:
    """SHA-256 of each file of `closure(root, stage)`, by its path from `root`."""
    return {path.as_posix(): sha256(root / path) for path in closure(root, stage)}


def written(root: Path, stage: str) -> str:
    """`digests` as the text of its file: sorted, so that equal code gives equal bytes."""
    return json.dumps(digests(root, stage), indent=1, sort_keys=True) + "\n"


def closure(root: Path, stage: str) -> list[Path]:
    """The files that running `stages.<stage>` may import, by their paths from `root`, in order.

    Imports are read, not run, wherever they stand but under `if TYPE_CHECKING`, so that one inside a function counts.
    A package's `__init__.py` counts if it holds more than its docstring, but for skiptrace's own: its names are
    resolved when they are asked for, which no stage does.

    Raises:
        InputError: a file is not valid Python; names it and the line.
    """
    found: set[Path] = set()
    met: set[str] = set()
    left = [Path("stages") / f"{stage}.py"]
    while left:
        path = left.pop()
        if path in found or not (root / path).is_file():
            continue
        is_empty, modules = imports((root / path).read_bytes(), path)
        if path.name == "__init__.py" and (is_empty or path.parent.as_posix() == "skiptrace"):
            continue
        found.add(path)
        left += [file for module in modules - met for file in _files(module)]
        met |= modules
    return sorted(found)


@cache  # most modules are in the closures of many stages
def imports(source: bytes, path: Path) -> tuple[bool, frozenset[str]]:
    """Whether a module holds nothing beside its docstring, and the dotted names of this project that it imports.

    `path` is relative to the root. Of `from a import b`, both `a` and `a.b` are names.

    Raises:
        InputError: it is not valid Python; names it and the line.
    """
    try:
        tree = ast.parse(source, str(path))
    except (SyntaxError, ValueError) as error:
        raise InputError(f"{path}: {error}; correct it, or restore it with git checkout {path}") from None
    is_empty = all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in tree.body)
    return is_empty, frozenset(name for name in _imported(tree, path) if name.partition(".")[0] in PACKAGES)


def _imported(tree: ast.AST, path: Path) -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            yield from _imported(ast.Module(node.orelse, []), path)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = path.parts[: len(path.parts) - node.level] if node.level else ()
            module = ".".join([*package, *filter(None, [node.module])])
            yield from (module, *(f"{module}.{alias.name}" for alias in node.names))
        elif isinstance(node, ast.stmt | ast.excepthandler | ast.match_case):  # expressions hold no imports
            yield from _imported(node, path)


def _files(module: str) -> list[Path]:
    """Where a dotted name may stand: as a module, and as the packages that importing it runs."""
    parts = module.split(".")
    packages = [Path(*parts[:n]) / "__init__.py" for n in range(1, len(parts) + 1)]
    return [Path(*parts).with_suffix(".py"), *packages]
