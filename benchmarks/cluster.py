"""What a Dask cluster adds to the work: measured with a few workers here, simulated for hundreds."""

import contextlib
import heapq
import os
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import ways
from benchmarks.measure import in_turns
from skiptrace.arithmetic import on_one_thread
from skiptrace.mining.scan import Request, scan
from skiptrace.workers import side_by_side

WORKERS = (1, 2, 4)
ALONE = "this process"
D_VOCAB, RANK, CIRCUITS = 10_000, 64, 24  # of one measurement: about four seconds on one thread
EMPTY = 500  # tasks that do nothing
SEEDS = 20


class Measured(NamedTuple):
    """Circuits per second of one process and of so many workers, and what each task costs beside its work."""

    rates: dict[str, float]
    overhead: float


def measure() -> Measured:
    """Mine the same circuits on one thread of this process, and on clusters of one, two and four workers of one thread."""
    circuit, request = ways.circuit(D_VOCAB, RANK), Request(ways.K, ways.K, ways.K)
    jobs = [(circuit, request)] * CIRCUITS

    def alone() -> float:
        for job in jobs:
            on_one_thread(scan, *job)
        return CIRCUITS

    with contextlib.ExitStack() as stack:
        addresses = {workers: stack.enter_context(_cluster(workers)) for workers in WORKERS}

        def asking(address: str, function: Callable[..., object], arguments: Sequence[tuple[Any, ...]]) -> float:
            os.environ["SKIPTRACE_SCHEDULER"] = address
            try:
                side_by_side(function, arguments, "measuring")
            finally:
                del os.environ["SKIPTRACE_SCHEDULER"]
            return len(arguments)

        def mining(address: str) -> Callable[[], float]:
            return lambda: asking(address, scan, jobs)

        clusters = {str(workers): mining(address) for workers, address in addresses.items()}
        rates = in_turns({ALONE: alone} | clusters)
        nothing = in_turns({"empty": lambda: asking(addresses[1], abs, [(i,) for i in range(EMPTY)])})
    return Measured(rates, 1 / nothing["empty"])


@contextlib.contextmanager
def _cluster(workers: int) -> Iterator[str]:
    """A scheduler and its workers on this machine, each a process of one thread; its address."""
    from distributed import LocalCluster

    os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])  # where workers find this module
    with LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None, host="127.0.0.1") as cluster:
        yield cluster.scheduler_address


class Assumptions(NamedTuple):
    """What a simulated cluster is like; times in seconds."""

    workers: int = 326
    spread: float = 0.1  # standard deviation of the logarithm of the workers' speeds
    stragglers: float = 0.02  # share of the workers
    slowdown: float = 5.0  # by which these are slower
    lost_after: float = 24 * 3600.0  # mean time after which a worker is lost, with its task
    back_after: float = 300.0  # until another stands in its place
    split: bool = False  # every worker is given its share at the start, instead of a task whenever it is free


def simulate(tasks: int, seconds: float, overhead: float, assumed: Assumptions, seed: int) -> float:
    """Seconds until the last of so many equal tasks is done, of `seconds` each on a worker of ordinary speed.

    The scheduler gives out one task after the other, each of which occupies it for `overhead` seconds. A task whose
    worker is lost starts again from nothing, on whichever is free first. No task is ever given to two.
    """
    generator = np.random.default_rng(seed)
    slowness = np.exp(assumed.spread * generator.standard_normal(assumed.workers))
    slowness[generator.random(assumed.workers) < assumed.stragglers] *= assumed.slowdown
    share = -(-tasks // assumed.workers)
    free = [(0.0, worker) for worker in range(assumed.workers)]
    given, scheduler, left, last = np.zeros(assumed.workers, int), 0.0, tasks, 0.0
    while left:
        now, worker = heapq.heappop(free)
        if assumed.split and given[worker] == share:
            continue
        scheduler = max(scheduler, now) + overhead
        lasts, lost = seconds * slowness[worker], generator.exponential(assumed.lost_after)
        if lost < lasts:
            heapq.heappush(free, (scheduler + lost + assumed.back_after, worker))
            continue
        given[worker] += 1
        left -= 1
        last = max(last, scheduler + lasts)
        heapq.heappush(free, (scheduler + lasts, worker))
    return last


CASES = {
    "as assumed": Assumptions(),
    "no worker slow": Assumptions(spread=0.0, stragglers=0.0),
    "no worker lost": Assumptions(lost_after=np.inf),
    "a worker lost every hour": Assumptions(lost_after=3600.0),
    "shares given out at the start": Assumptions(split=True),
}


def section(measured: Measured, name: str, tasks: int, seconds: float) -> list[str]:
    """The lines of docs/scaling.md about clusters; `seconds` is what a head of the model takes a worker."""
    rates, cores = measured.rates, os.cpu_count() or 1
    a = Assumptions()
    lines = [
        "## What a cluster adds",
        "",
        f"Measured: {CIRCUITS} circuits of V = {D_VOCAB:,} and rank {RANK}, one a task, on Dask workers of one thread on this machine.",
        f"A task that does nothing takes {1000 * measured.overhead:.1f} ms; one of these takes {1 / rates[ALONE]:.2f} s alone and "
        f"carries its factors, {8 * D_VOCAB * RANK / 1e6:.0f} MB, which is most of what is lost. Heads of large models take",
        "a minute, and their workers read the factors from a folder.",
        "",
        "| workers | circuits a second | × one thread of one process | of what the cores can give |",
        "|---|---|---|---|",
    ]
    for workers, rate in rates.items():
        able = 1 if workers == ALONE else min(int(workers), cores)
        gain = rate / rates[ALONE]
        lines.append(f"| {workers} | {rate:.1f} | {gain:.2f} | {gain / able:.2f} |")
    ideal = tasks * seconds / a.workers
    lines += [
        "",
        *textwrap.wrap(
            f"Simulated, not measured: {name}, {tasks:,} heads of {seconds:.0f} s each, on {a.workers} workers. Assumed: speeds differ by "
            f"{100 * a.spread:.0f} % (one standard deviation of their logarithm), {100 * a.stragglers:.0f} % of the workers are {a.slowdown:.0f} times "
            f"slower, each is lost once in {a.lost_after / 3600:.0f} h on average and replaced after {a.back_after / 60:.0f} minutes, its task starts "
            f"again, and the scheduler spends the time above on every task. Workers of ordinary speed that never wait would take "
            f"{ideal / 60:.0f} minutes. Of {SEEDS} runs, the mean and the worst:",
            120,
        ),
        "",
        "| | minutes | worst | of the ideal |",
        "|---|---|---|---|",
    ]
    for what, assumed in CASES.items():
        taken = [simulate(tasks, seconds, measured.overhead, assumed, seed) for seed in range(SEEDS)]
        lines.append(
            f"| {what} | {np.mean(taken) / 60:.0f} | {max(taken) / 60:.0f} | {ideal / float(np.mean(taken)):.2f} |"
        )
    return [*lines, ""]
