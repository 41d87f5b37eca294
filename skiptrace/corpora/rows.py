"""Files of many texts: JSON and delimited columns; columns.py has Parquet and Arrow.

One rule for all: a text that is null, or whose field a row lacks, is a document without text; text of another type,
or a field that no row has, is an error.
"""

import csv
import json
from collections.abc import Iterator
from json import JSONDecodeError, JSONDecoder
from typing import Any

from skiptrace.config.corpora import TextParams
from skiptrace.corpora.text import LARGEST, Window
from skiptrace.errors import InputError

PATIENCE = 1000  # rows without the field after which the field is wrong
DELIMITERS = ",;\t|"
NEAR = 16  # characters before the end of what was read, where JSON may only be cut off
Row = tuple[int, str | None]
KINDS = {int: "a number", float: "a number", bool: "true or false", list: "a list", dict: "a mapping"}


class Field:
    """The field of rows that holds their text."""

    def __init__(self, source: str, name: str, ways: str = "set text_field") -> None:
        self._source, self._name, self._ways = source, name, ways
        self._missing, self._found, self._there = 0, False, ""

    def of(self, row: Any, place: str) -> str | None:
        """The text of a row, which may be a string itself; None where there is none.

        Raises:
            InputError: it is no text, or no row so far had the field and they were many.
        """
        value = row.get(self._name, ...) if isinstance(row, dict) else row
        if value is ...:
            self._missing += 1
            self._there = self._there or ", ".join(map(str, row)) or "none"
            if self._missing == PATIENCE:
                self.check()
            return None
        self._found = True
        if value is not None and not isinstance(value, str):
            kind = KINDS.get(type(value), type(value).__name__)
            raise InputError(f"{self._source}: {place} has {kind}, no text, in the field {self._name!r}; {self._ways}")
        return value

    def check(self) -> None:
        """Check that some row had the field, if there was any.

        Raises:
            InputError: none had it; names the fields of the first.
        """
        if self._missing and not self._found:
            raise InputError(
                f"{self._source}: no row has the field {self._name!r}; {self._ways}; there is {self._there}"
            )


def json_texts(source: str, window: Window, params: TextParams) -> Iterator[Row]:
    """The texts of JSON lines, numbered by their lines, or of one value or an array of them, by their order."""
    field = Field(source, params.text_field, "set text_field, or format: text to keep JSON as it is")
    numbered = _lines(source, window) if is_lines(window) else _values(source, window)
    for number, place, value in numbered:
        if params.extract == "strings":
            yield number, "\n".join(strings(value))
        else:
            yield number, field.of(value, place)
    field.check()


def is_lines(window: Window) -> bool:
    """Whether each line is a value of its own, as far as the first two tell; one on a single line is not."""
    while not (text := window.text[window.start :].lstrip()).rstrip() or ("\n" not in text.rstrip()):
        if len(text) > LARGEST or not window.grow():
            return False
    if text.startswith("["):
        return False
    first, _, rest = text.partition("\n")
    second = rest.lstrip().partition("\n")[0]
    return _is_value(first) or (second.startswith(first[0]) and _is_value(second))


def _is_value(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _lines(source: str, window: Window) -> Iterator[tuple[int, str, Any]]:
    for number, line in enumerate(window.lines(), 1):
        if line.strip():
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                why = f"{error.msg} at column {error.colno}" if isinstance(error, JSONDecodeError) else error
                raise InputError(f"{source}: line {number} is not JSON ({why})") from None
            yield number, f"line {number}", value


def _values(source: str, window: Window) -> Iterator[tuple[int, str, Any]]:
    """One value after the other, or those of an array, of which one at a time is in memory."""
    array = _next(window) == "["
    number = 0
    if array:
        window.start += 1
    while (mark := _next(window)) and not (array and mark == "]"):
        if array and number:
            if mark != ",":
                raise InputError(f"{source}: not JSON after value {number}: a comma or ] is missing")
            window.start += 1
            _next(window)
        number += 1
        yield number, f"value {number}", _value(source, window, number)
    if array and not mark:
        raise InputError(f"{source}: not JSON after value {number}: the array does not end")
    if array:
        window.start += 1
        if _next(window):
            raise InputError(f"{source}: not JSON: more follows the end of its array")


def _next(window: Window) -> str:
    """The next character that is not white space, at which the window then starts; empty at the end."""
    while True:
        text, place = window.text, window.start
        while place < len(text) and text[place] in " \n\t\r":
            place += 1
        window.start = place
        if place < len(text):
            return text[place]
        if not window.grow():
            return ""


def _value(source: str, window: Window, number: int) -> Any:
    while True:
        try:
            value, end = JSONDecoder().raw_decode(window.text, window.start)
            size = end - window.start
            # A number that ends near the end of what was read may go on.
            if end + NEAR < len(window.text) or not window.grow():
                window.take(window.start + size)
                return value
        except JSONDecodeError as error:
            cut_off = error.msg.startswith("Unterminated string") or error.pos > len(window.text) - NEAR
            if not cut_off or not window.grow():
                raise InputError(f"{source}: not JSON at value {number} ({error.msg})") from None
        except (ValueError, RecursionError) as error:
            raise InputError(f"{source}: not JSON at value {number} ({error})") from None


def strings(value: Any) -> Iterator[str]:
    """The string values inside a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from strings(item)


def csv_texts(source: str, window: Window, params: TextParams) -> Iterator[Row]:
    """The texts of a column of a file whose first line names the columns, whichever delimiter stands between them."""
    csv.field_size_limit(LARGEST)
    lines = (line + "\n" for line in window.lines())
    first = next(lines, "")
    heads = {delimiter: _cells(first, delimiter) for delimiter in DELIMITERS}
    found = [delimiter for delimiter, head in heads.items() if params.text_field in head]
    if first and not found:
        there = ", ".join(sorted(heads.values(), key=lambda head: len(head))[-1]) or "none"
        raise InputError(
            f"{source}: has no column {params.text_field!r}; set text_field, or format: text to keep the file "
            f"as it is; there is {there}"
        )
    delimiter = found[0] if found else ","
    head = heads[delimiter]
    column = head.index(params.text_field) if found else 0
    try:
        for number, row in enumerate(csv.reader(lines, delimiter=delimiter, strict=True), 1):
            if row and len(row) != len(head):
                raise InputError(f"{source}: row {number} has {len(row)} columns, not {len(head)} as its first line")
            if row:
                yield number, row[column]
    except csv.Error as error:
        raise InputError(f"{source}: not delimited columns ({error})") from None


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter, strict=True), [])
    except csv.Error:
        return []
