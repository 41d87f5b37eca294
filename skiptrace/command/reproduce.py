"""`dvc repro`, saying which stage of how many it is at, and how long is left.

Reads   dvc.yaml, dvc.lock
        data/scratch/times/        how long each stage took here the last time
        docs/measured/times.json   how long it took where the README's figures come from, for stages that never ran here
Writes  docs/measured/times.json   under `--note`: the times noted here
"""

import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator

from skiptrace import errors
from skiptrace.command.doctor import Due, stages_due
from skiptrace.files import read_json, write_json
from skiptrace.layout import SHIPPED_TIMES, TIMES

# What dvc says of a stage, and what that is called here.
SAYS = {
    r"Running stage '(.+)':": "",
    r"Stage '(.+)' didn't change, skipping": "unchanged",
    r"Stage '(.+)' is cached - skipping run, checking out outputs": "restored from the cache",
}


def annotated(lines: Iterable[str], due: list[Due], shipped: dict[str, float]) -> Iterator[str]:
    """The lines of `dvc repro`; of each stage that is due, instead, which of how many it is, and the seconds left.

    `shipped` holds seconds of stages that `due` has none for; a stage that neither knows counts as nothing.
    """
    left = {each.stage: each.seconds if each.seconds is not None else shipped.get(each.stage, 0.0) for each in due}
    count = len(left)
    for line in lines:
        found = next(((m[1], how) for says, how in SAYS.items() if (m := re.fullmatch(says, line.strip()))), None)
        if found is None or found[0] not in left:
            yield line
            continue
        stage, how = found
        place, rest = f"[{count - len(left) + 1} of {count}]", sum(left.values())
        took = left.pop(stage)
        yield f"{place} {stage}: {how or f'takes {duration(took)}, {duration(rest)} left in all'}\n"


def duration(seconds: float) -> str:
    """As `50 s` or `3 min`."""
    return f"about {seconds:.0f} s" if seconds < 90 else f"about {seconds / 60:.0f} min"


def reproduce() -> int:
    """Run `dvc repro` and return its exit status; an interrupt is left to DVC, which gets it too."""
    due = stages_due()
    shipped = read_json(SHIPPED_TIMES) if SHIPPED_TIMES.exists() else {}
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What a stage draws on a terminal, it writes to standard error, which stays its own.
    with subprocess.Popen(
        ["dvc", "repro"],
        stdout=subprocess.PIPE,
        text=True,
        errors="replace",
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as running:
        signal.signal(signal.SIGTERM, lambda *_: running.terminate())
        assert running.stdout is not None
        for line in annotated(running.stdout, due, shipped):
            print(line, end="", flush=True)
    return running.returncode


def main() -> None:
    """Reproduce and exit as `dvc repro` did, or note how long the stages took."""
    if sys.argv[1:] == ["--note"]:
        write_json(SHIPPED_TIMES, {path.stem: read_json(path)["seconds"] for path in sorted(TIMES.glob("*.json"))})
    else:
        sys.exit(reproduce())


if __name__ == "__main__":
    errors.run(main)
