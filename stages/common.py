"""What all stages share: where data lives, the name a stage is asked for, and how long it took."""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

from skiptrace import errors
from skiptrace.files import temporaries_in, write_json

PARAMS = Path("params.yaml")
LOCK = Path("requirements.lock")
IMPORTS = Path("imports")  # tokenizers and checkpoints made elsewhere
IMPORTED = Path("data/imports")  # their content hashes, one file for each corpus and model
CORPORA = Path("data/corpora")
TOKENS = Path("data/tokens")
NGRAMS = Path("data/ngrams")
MODELS = Path("data/models")
CIRCUITS = Path("data/circuits")
TABLES = Path("data/tables")
EVIDENCE = Path("data/evidence")
COMPOSE = Path("data/compose")
SUPERPOSITION = Path("data/superposition")
DICTIONARY = Path("data/dictionary")
SCRATCH = Path("data/scratch")  # what an interrupted stage continues from; no DVC output
TIMES = SCRATCH / "times"  # how long each stage took last, for `skiptrace doctor`; no output may hold a time
REPORTS = Path("reports")


def asked_for(kind: str, description: str | None) -> str:
    """The value of the stage's one option, such as `--corpus NAME` or `--model NAME`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(f"--{kind}", required=True, metavar="NAME", help=f"a key of {PARAMS}")
    return str(getattr(parser.parse_args(), kind))


def run(main: Callable[[], None]) -> None:
    """Run a stage; if it succeeds, note the seconds it took under its name, as in `train@one`.

    A training that continues an interrupted one counts its last part alone.
    """

    def timed() -> None:
        started = time.monotonic()
        with temporaries_in(SCRATCH / "partial"):
            main()
        instance = [value for value in sys.argv[1:] if not value.startswith("-")]
        name = "@".join([Path(sys.argv[0]).stem, *instance])
        write_json(TIMES / f"{name}.json", {"seconds": round(time.monotonic() - started, 1)})

    errors.run(timed)
