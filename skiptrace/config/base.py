"""Reading params.yaml: frozen models, and errors that name the key."""

import copy
import functools
import reprlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from skiptrace.errors import InputError

LARGEST = 4_000_000  # bytes of a YAML file, which is read at about 300 kB a second
MOST = 100_000  # values of a YAML file after its aliases are unfolded
REPORTED = 5  # errors that one message lists


class Params(BaseModel):
    """A group of params.yaml: frozen, strict about types, finite, and without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


P = TypeVar("P", bound=Params)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML 1.2 mapping, as DVC does: 1e-5 is a number.

    Raises:
        InputError: the file is missing, is not YAML, is not a mapping, or is larger, more deeply nested or with more
            aliases than a file of parameters is.
    """
    with _named(path):
        content = copy.deepcopy(_parsed(bounded_yaml(path)))
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a mapping of groups such as corpora and models")
    return content


def bounded_yaml(path: Path) -> str:
    """The text of a YAML file that any parser reads in seconds.

    Raises:
        InputError: it is missing, is not YAML, or is larger, or with more aliases, than a file of parameters is.
    """
    with _named(path):
        if path.stat().st_size > LARGEST:
            raise InputError(f"{path}: larger than {LARGEST / 1e6:g} MB; parameters take a few kB")
        text = path.read_text(encoding="utf-8")
        if "&" in text and _unfolded(YAML(typ="safe", pure=True).compose(text), {}) > MOST:
            raise InputError(f"{path}: its aliases (*name) unfold to more than {MOST:,} values; write out fewer")
    return text


@functools.lru_cache(maxsize=4)
def _parsed(text: str) -> Any:
    """What a text of YAML holds, not to be changed; a stage asks the same file for several groups."""
    return YAML(typ="safe", pure=True).load(text)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Errors of reading YAML name the file."""
    try:
        yield
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    except (YAMLError, ValueError) as error:
        raise InputError(f"{path}: not valid YAML ({error})") from None
    except RecursionError:
        raise InputError(f"{path}: nested too deeply; parameters are a few levels deep") from None


def _unfolded(node: Node | None, known: dict[int, float]) -> float:
    """How many values a node is when every alias in it is replaced by what it stands for; infinite for a cycle."""
    if not isinstance(node, MappingNode | SequenceNode):
        return 1.0
    if id(node) not in known:
        known[id(node)] = float("inf")  # met again before it is counted, it holds itself
        parts = [n for pair in node.value for n in pair] if isinstance(node, MappingNode) else node.value
        known[id(node)] = 1.0 + sum(_unfolded(part, known) for part in parts)
    return known[id(node)]


def check(kind: type[P], value: Any, key: str, path: Path) -> P:
    """Turn a plain mapping, found at the dotted `key` of `path`, into a `kind`.

    Raises:
        InputError: naming every offending key.
    """
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        # What is there and wrong comes first: a key that is missing is often one that has another name.
        errors = sorted(error.errors(include_url=False, include_context=False), key=lambda e: e["type"] == "missing")
        more = f"; and {len(errors) - REPORTED} more" if len(errors) > REPORTED else ""
        raise InputError(f"{path}: {'; '.join(_message(e, key) for e in errors[:REPORTED])}{more}") from None


def find(key: str, path: Path) -> Any:
    """Return what stands at the dotted `key` (such as `models.one`) of a YAML file.

    Raises:
        InputError: the key is absent; the message lists the keys that are there.
    """
    value: Any = read_yaml(path)
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            known = ", ".join(map(str, value)) if isinstance(value, dict) else "no keys"
            raise InputError(f"{path}: {key}: no such key; there is {known}")
        value = value[part]
    return value


def load(kind: type[P], key: str, path: Path = Path("params.yaml")) -> P:
    """Read the group at the dotted `key` as `kind`.

    Raises:
        InputError: the key is absent or its content is wrong.
    """
    return check(kind, find(key, path), key, path)


def _message(error: Any, key: str) -> str:
    name = ".".join([key, *map(str, error["loc"])])
    if error["type"] == "extra_forbidden":
        return f"{name}: unknown key"
    if error["type"] == "missing":
        return f"{name}: missing"
    message = error["msg"].removeprefix("Value error, ")
    given = "" if isinstance(error["input"], dict) else f", got {reprlib.repr(error['input'])}"
    return f"{name}: {message[0].lower() + message[1:]}{given}"
