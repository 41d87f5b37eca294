"""Files seen from their first bytes on, and decompressed, whatever their name, within bounds."""

import bz2
import gzip
import sys
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from skiptrace.errors import InputError

HEAD = 2**16  # bytes of which a format is recognised
RATIO = 200  # bytes that one compressed byte may unfold to, beyond the first
FREE = 2**26
WINDOW = 31  # log2 of the largest window of zstd: all that `zstd --long=31` writes
SUFFIXES = (".gz", ".zst", ".zstd", ".bz2")


@runtime_checkable
class Bytes(Protocol):
    """A file of bytes, compressed or not, near or far."""

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes, at most `size`."""

    def seekable(self) -> bool:
        """Whether it can be read out of order."""


class Peeked:
    """A file read from its beginning, whose first bytes, `head`, can be seen before."""

    def __init__(self, file: Any) -> None:
        self._file = file
        blocks: list[bytes] = []
        missing = HEAD
        while missing and (block := file.read(missing)):
            blocks.append(block)
            missing -= len(block)
        self.head = self._kept = b"".join(blocks)
        self.taken = len(self.head)

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes, at most `size`; `taken` counts those that the file gave."""
        if self._kept:
            size = len(self._kept) if size < 0 else size
            block, self._kept = self._kept[:size], self._kept[size:]
            return block
        block = self._file.read(size)
        self.taken += len(block)
        return block

    def seekable(self) -> bool:
        """It is read in order."""
        return False


class Unfolding:
    """The content of a compressed file, which ends in an error where it grows beyond all proportion."""

    def __init__(self, source: str, outer: Peeked, opened: Any) -> None:
        self._source, self._outer, self._opened = source, outer, opened
        self._given = 0

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes, at most `size`."""
        block: bytes = self._opened.read(size)
        self._given += len(block)
        bound(self._source, self._given, self._outer.taken)
        return block


def bound(source: str, unfolded: int, size: int) -> None:
    """Refuse what unfolds beyond all proportion, out of so many bytes.

    Raises:
        InputError: it does.
    """
    if unfolded > FREE + RATIO * size:
        raise InputError(
            f"{source}: unfolds to more than {RATIO} times its size, which text does not; "
            "if it is meant, store it without compression"
        )


class Opened(NamedTuple):
    """A file, decompressed if it was compressed; `name` is that of its content."""

    name: str
    content: Peeked
    compressed: bool


# The three are declared to ask for more of a file than they use.
def _gzip(file: Any) -> Any:
    return gzip.GzipFile(fileobj=file)


def _zstd(file: Any) -> Any:
    return zstd.ZstdFile(file, options={zstd.DecompressionParameter.window_log_max: WINDOW})


def _bzip2(file: Any) -> Any:
    return bz2.BZ2File(file)


METHODS: tuple[tuple[Callable[[bytes], bool], Callable[[Any], Any]], ...] = (
    (lambda head: head.startswith(b"\x1f\x8b"), _gzip),
    (lambda head: head.startswith(b"\x28\xb5\x2f\xfd"), _zstd),
    (lambda head: head[1:4] == b"\x2a\x4d\x18" and head[0] >> 4 == 5, _zstd),  # a frame to skip, which pzstd writes
    (lambda head: head.startswith(b"BZh") and head[4:10] == b"1AY&SY", _bzip2),
)
DAMAGED = (OSError, EOFError, zlib.error, zstd.ZstdError)


def opened(source: str, file: Bytes) -> Opened:
    """Look at the first bytes of a file and decompress gzip, zstd and bzip2.

    Raises:
        OSError, EOFError, zlib.error, ZstdError: (`DAMAGED`) its beginning cannot be decompressed.
    """
    name = source[: source.rindex(".")] if source.lower().endswith(SUFFIXES) else source
    outer = Peeked(file)
    for fits, method in METHODS:
        if fits(outer.head):
            return Opened(name, Peeked(Unfolding(source, outer, method(outer))), True)
    return Opened(name, outer, False)
