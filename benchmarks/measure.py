"""Timing in turns, memory beside what was there before, and the machine that both are of."""

import gc
import multiprocessing
import platform
import statistics
import threading
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

ROUNDS = 5


def in_turns(
    ways: dict[str, Callable[[], float]], rounds: int = ROUNDS, before: Callable[[], object] = lambda: None
) -> dict[str, float]:
    """The median rate of each way, all run in turns, so that a slow minute of the machine meets every one.

    A way does its work and returns how much it did (entries, bytes, tokens); rates are per second. What is done
    `before` each is not timed.
    """
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for round_ in range(-1, rounds):
        for name, way in ways.items():
            before()
            start = time.perf_counter()
            work = way()
            if round_ >= 0:  # the round before the first warms caches and compiles
                rates[name].append(work / (time.perf_counter() - start))
    return {name: statistics.median(found) for name, found in rates.items()}


def peak_memory(way: Callable[..., Callable[[], Any]], *arguments: Any) -> int:
    """Bytes by which memory rises while what `way(*arguments)` has prepared runs, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_watch, (way, arguments))


def _watch(way: Callable[..., Callable[[], Any]], arguments: tuple[Any, ...]) -> int:
    work = way(*arguments)
    gc.collect()
    process, done = psutil.Process(), threading.Event()
    before = peak = process.memory_info().rss

    def look() -> None:
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=look)
    watcher.start()
    work()
    done.set()
    watcher.join()
    return peak - before


def machine() -> str:
    """What this ran on."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        model = f"{len(names)} cores of {names[0]}" if names else model
    return f"{model}, Python {platform.python_version()}, torch {version('torch')}, pyarrow {version('pyarrow')}"
