"""From the bytes of one file to the documents in it, whatever its format; compressed or not."""

import ast
import json
import re
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

from skiptrace.config.corpora import TextParams
from skiptrace.corpora import columns, rows, text
from skiptrace.corpora.card import Notes
from skiptrace.corpora.compression import DAMAGED, Bytes, Opened, opened
from skiptrace.corpora.docstrings import docstrings, sentences, without_doctests
from skiptrace.corpora.documents import Document
from skiptrace.corpora.formats import BINARY, Format, NotText, damaged, format_of, refusal
from skiptrace.corpora.text import Window
from skiptrace.errors import InputError

# What others put between documents of one file.
SEPARATORS = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "[EOS]")


class NotParsed(Exception):
    """A source file from which no strings can be taken."""


def documents(source: str, file: Bytes, params: TextParams, notes: Notes) -> Iterator[Document]:
    """Yield the documents of one open file, read as what its first bytes show and its name promises.

    Rows are named `<source>#<number>`, counted from 1, and so are the pieces of text that is divided.

    Raises:
        InputError: the file is damaged, is not UTF-8, lacks the field of its text, or holds what its name does not
            say; names it and the line.
    """
    try:
        inner = opened(source, file)
        kind = format_of(source, inner.name, inner.content.head, params)
        if kind in BINARY:
            found = _numbered(source, _columns(source, file, inner, kind, params, notes))
        else:
            window = Window(source, text.decoded(source, inner.content, params, notes))
            if _is_parsed(inner.name, kind, window, params):
                window = Window(source, iter([_extracted(source, kind, window.rest(), params, notes)]))
                kind = Format.TEXT
            if kind is Format.TEXT:
                found = _texts(source, window, params)
            else:
                read = rows.csv_texts if kind is Format.CSV else rows.json_texts
                found = _numbered(source, read(source, window, params))
        yield from cleaned(found, params, notes, divided=kind is not Format.TEXT or params.separator is not None)
    except NotText as error:
        if params.encoding_errors != "skip":
            raise refusal(source, error) from None
        notes.skipped.add(source)
    except NotParsed:
        notes.unparsed.add(source)
    except (*DAMAGED, pa.ArrowException) as error:
        raise damaged(source, error) from None


def cleaned(found: Iterable[Document], params: TextParams, notes: Notes, divided: bool) -> Iterator[Document]:
    """The documents with characters replaced, none of them half a character, and separators noted.

    Raises:
        InputError: a text has half a character, unless that is replaced or skipped; or it is not `divided` and lines
            that are a well-known separator say that it should be.
    """
    table = {ord(k): v for k, v in params.replace.items()}
    for source, found_text in found:
        kept = found_text.translate(table) if table else found_text
        try:
            kept.encode()
        except UnicodeEncodeError:
            if params.encoding_errors == "refuse":
                raise InputError(
                    f"{source}: spells half a character (a lone surrogate); set encoding_errors to replace or skip"
                ) from None
            if params.encoding_errors == "skip":
                notes.skipped.add(source)
                continue
            notes.replaced.add(source)
            kept = re.sub("[\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", kept)
        for mark in SEPARATORS:
            if mark in kept:
                if not divided and re.search(rf"^[ \t]*{re.escape(mark)}[ \t]*$", kept, re.MULTILINE):
                    raise InputError(
                        f"{source}: lines of {mark} seem to separate documents; set separator: {json.dumps(mark)}, "
                        'or separator: "" to keep them'
                    )
                notes.separators.add(source)
                break
        yield Document(source, kept)


def _numbered(source: str, found: Iterator[rows.Row]) -> Iterator[Document]:
    return (Document(f"{source}#{number:09d}", row or "") for number, row in found)


def _columns(
    source: str, file: Bytes, inner: Opened, kind: Format, params: TextParams, notes: Notes
) -> Iterator[rows.Row]:
    if inner.compressed or not file.seekable():
        raise InputError(f"{source}: {BINARY[kind]} is compressed already; decompress the file around it")
    whole: Any = file
    whole.seek(0)
    return columns.arrow_texts(source, whole, kind, params, notes)


def _texts(source: str, window: Window, params: TextParams) -> Iterator[Document]:
    divided = params.cut is not None or bool(params.separator)
    for number, piece in enumerate(text.pieces(source, window, params), 1):
        yield Document(f"{source}#{number:09d}" if divided else source, piece)


def _is_parsed(name: str, kind: Format, window: Window, params: TextParams) -> bool:
    """Whether `extract` takes a file as a whole: Python, or JSON that is not lines."""
    if kind is Format.JSON:
        return params.extract == "strings" and not rows.is_lines(window)
    return params.extract != "all" and kind is Format.TEXT and name.lower().endswith(".py")


def _extracted(source: str, kind: Format, code: str, params: TextParams, notes: Notes) -> str:
    """What `extract` keeps of a source file; nothing is executed.

    That is the string values of JSON or the string literals of Python, one below the other, or docstrings that no
    earlier place had, a blank line between two, or of these the paragraphs.
    """
    try:
        if kind is Format.JSON:
            return "\n".join(rows.strings(json.loads(code)) if code.strip() else ())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes that do not exist, say
            if params.extract == "docstrings":
                return _docstrings(source, code, params, notes)
            literals = [node.value for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant)]
        return "\n".join(value for value in literals if isinstance(value, str))
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        if params.syntax_errors == "refuse":
            why = f"{error.msg}, line {error.lineno}" if isinstance(error, SyntaxError) else error
            raise InputError(
                f"{source}: no strings can be taken from it ({why}); exclude it, or set syntax_errors: skip"
            ) from None
        raise NotParsed from None


def _docstrings(source: str, code: str, params: TextParams, notes: Notes) -> str:
    found = docstrings(code)
    if params.doctests == "drop":
        found = [without_doctests(docstring) for docstring in found]
    if params.paragraphs == "sentences":
        found = [paragraph for docstring in found for paragraph in sentences(docstring)]
    kept = []
    for part in filter(None, found):
        if notes.is_new(part):
            kept.append(part)
        else:
            notes.repeated.add(source)
    return ("\n" if params.paragraphs == "sentences" else "\n\n").join(kept)
