"""Attack skiptrace and count what happens: `python -m tests.attack [PART …] [--count N] [--seed N]`.

What each attempt came to is a line on standard error; interrupted, it prints the table of what was tried until then.
"""

import stages  # noqa: F401  chooses the arithmetic, for this process and those that it starts

# isort: split
import argparse
import contextlib
import signal
import sys

from tests.attack import flips, inputs, limits, processes
from tests.attack.outcome import Attempt, failures, table

PARTS = {part.name: part for part in (*flips.PARTS, *inputs.PARTS, *limits.PARTS, *processes.PARTS)}


def main() -> None:
    """Run the parts asked for, and print the table of counts."""
    parser = argparse.ArgumentParser(description=__doc__, epilog=f"parts: {'; '.join(PARTS)}")
    parser.add_argument("part", nargs="*", help="a name, or how names begin (all)")
    parser.add_argument("--count", type=int, help="attempts of each part (of the issue that asked for them)")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    chosen = [part for name, part in PARTS.items() if not asked.part or name.startswith(tuple(asked.part))]
    if not chosen:
        parser.error(f"no such part; there is {'; '.join(PARTS)}")
    found: dict[str, list[Attempt]] = {}
    for number in (signal.SIGINT, signal.SIGTERM):  # a background job would ignore the first, with all that it starts
        signal.signal(number, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        for part in chosen:
            found[part.name] = []
            for attempt in part.attack(asked.count or part.count, asked.seed):
                found[part.name].append(attempt)
                print(f"{part.name}: {attempt.what}: {attempt.outcome}", file=sys.stderr, flush=True)
    print(table(found))
    bad = failures(found)
    print("\n".join(bad), file=sys.stderr)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
