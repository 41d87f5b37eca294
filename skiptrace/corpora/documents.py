"""Documents: their schema, and the split that never cuts one in two."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from skiptrace.errors import InputError
from skiptrace.files import read_table

SCHEMA = pa.schema([("doc_id", pa.int64()), ("source", pa.string()), ("split", pa.string()), ("text", pa.string())])


class Document(NamedTuple):
    """A text and its identity: where it came from, the same on every machine."""

    source: str
    text: str


def split_of(source: str, valid_share: float) -> str:
    """`valid` for about `valid_share` of all sources, else `train`: a function of the name alone.

    Adding or removing other documents never moves a document across the split.
    """
    number = int.from_bytes(hashlib.sha256(source.encode()).digest()[:8], "big")
    return "valid" if number < valid_share * 2**64 else "train"


def to_table(documents: Iterable[Document], valid_share: float, name: str) -> pa.Table:
    """Number the documents in the order of their sources and split them.

    Raises:
        InputError: no document has text, or one side of the split is empty; names the corpus.
    """
    kept = sorted(d for d in documents if d.text.strip())
    if not kept:
        raise InputError(f"corpora.{name}: empty corpus; no file that matches include has text")
    splits = [split_of(d.source, valid_share) for d in kept]
    for side in ("train", "valid"):
        if side not in splits:
            raise InputError(
                f"corpora.{name}: none of its {len(kept)} documents falls into the {side} split; "
                "add documents (a file is one) or change valid_share"
            )
    return pa.table(
        [list(range(len(kept))), [d.source for d in kept], splits, [d.text for d in kept]],
        schema=SCHEMA,
    )


def texts(path: Path, split: str) -> list[str]:
    """Read the texts of one split (`train` or `valid`) from documents.parquet."""
    table = read_table(path, ["split", "text"])
    return table.filter(pc.equal(table["split"], split))["text"].to_pylist()
