"""Errors a user can mend, told in one line."""

import os
import sys
import traceback
from collections.abc import Callable


class InputError(Exception):
    """Something the user gave is wrong: the message names it and says what to do."""


def one_line(error: BaseException) -> str:
    """The message of `error` with its line breaks folded away."""
    return " ".join(str(error).split())


def run(main: Callable[[], None]) -> None:
    """Call `main`; on failure print one line on standard error and exit with code 1.

    `SKIPTRACE_DEBUG=1` in the environment shows the traceback instead.
    """
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted: run the same command again to continue")
    except Exception as error:
        if os.environ.get("SKIPTRACE_DEBUG") == "1":
            traceback.print_exc()
            sys.exit(1)
        if isinstance(error, InputError):
            sys.exit(f"error: {one_line(error)}")
        kind = type(error).__name__
        sys.exit(f"error: {kind}: {one_line(error)} (SKIPTRACE_DEBUG=1 shows where)")
