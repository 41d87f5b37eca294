"""Decoded text, read in blocks and in time that is linear in its length, and its division into documents."""

import codecs
import io
from collections.abc import Iterator

from skiptrace.config.corpora import TextParams
from skiptrace.corpora.card import Notes
from skiptrace.corpora.compression import Peeked
from skiptrace.corpora.formats import NotText, encoding
from skiptrace.errors import InputError

BLOCK = 2**20  # bytes read at once
LARGEST = 2**28  # characters of a document, or a line, that is read whole


def decoded(source: str, file: Peeked, params: TextParams, notes: Notes) -> Iterator[str]:
    """Text in blocks, its line ends made line feeds, without its byte-order mark.

    Raises:
        NotText: bytes that are no text in the encoding of the mark, UTF-8 without one, or a NUL; not if those
            are replaced.
    """
    codec, place = encoding(file.head)
    file.read(place)
    decoder = codecs.getincrementaldecoder(codec)("strict")
    newlines = io.IncrementalNewlineDecoder(None, translate=True)
    replacing = False
    while True:
        block = file.read(BLOCK)
        pending = len(decoder.getstate()[0])
        try:
            text = decoder.decode(block, final=not block)
            if "\0" in text:
                raise NotText("it has NUL characters, as binary files and UTF-16 without a byte-order mark do")
        except (UnicodeDecodeError, NotText) as error:
            if params.encoding_errors != "replace":
                if isinstance(error, NotText):
                    raise
                raise NotText(f"not {codec.upper()} at byte {place - pending + error.start}") from None
            if not replacing:
                notes.replaced.add(source)
            if isinstance(error, UnicodeDecodeError):
                before = decoder.getstate()
                decoder = codecs.getincrementaldecoder(codec)("replace")
                decoder.setstate(before)
                text = decoder.decode(block, final=not block)
            text, replacing = text.replace("\0", "\N{REPLACEMENT CHARACTER}"), True
        place += len(block)
        yield newlines.decode(text, final=not block)
        if not block:
            return


class Window:
    """The part of a stream of text that has been read and not yet taken: `text` from `start` on."""

    def __init__(self, source: str, blocks: Iterator[str]) -> None:
        self._source, self._blocks = source, blocks
        self.text, self.start = "", 0

    def grow(self) -> bool:
        """Read on, to at least twice as much, so that searching again and again stays linear; False at the end.

        Raises:
            InputError: what waits is larger than any document may be.
        """
        parts = [self.text[self.start :]]
        before = size = len(parts[0])
        if size > LARGEST:
            raise InputError(
                f"{self._source}: one document or line of more than {LARGEST:,} characters; "
                "set cut or separator to divide text"
            )
        while size < 2 * before + 1 and (block := next(self._blocks, None)) is not None:
            parts.append(block)
            size += len(block)
        self.text, self.start = "".join(parts), 0
        return size > before

    def take(self, end: int) -> str:
        """The text up to a place in `text`, which leaves the window."""
        taken, self.start = self.text[self.start : end], end
        return taken

    def until(self, mark: str) -> str | None:
        """The text before the next mark, which leaves the window together with the mark; None where none follows."""
        searched = 0
        while (end := self.text.find(mark, self.start + searched)) < 0:
            searched = max(len(self.text) - self.start - len(mark) + 1, 0)
            if not self.grow():
                return None
        taken = self.take(end)
        self.start += len(mark)
        return taken

    def rest(self) -> str:
        """All that is left."""
        while self.grow():
            pass
        return self.take(len(self.text))

    def lines(self) -> Iterator[str]:
        """The lines that are left, without their ends."""
        while (line := self.until("\n")) is not None:
            yield line
        if rest := self.rest():
            yield rest


def pieces(source: str, window: Window, params: TextParams) -> Iterator[str]:
    """The documents of a text: what stands between separators, without line ends around it, cut where it is long."""
    if not params.separator:
        yield from [window.rest()] if params.cut is None else _cut(window, params.cut)
        return
    part: str | None = ""
    while part is not None:
        part = window.until(params.separator)
        inner = (window.rest() if part is None else part).strip("\n")
        if inner or part is not None:
            yield from [inner] if params.cut is None else _cut(Window(source, iter([inner])), params.cut)


def _cut(window: Window, cut: int) -> Iterator[str]:
    """End documents after the first line end beyond `cut`, or, in text that has none, at ten times that."""
    while True:
        start, most = window.start, window.start + 10 * cut
        line = window.text.find("\n", start + cut - 1, most)
        if line >= 0:
            yield window.take(line + 1)
        elif len(window.text) > most:
            yield window.take(most)
        elif not window.grow():
            break
    if rest := window.rest():
        yield rest
