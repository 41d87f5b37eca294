"""How much memory a process may still take, and giving back what it has freed."""

import ctypes
import resource
import sys
from pathlib import Path
from typing import NamedTuple


class Available(NamedTuple):
    """Bytes that a process may still take, and what sets the limit."""

    bytes: float
    limit: str


def available(root: Path = Path("/")) -> Available:
    """The least of what the limits of this process, of its control groups and of the machine leave.

    `root` is where /proc and /sys are found; systems without them are asked for their limits alone.
    """
    return min([*_limits(root), *_control_groups(root), *_machine(root)], default=Available(float("inf"), "nothing"))


def give_back() -> None:
    """Return freed memory to the system, where the C library can.

    Small tables that stay, made between large factors that go, else leave holes in which no factor fits again.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def _limits(root: Path) -> list[Available]:
    """Of the address space (`ulimit -v`) and of the data in it (`ulimit -d`)."""
    pages = _numbers(root / "proc/self/statm")
    found = []
    for kind, field, name in ((resource.RLIMIT_AS, 0, "ulimit -v"), (resource.RLIMIT_DATA, 5, "ulimit -d")):
        most = resource.getrlimit(kind)[0]
        if most != resource.RLIM_INFINITY and pages:
            found.append(Available(most - pages[field] * resource.getpagesize(), name))
    return found


def _control_groups(root: Path) -> list[Available]:
    """Of every control group that this process is in, of version 1 and 2; the file cache in it can be freed."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    found = []
    for _, controllers, path in (line.split(":", 2) for line in lines):
        if controllers == "":
            top, files, cache = root / "sys/fs/cgroup", ("memory.max", "memory.current"), "inactive_file"
        elif "memory" in controllers.split(","):
            top = root / "sys/fs/cgroup/memory"
            files, cache = ("memory.limit_in_bytes", "memory.usage_in_bytes"), "total_inactive_file"
        else:
            continue
        group = top / path.lstrip("/")
        for folder in (group, *(parent for parent in group.parents if parent.is_relative_to(top))):
            most, taken = (_numbers(folder / file) for file in files)  # no number means no limit
            if most and taken:
                left = most[0] - taken[0] + _field(folder / "memory.stat", cache)
                found.append(Available(left, "the memory limit of the control group"))
    return found


def _machine(root: Path) -> list[Available]:
    info = root / "proc/meminfo"
    free = _field(info, "MemAvailable:") + _field(info, "SwapFree:")
    return [Available(free * 1024, "what is free on this machine")] if free else []


def _numbers(path: Path) -> list[int]:
    try:
        return [int(word) for word in path.read_text().split()]
    except (OSError, ValueError):
        return []


def _field(path: Path, name: str) -> int:
    try:
        fields = dict(line.split()[:2] for line in path.read_text().splitlines())
        return int(fields.get(name, 0))
    except (OSError, ValueError):
        return 0
