"""Reading params.yaml: frozen models, and errors that name the key."""

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from skiptrace.errors import InputError


class Params(BaseModel):
    """A group of params.yaml: frozen, strict about types, and without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


P = TypeVar("P", bound=Params)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML 1.2 mapping, as DVC does: 1e-5 is a number.

    Raises:
        InputError: the file is missing, is not YAML, or is not a mapping.
    """
    try:
        content = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    except (YAMLError, ValueError) as error:
        raise InputError(f"{path}: not valid YAML ({error})") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a mapping of groups such as corpora and models")
    return content


def check(kind: type[P], value: Any, key: str, path: Path) -> P:
    """Turn a plain mapping, found at the dotted `key` of `path`, into a `kind`.

    Raises:
        InputError: naming every offending key.
    """
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise InputError(f"{path}: {'; '.join(_told(e, key) for e in error.errors())}") from None


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


def _told(error: Any, key: str) -> str:
    name = ".".join([key, *map(str, error["loc"])])
    if error["type"] == "extra_forbidden":
        return f"{name}: unknown key"
    if error["type"] == "missing":
        return f"{name}: missing"
    message = error["msg"].removeprefix("Value error, ")
    given = "" if isinstance(error["input"], dict) else f", got {error['input']!r}"
    return f"{name}: {message[0].lower() + message[1:]}{given}"
