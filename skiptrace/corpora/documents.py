"""Documents: the split that never cuts one in two, and writing and reading them as a stream."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from skiptrace.corpora.card import Card, Notes, Size
from skiptrace.corpora.tables import DOCUMENTS
from skiptrace.errors import InputError
from skiptrace.files import open_table, table_writer

GROUP = 2**24  # characters of a row group: what writing, and reading again, holds in memory
SPLITS = ("train", "valid")


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


def write(documents: Iterable[Document], valid_share: float, name: str, notes: Notes, path: Path) -> Card:
    """Number the documents, split them and write them to `path`, whole or not at all; return what was seen.

    Documents without text and repetitions of an earlier text are left out and counted; of each text that was seen
    a digest is kept, 8 bytes, and of the documents one row group at a time.

    Raises:
        InputError: no document has text, or one side of the split is empty; names the corpus.
    """
    seen: set[int] = set()
    sizes = {split: Size(0, 0) for split in SPLITS}
    longest, empty, repeated, kept = ("", 0), 0, 0, 0
    rows: list[tuple[int, str, str, str]] = []
    waiting = 0
    with table_writer(path, DOCUMENTS.schema) as writer:

        def flush() -> None:
            columns = [list(column) for column in zip(*rows, strict=True)] or [[]] * len(DOCUMENTS.names)
            writer.write_table(pa.table(columns, schema=DOCUMENTS.schema))
            rows.clear()

        for source, text in documents:
            if not text.strip():
                empty += 1
                continue
            digest = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
            if digest in seen:
                repeated += 1
                continue
            seen.add(digest)
            split = split_of(source, valid_share)
            sizes[split] = Size(sizes[split].documents + 1, sizes[split].characters + len(text))
            longest = max(longest, (source, len(text)), key=lambda item: item[1])
            rows.append((kept, source, split, text))
            kept, waiting = kept + 1, waiting + len(text)
            if waiting >= GROUP:
                flush()
                waiting = 0
        flush()
        _check(sizes, kept, name, notes)
    return Card(
        train=sizes["train"],
        valid=sizes["valid"],
        empty=empty,
        duplicates=repeated,
        notes=notes,
        longest_source=longest[0],
        longest_characters=longest[1],
    )


def _check(sizes: dict[str, Size], kept: int, name: str, notes: Notes) -> None:
    if not kept:
        left_out = (
            (notes.unselected, "do not match"),
            (notes.skipped, "are not text"),
            (notes.unparsed, "do not parse"),
        )
        said = [f"; {t.count} {why}, such as {t.examples[0]!r}" for t, why in left_out if t.count]
        raise InputError(f"corpora.{name}: empty corpus; no file that matches include has text{''.join(said)}")
    for side in SPLITS:
        if not sizes[side].documents:
            raise InputError(
                f"corpora.{name}: none of its {kept} documents falls into the {side} split; "
                "add documents (a file is one) or change valid_share"
            )


def texts(path: Path, split: str) -> Iterator[str]:
    """Yield the texts of one split (`train` or `valid`) from documents.parquet, a row group in memory.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        with open_table(path) as file:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns=["split", "text"])
                for side, text in zip(table["split"].to_pylist(), table["text"].to_pylist(), strict=True):
                    if side == split:
                        yield text
    except (OSError, KeyError, pa.ArrowException) as error:
        raise InputError(f"{path}: not a readable Parquet file ({error}); reproduce its stage") from None
