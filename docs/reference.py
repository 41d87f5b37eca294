"""Write the pages of docs/ that come from declarations in the code: `make docs`."""

import types
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from skiptrace import catalogue
from skiptrace.config.corpora import FilesCorpus, HubCorpus, PackagesCorpus, PlantedCorpus
from skiptrace.config.dictionaries import ModelDictionaryParams, ToyDictionaryParams
from skiptrace.config.models import ImportedModel, ModelParams
from skiptrace.config.pipeline import SINGLE, tracked
from skiptrace.config.superposition import DEFAULTS, SuperpositionParams
from skiptrace.config.tokenizers import TokenizerParams

DOCS = Path(__file__).parent
GROUPS: dict[str, type[BaseModel]] = {
    "corpora.<c>, kind: packages": PackagesCorpus,
    "corpora.<c>, kind: files": FilesCorpus,
    "corpora.<c>, kind: hub": HubCorpus,
    "corpora.<c>, kind: planted": PlantedCorpus,
    "tokenizers.<c>": TokenizerParams,
    "models.<m>": ModelParams,
    "models.<m>, imported": ImportedModel,
    **SINGLE,
    "dictionaries.<d>, kind: toy": ToyDictionaryParams,
    "dictionaries.<d>, kind: model": ModelDictionaryParams,
}
TRACKED = tracked(DOCS.parent / "dvc.yaml")
HEAD = f"""# Parameters

Every key that params.yaml may hold, with its default and its meaning. A key without a default has to be given; of a
group that has defaults, only what differs has to be. Only {" and ".join(f"`{key}`" for key in TRACKED)}, which DVC
tracks one by one, have to be given in any case. `dvc repro` reruns the stages whose keys changed, and no others.
This page is written from the classes in `skiptrace/config/` by `make docs`.
"""
TABLES_HEAD = """# Tables

Every Parquet file that the pipeline writes, with its columns. `<c>` is a corpus, `<m>` a model, `<d>` a dictionary of
params.yaml. Floats are null where a quantity is undefined; other columns hold nulls only where their type says so. The
same sentences stand in the files, as the metadata `description` and `unit` of each column:
`pyarrow.parquet.read_schema("data/tables/one/heads.parquet").field("copying").metadata`.
[guide.md](guide.md#ask-the-files) asks questions of these files. This page is written from the declarations in
`skiptrace/*/tables.py` by `make docs`.
"""


def parameters() -> str:
    """The text of docs/parameters.md."""
    parts = [HEAD]
    for title, kind in GROUPS.items():
        said = (kind.__doc__ or "").split("\n")[0]
        parts.append(f"## `{title}`\n\n{said}\n\n| key | default | meaning |\n|---|---|---|\n{''.join(rows(kind))}")
    return "\n".join(parts)


def rows(kind: type[BaseModel], prefix: str = "", default: Any = None) -> Iterator[str]:
    """A line for each key, those of nested groups under their dotted names."""
    if kind is SuperpositionParams:
        default = DEFAULTS
    for name, field in kind.model_fields.items():
        key, inner = f"{prefix}{field.alias or name}", _group(field)
        given = default.get(name) if isinstance(default, dict) else None
        if inner is None:
            yield f"| `{key}` | {_shown(field, given)} | {_cell(field.description or '')} |\n"
        else:
            yield f"| **`{key}`** | | {_cell(field.description or '')} |\n"
            yield from rows(inner, f"{key}.", given)


def tables() -> str:
    """The text of docs/tables.md."""
    parts = [TABLES_HEAD]
    for room, found in groupby(catalogue.TABLES, key=lambda table: table.place.partition("/")[0]):
        parts.append(f"## data/{room}\n")
        for table in found:
            rows = [(f"`{c.name}`", f"{c.type}{', null' * bool(c.nulls)}", c.unit, c.meaning) for c in table.columns]
            said = "".join(f"| {' | '.join(map(_cell, row))} |\n" for row in rows)
            title = f"### `{table.place}.parquet`\n\n{table.meaning}"
            parts.append(f"{title}\n\n| column | type | unit | meaning |\n|---|---|---|---|\n{said}")
    return "\n".join(parts)


def _group(field: FieldInfo) -> type[BaseModel] | None:
    kinds = [field.annotation, *get_args(field.annotation)]
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def _shown(field: FieldInfo, given: Any) -> str:
    if given is not None:
        return f"`{_text(given)}`"
    if field.is_required():
        return f"`{get_args(field.annotation)[0]}`" if get_origin(field.annotation) is Literal else ""
    value = field.get_default(call_default_factory=True)
    optional = get_origin(field.annotation) in (Union, types.UnionType) and value is None
    return "none" if optional else f"`{_text(value)}`"


def _text(value: Any) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, list | tuple) else str(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    (DOCS / "parameters.md").write_text(parameters(), encoding="utf-8")
    (DOCS / "tables.md").write_text(tables(), encoding="utf-8")
