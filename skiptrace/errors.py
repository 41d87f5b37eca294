"""Errors a user can correct, reported in one line."""

import errno
import io
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

PACKAGE = Path(__file__).parent
# What torch, C++ libraries and the interpreter's threads raise as RuntimeError.
NO_MEMORY = re.compile(r"allocate memory|not enough memory|out of memory|start new thread|bad_alloc", re.IGNORECASE)


NAMELESS = "standard output, or another file without a name"
FULL = "free some of its disk, or of your share of it, and run the same command again"
# What to do about errors of the system, by number; of others the system's own words have to do.
REMEDIES = {
    errno.ENOSPC: FULL,
    errno.EDQUOT: FULL,
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.EACCES: "give yourself the right to read and write it",
    errno.EPERM: "give yourself the right to read and write it",
    errno.EROFS: "run it in a folder that can be written",
    errno.EIO: "the disk or the connection to it fails; see what the system says of it (dmesg)",
    errno.ENOENT: "make it again, or correct its name",
}


class InputError(Exception):
    """Something the user gave is wrong: the message names it and says what to do."""


def one_line(error: BaseException) -> str:
    """The message of `error` with its line breaks folded away, and what would steer a terminal written out."""
    return printable(" ".join(str(error).split()))


def printable(text: str) -> str:
    """Text that no terminal takes for a command: control characters become escapes."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def debugging() -> bool:
    """Whether `SKIPTRACE_DEBUG=1` asks for tracebacks."""
    return os.environ.get("SKIPTRACE_DEBUG") == "1"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that no memory was left; NumPy's and Arrow's are MemoryErrors."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and bool(NO_MEMORY.search(str(error))))


def _where(error: BaseException) -> str:
    """The innermost function of this package that an error came through, as in ` in composition.terms.frozen_runs`."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.is_relative_to(PACKAGE) and path != Path(__file__):
            return " in " + ".".join([*path.relative_to(PACKAGE).with_suffix("").parts, frame.name])
    return ""


def described(error: Exception, bounded_by: str = "") -> str:
    """What went wrong in one line; an error that is no InputError is named by its type.

    `bounded_by` names the keys of params.yaml that bound the memory needed. Where a reader says that a file cannot be
    read because no memory was left, the memory is named.
    """
    cause: BaseException | None = error
    while cause is not None:
        if is_out_of_memory(cause):
            remedy = f"lower {bounded_by} in params.yaml, or give it more" if bounded_by else "give it more"
            return f"out of memory{_where(cause)} ({one_line(cause) or type(cause).__name__}); {remedy}"
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, InputError):
        return one_line(error)
    if isinstance(error, OSError) and (error.filename is not None or error.errno in REMEDIES):
        # Whoever writes a result gives its name; print has none to give.
        name = NAMELESS if error.filename is None else printable(str(error.filename))
        return f"{name}: {error.strerror}; {REMEDIES.get(error.errno or 0, 'SKIPTRACE_DEBUG=1 shows where')}"
    return f"{type(error).__name__}: {one_line(error)} (SKIPTRACE_DEBUG=1 shows where)"


def run(main: Callable[[], None], bounded_by: str = "") -> None:
    """Call `main`; on failure print one line on standard error and exit with code 1.

    `bounded_by` names the keys of params.yaml that bound the memory that `main` needs.

    `SKIPTRACE_DEBUG=1` in the environment shows the traceback instead. What standard output cannot encode is written
    as an escape; if its reader has gone, as after `| head`, or there is none, as after `>&-`, nothing is reported.
    """
    _open_standard_files()
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        try:
            main()
        finally:
            # Here rather than at the interpreter's exit, which can only print a traceback if it fails.
            sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit("interrupted: run the same command again to continue")
    except BrokenPipeError:
        _drop_output()
        sys.exit(1)
    except Exception as error:
        if isinstance(error, OSError):
            _drop_output()
        if debugging():
            traceback.print_exc()
            sys.exit(1)
        sys.exit(f"error: {described(error, bounded_by)}")


def _open_standard_files() -> None:
    """Where standard input, output or error is closed, open the null device in its place.

    The next file to be opened would get its number, and whatever a library prints would be written into that file.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
    # These last as long as the process.
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def _drop_output() -> None:
    """Send what standard output still holds nowhere if it cannot be written: the interpreter would try again."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
