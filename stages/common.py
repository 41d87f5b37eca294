"""What all stages share: the name a stage is asked for, its line in the log, and how long it took."""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from skiptrace import errors
from skiptrace.command.repair import keep_lock
from skiptrace.files import temporaries_in, write_json
from skiptrace.layout import MODELS, PARAMS, SCRATCH, TIMES


class _Parser(argparse.ArgumentParser):
    """Wrong usage is one line, as of the command, and exit code 2."""

    def error(self, message: str) -> NoReturn:
        stage = Path(sys.argv[0]).stem
        self.exit(2, f"error: {message}; see python -m stages.{stage} --help\n")


def asked_for(kind: str, description: str | None) -> str:
    """The value of the stage's one option, such as `--corpus NAME` or `--model NAME`."""
    parser = _Parser(description=description)
    parser.add_argument(f"--{kind}", required=True, metavar="NAME", help=f"a key of {PARAMS}")
    return str(getattr(parser.parse_args(), kind))


def twins_of(model: str) -> list[Path]:
    """The folders of the models of other seeds that were trained beside a model, by their numbers."""
    return sorted((MODELS / model / "twins").glob("*/"), key=lambda folder: int(folder.name))


def wrote(path: Path, text: str) -> None:
    """Say in one line of the log what a stage wrote and what came of it."""
    print(f"{path}: {text}", flush=True)


def run(main: Callable[[], None], bounded_by: str = "") -> None:
    """Run a stage; if it succeeds, note the seconds it took under its name, as in `train@one`.

    `bounded_by` names the keys of params.yaml that bound the memory it needs, for the line of one that runs out of it.

    A training that continues an interrupted one counts its last part alone.
    """

    def timed() -> None:
        started = time.monotonic()
        with temporaries_in(SCRATCH / "partial"):
            keep_lock()
            main()
        instance = [value for value in sys.argv[1:] if not value.startswith("-")]
        name = "@".join([Path(sys.argv[0]).stem, *instance])
        write_json(TIMES / f"{name}.json", {"seconds": round(time.monotonic() - started, 1)})

    errors.run(timed, bounded_by)
