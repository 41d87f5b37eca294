"""Where the processor time of a stage goes: `python -m benchmarks.profiling superposition`, or `… mine --model one`.

The stage runs as it is, on one thread and in one process, and writes its outputs; what it depends on has to be there.
Processor time is what is counted, so that a busy machine says much the same as an idle one. benchmarks/PROFILE.md
holds what was found.
"""

import os

os.environ |= {"OMP_NUM_THREADS": "1", "SKIPTRACE_WORKERS": "1"}
import stages  # noqa: F401  chooses the arithmetic, before torch is imported

# isort: split
import cProfile
import importlib
import pstats
import sys
import time

SHOWN = 25  # functions


def main() -> None:
    """Run one stage, and print its functions by their own time and by that of all they call."""
    if len(sys.argv) < 2:
        sys.exit("usage: python -m benchmarks.profiling STAGE [--model NAME | --corpus NAME | --dictionary NAME]")
    before = time.process_time()
    module = importlib.import_module(f"stages.{sys.argv[1]}")
    imported = time.process_time() - before
    sys.argv = sys.argv[1:]
    profile = cProfile.Profile(time.process_time)
    profile.runcall(module.main)
    print(f"{imported:.1f} s of imports, and then:")
    found = pstats.Stats(profile)
    for order in ("tottime", "cumtime"):
        found.sort_stats(order).print_stats(SHOWN)


if __name__ == "__main__":
    main()
