"""What all stages share: where data lives, the name a stage is asked for, and how long it took."""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from skiptrace import errors
from skiptrace.files import atomic, temporaries_in, write_json

PARAMS = Path("params.yaml")
LOCK = Path("requirements.lock")
OTHER_LOCKS = (Path("requirements-build.lock"), Path("requirements-torch.lock"))
IMPORTS = Path("imports")  # tokenizers and checkpoints made elsewhere
IMPORTED = Path("data/imports")  # their content hashes, one file for each corpus and model
ARITHMETIC = Path("data/arithmetic")  # how the processor computes that dvc.lock was written on
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
DVC_LOCK = Path("dvc.lock")
SOUND_LOCK = SCRATCH / "sound.lock"  # the last complete dvc.lock: DVC empties its own before it writes it
REPORTS = Path("reports")


def asked_for(kind: str, description: str | None) -> str:
    """The value of the stage's one option, such as `--corpus NAME` or `--model NAME`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(f"--{kind}", required=True, metavar="NAME", help=f"a key of {PARAMS}")
    return str(getattr(parser.parse_args(), kind))


def wrote(path: Path, text: str) -> None:
    """Say in one line of the log what a stage wrote and what came of it."""
    print(f"{path}: {text}", flush=True)


def keep_lock() -> None:
    """Copy dvc.lock to `SOUND_LOCK` if it is sound and has changed."""
    content = DVC_LOCK.read_bytes() if DVC_LOCK.exists() else b""
    kept = SOUND_LOCK.read_bytes() if SOUND_LOCK.exists() else b""
    if content != kept and is_sound(content):
        with atomic(SOUND_LOCK) as temporary:
            temporary.write_bytes(content)


def is_sound(lock: bytes) -> bool:
    """Whether these are the bytes of a dvc.lock that DVC can read, not of one that was cut short."""
    try:
        content = YAML(typ="safe").load(lock)
    except (YAMLError, ValueError):
        return False
    stages = content.get("stages", {}) if isinstance(content, dict) and content.get("schema") == "2.0" else None
    return lock.endswith(b"\n") and isinstance(stages, dict) and all(map(_is_stage, stages.values()))


def _is_stage(stage: Any) -> bool:
    if not isinstance(stage, dict) or not stage.get("cmd"):
        return False
    params, files = stage.get("params", {}), [stage.get("deps", []), stage.get("outs", [])]
    if not isinstance(params, dict) or not all(isinstance(group, dict) for group in params.values()):
        return False
    entries = [entry for group in files if isinstance(group, list) for entry in group]
    whole = all(isinstance(entry, dict) and "path" in entry and None not in entry.values() for entry in entries)
    return whole and all(isinstance(group, list) for group in files)


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
