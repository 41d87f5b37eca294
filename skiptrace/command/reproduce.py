"""`dvc repro`, in lanes that run side by side, saying which stage of how many it is at, and how long is left.

Reads   dvc.yaml, dvc.lock
        data/scratch/times/        how long each stage took here the last time
        docs/measured/times.json   how long it took where the README's figures come from, for stages that never ran here
Writes  docs/measured/times.json   under `--note`: the times noted here

A lane is a `dvc repro` of its own with stages that no stage of another lane needs or waits for. Lanes share the
processors: two trainings on one thread each take three quarters of the time that one after the other takes on two
(benchmarks/PROFILE.md), and many stages keep one processor busy and no more. What joins lanes comes last.
"""

import contextlib
import itertools
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import IO

from skiptrace import arithmetic, errors
from skiptrace.command.doctor import SAME_OUTPUT, Due, pipeline_graph, stages_due
from skiptrace.command.repair import nobody_writes
from skiptrace.errors import InputError
from skiptrace.files import read_json, write_json
from skiptrace.layout import SHIPPED_TIMES, TIMES

JOBS = "JOBS"  # the variable of `make report JOBS=2`
DEFAULT_JOBS = 2
THREADS = "OMP_NUM_THREADS"
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE = 10.0  # seconds in which DVC is to be between two writes, and an interrupted lane to end

# What dvc says of a stage, and what that is called here.
SAYS = {
    r"Running stage '(.+)':": "",
    r"Stage '(.+)' didn't change, skipping": "unchanged",
    r"Stage '(.+)' is cached - skipping run, checking out outputs": "restored from the cache",
}


class Plan:
    """The stages that are due, the lanes they run in, and the seconds that each has left."""

    def __init__(self, due: Sequence[Due], shipped: Mapping[str, float], lanes: Sequence[Sequence[str]] = ()) -> None:
        """`shipped` holds seconds of stages that `due` has none for; one that neither knows counts as none."""
        known = {d.stage: shipped.get(d.stage) if d.seconds is None else d.seconds for d in due}
        self.untimed = {stage for stage, seconds in known.items() if seconds is None}
        self.left = {stage: seconds or 0.0 for stage, seconds in known.items()}
        self.count = len(self.left)
        self.lanes = [set(lane) for lane in lanes]
        self._lock = threading.Lock()

    def annotated(self, lines: Iterable[str]) -> Iterator[str]:
        """The lines of `dvc repro`; of each stage that is due, instead, which of how many it is, and what is left."""
        for line in lines:
            found = next(((m[1], how) for says, how in SAYS.items() if (m := re.fullmatch(says, line.strip()))), None)
            with self._lock:
                yield line if found is None or found[0] not in self.left else self._place(*found)

    def _place(self, stage: str, how: str) -> str:
        place, rest = f"[{self.count - len(self.left) + 1} of {self.count}]", f"{duration(self._seconds())} left in all"
        if untimed := self.untimed & self.left.keys():
            rest += f", without {len(untimed)} not timed yet"
        took = self.left.pop(stage)
        takes = "not timed yet" if stage in untimed else f"takes {duration(took)}"
        return f"{place} {stage}: {how or f'{takes}, {rest}'}\n"

    def _seconds(self) -> float:
        """The longest lane, and what comes after the lanes."""
        lanes = [sum(self.left.get(stage, 0.0) for stage in lane) for lane in self.lanes]
        alone = self.left.keys() - set().union(*self.lanes)
        return max(lanes, default=0.0) + sum(self.left[stage] for stage in alone)


def duration(seconds: float) -> str:
    """As `50 s` or `3 min`."""
    return f"about {seconds:.0f} s" if seconds < 90 else f"about {seconds / 60:.0f} min"


def lanes(graph: Mapping[str, set[str]], seconds: Mapping[str, float], jobs: int) -> list[list[str]]:
    """Divide stages among at most `jobs` lanes of which none needs another, the longest parts first.

    `graph` has what each stage needs, in an order in which they can run, and `seconds` those that are to run. A stage
    that needs several parts makes one of them, unless that would take more than a lane's share of the time: it is then
    in no lane, nor is what needs it. Where no times are known, all stages take as long.
    """
    seconds = {stage: max(took, 1e-3) for stage, took in seconds.items()}
    due = [stage for stage in graph if stage in seconds and stage not in SAME_OUTPUT]
    share = sum(seconds[stage] for stage in due) / jobs
    part: dict[str, list[str] | None] = {}  # of each stage, the stages of its part
    for stage in due:
        needed = [part[before] for before in graph[stage] if before in part]
        parts = [found for i, found in enumerate(needed) if found is not None and found not in needed[:i]]
        joined = [*itertools.chain(*parts), stage]
        if None in needed or (len(parts) > 1 and sum(seconds[s] for s in joined) > share):
            part[stage] = None
        else:
            part |= dict.fromkeys(joined, joined)
    order = {stage: place for place, stage in enumerate(due)}
    members = {
        min(stages, key=order.__getitem__): sorted(stages, key=order.__getitem__) for stages in part.values() if stages
    }
    found: list[list[str]] = [[] for _ in range(jobs)]
    for stages in sorted(members.values(), key=lambda stages: -sum(seconds[s] for s in stages)):
        min(found, key=lambda lane: sum(seconds[s] for s in lane)).extend(stages)
    return [lane for lane in found if lane]


def reproduce(jobs: int) -> int:
    """Run `dvc repro` in lanes and return its exit status."""
    due, graph = stages_due(), pipeline_graph()
    plan = Plan(due, read_json(SHIPPED_TIMES) if SHIPPED_TIMES.exists() else {})
    divided = lanes(graph, plan.left, jobs)
    if len(divided) > 1:
        plan.lanes = [set(lane) for lane in divided]
        # `check` first, which all lanes need; each stage by itself, as DVC locks what it looks at.
        checks = [d.stage for d in due if d.stage in SAME_OUTPUT]
        for commands in ([["--single-item", *checks]] if checks else [], [["--single-item", *s] for s in divided]):
            if status := run(commands, plan):
                return status
    return run([[]], plan)


def run(commands: Sequence[Sequence[str]], plan: Plan) -> int:
    """Run one `dvc repro` with each list of arguments, at the same time; the first that fails stops the others.

    Each has a process group of its own: an interrupt from a terminal comes here alone, and is passed on when no DVC
    writes what it keeps. A second one is passed on at once.
    """
    started: list[subprocess.Popen[str]] = []
    failed: list[int] = []
    stopped: list[float] = []  # when lanes were interrupted
    signals: list[object] = []

    def stop(*signalled: object) -> None:
        stopped.append(time.monotonic())
        signals.extend(signalled[:1])
        interrupt(started, 0.0 if signalled and len(signals) > 1 else PATIENCE)

    def follow(process: subprocess.Popen[str]) -> None:
        _relay(plan.annotated(process.stdout or ()), sys.stdout)
        if process.wait():
            failed.append(process.returncode)
            if not stopped:
                stop()

    # Under nohup a hangup stays ignored.
    asked = [number for number in STOPS if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN]
    handlers = {number: signal.signal(number, stop) for number in asked}
    try:
        with ExitStack() as stack:
            for arguments in commands:
                if not stopped:
                    started.append(stack.enter_context(_start(arguments, len(commands))))
            threads = [threading.Thread(target=follow, args=[process]) for process in started]
            threads += [threading.Thread(target=_relay, args=[p.stderr, sys.stderr]) for p in started if p.stderr]
            for thread in threads:
                thread.start()
            for thread in threads:
                while thread.is_alive():
                    thread.join(PATIENCE)
                    # An interrupt can be lost, as in a library that is being imported.
                    if thread.is_alive() and stopped and stopped[-1] + PATIENCE < time.monotonic():
                        stop()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return failed[0] if failed else int(bool(stopped))


def _start(arguments: Sequence[str], count: int) -> subprocess.Popen[str]:
    """Start one of `count` `dvc repro`. One that is alone may draw on the terminal: standard error stays its own."""
    return subprocess.Popen(
        ["dvc", "--wait-for-lock", "repro", *arguments],
        env=threads(count) | os.environ,
        stdout=subprocess.PIPE,
        stderr=None if count == 1 else subprocess.PIPE,
        text=True,
        errors="replace",
        process_group=0,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def threads(count: int) -> dict[str, str]:
    """The variable that divides the processors among so many lanes, unless the kernels fix the threads themselves."""
    if count == 1 or THREADS in arithmetic.KERNELS.get(arithmetic.kernels(), {}):
        return {}
    return {THREADS: str(max(1, (os.cpu_count() or 1) // count))}


def _relay(lines: Iterable[str], to: IO[str]) -> None:
    """Pass lines on, and go on reading where nobody takes them: who writes them would wait."""
    for line in lines:
        with contextlib.suppress(OSError):
            to.write(line)
            to.flush()


def interrupt(lanes: Iterable[subprocess.Popen[str]], seconds: float) -> None:
    """Interrupt lanes and all that they run, while no DVC writes, or after so many seconds in which one always did."""
    with nobody_writes(seconds):
        for lane in lanes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(lane.pid, signal.SIGINT)


def jobs() -> int:
    """How many lanes the variable JOBS asks for.

    Raises:
        InputError: it is no number from 1 up.
    """
    asked = os.environ.get(JOBS) or str(DEFAULT_JOBS)
    if not re.fullmatch("[1-9][0-9]?", asked):
        raise InputError(f"{JOBS}: expected a number from 1 to 99, got {asked!r}")
    return int(asked)


def main() -> None:
    """Reproduce and exit as `dvc repro` did, or note how long the stages took."""
    if sys.argv[1:] == ["--note"]:
        write_json(SHIPPED_TIMES, {path.stem: read_json(path)["seconds"] for path in sorted(TIMES.glob("*.json"))})
    else:
        sys.exit(reproduce(jobs()))


if __name__ == "__main__":
    errors.run(main)
