"""What it costs a stage to check files: `python -m benchmarks.seals`, or `… report document mine@one`.

Every stage of dvc.lock, or each that is named, runs as it is, in one process on one thread, and writes its outputs; what
it depends on has to be there. Counted is the processor time of checksums and digests, read and written, and of what
Arrow takes longer for tables whose pages it checks, measured afterwards on the whole of each table that was opened or
written. Processor time is what is counted, so that a busy machine says much the same as an idle one.
docs/integrity.md holds what was found.
"""

import stages  # noqa: F401  chooses the arithmetic, before torch is imported

# isort: split
import importlib
import json
import os
import shlex
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple, ParamSpec, TypeVar

import pyarrow.parquet as pq
import yaml

from skiptrace import files, seals
from skiptrace.layout import DVC_LOCK

P = ParamSpec("P")
T = TypeVar("T")
RUN = "--run"  # a stage in this process, whose numbers are the last line of standard output
ALONE = {"OMP_NUM_THREADS": "1", "SKIPTRACE_WORKERS": "1"}
REPEATS = 9  # in turns, of which the least counts


class Cost(NamedTuple):
    """Processor seconds of a stage, those of its checks, and how often it checked something."""

    seconds: float
    checks: float
    times: int

    @property
    def share(self) -> float:
        """The part of the stage's time that its checks take."""
        return self.checks / self.seconds


class Counted:
    """Functions that note their processor time, those that they call not counted again."""

    def __init__(self) -> None:
        """Nothing has been called yet."""
        self.seconds, self.count, self._inside = 0.0, 0, False

    def of(self, function: Callable[P, T]) -> Callable[P, T]:
        """The function, counted."""

        def counted(*args: P.args, **kwargs: P.kwargs) -> T:
            if self._inside:
                return function(*args, **kwargs)
            self._inside, started = True, time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                self._inside = False
                self.seconds += time.thread_time() - started
                self.count += 1

        return counted


def run(stage: str, *options: str) -> Cost:
    """Run a stage, counting; its module must not have been imported."""
    counted, tables = Counted(), Counter[str]()

    def noting(function: Callable[..., Any]) -> Callable[..., Any]:
        def noted(path: Any, *args: Any, **kwargs: Any) -> Any:
            tables[str(path)] += 1
            return function(path, *args, **kwargs)

        return noted

    zlib.crc32 = counted.of(zlib.crc32)  # parts of circuits compute theirs page by page
    # By whatever name other modules know them, as they import them only now.
    for module in (seals, files):
        for name in ("seal", "sealed", "intact", "verify", "sha256"):
            if hasattr(module, name):
                setattr(module, name, counted.of(getattr(module, name)))
    for name in ("open_table", "table_writer"):
        setattr(files, name, noting(getattr(files, name)))
    sys.argv = [f"stages/{stage}.py", *options]
    importlib.import_module(f"stages.{stage}").main()
    seconds = time.process_time()  # of the whole process, imports included
    checks = counted.seconds + sum(times * of_pages(path) for path, times in tables.items() if os.path.isfile(path))
    return Cost(seconds, checks, counted.count)


def of_pages(path: str) -> float:
    """Processor seconds that Arrow takes longer to read a table whose pages it checks; none is too small to be seen."""

    def reading(check: bool) -> float:
        started = time.process_time()
        with pq.ParquetFile(path, page_checksum_verification=check) as table:
            table.read(use_threads=False)
        return time.process_time() - started

    with_checks, without = zip(*((reading(True), reading(False)) for _ in range(REPEATS)), strict=True)
    return max(0.0, min(with_checks) - min(without))


def main() -> None:
    """Print the table."""
    if sys.argv[1:2] == [RUN]:
        print(json.dumps(run(*sys.argv[2:])))
        return
    locked = yaml.safe_load(DVC_LOCK.read_text())["stages"]
    print("| Stage | Processor time | Checks | | Share |\n| --- | --- | --- | --- | --- |", flush=True)
    for name in sys.argv[1:] or locked:
        command = shlex.split(locked[name]["cmd"])  # python -m stages.NAME …
        asked = [sys.executable, "-m", "benchmarks.seals", RUN, command[2].partition(".")[2], *command[3:]]
        done = subprocess.run(asked, env=os.environ | ALONE, text=True, stdout=subprocess.PIPE, check=True)
        cost = Cost(*json.loads(done.stdout.splitlines()[-1]))
        print(
            f"| `{name}` | {cost.seconds:.1f} s | {cost.times} | {cost.checks:.3f} s | {cost.share:.2%} |", flush=True
        )


if __name__ == "__main__":
    main()
