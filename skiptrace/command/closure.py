"""The code that a stage runs: its own module and all that it imports from this project, with a digest of each.

DVC does not follow imports. The first stage writes these digests, one file per stage, and each stage depends on its
own: a change of a module reruns the stages that import it, and no other.
"""

import ast
import json
from collections.abc import Iterator
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
    left = [Path("stages") / f"{stage}.py"]
    while left:
        path = left.pop()
        if path in found or not (root / path).is_file():
            continue
        tree = parsed(root / path)
        if path.name == "__init__.py" and (path.parts[0] == path.parent.as_posix() == "skiptrace" or _is_empty(tree)):
            continue
        found.add(path)
        for module in imported(tree):
            left += _files(module)
    return sorted(found)


def parsed(path: Path) -> ast.Module:
    """The syntax tree of a file.

    Raises:
        InputError: it is not valid Python; names it and the line.
    """
    try:
        return ast.parse(path.read_bytes(), str(path))
    except (SyntaxError, ValueError) as error:
        raise InputError(f"{path}: {error}; correct it, or restore it with git checkout {path}") from None


def imported(tree: ast.AST) -> Iterator[str]:
    """Dotted names of this project that a module imports; of `from a import b`, both `a` and `a.b`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            names = []
            yield from imported(node)
        yield from (name for name in names if name.partition(".")[0] in PACKAGES)


def _files(module: str) -> list[Path]:
    """Where a dotted name may stand: as a module, and as the packages that importing it runs."""
    parts = module.split(".")
    packages = [Path(*parts[:n]) / "__init__.py" for n in range(1, len(parts) + 1)]
    return [Path(*parts).with_suffix(".py"), *packages]


def _is_empty(tree: ast.Module) -> bool:
    return all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in tree.body)
