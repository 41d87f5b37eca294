"""Errors a user can correct, reported in one line."""

import io
import os
import sys
import traceback
from collections.abc import Callable


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


def described(error: Exception) -> str:
    """What went wrong in one line; an error that is no InputError is named by its type."""
    if isinstance(error, InputError):
        return one_line(error)
    return f"{type(error).__name__}: {one_line(error)} (SKIPTRACE_DEBUG=1 shows where)"


def run(main: Callable[[], None]) -> None:
    """Call `main`; on failure print one line on standard error and exit with code 1.

    `SKIPTRACE_DEBUG=1` in the environment shows the traceback instead. What standard output cannot encode is written
    as an escape; if its reader has gone, as after `| head`, nothing is reported.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        try:
            main()
        finally:
            # Here rather than at the interpreter's exit, which can only print a traceback if it fails.
            if sys.stdout is not None:
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
        sys.exit(f"error: {described(error)}")


def _drop_output() -> None:
    """Send what standard output still holds nowhere if it cannot be written: the interpreter would try again."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
