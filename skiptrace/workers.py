"""Independent computations side by side: in this process, in local processes, or on a Dask cluster.

Each runs on one thread, so that results do not depend on the processors or on who computed them.
"""

import contextlib
import functools
import hashlib
import importlib.metadata
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, TypeVar

import torch

from skiptrace.arithmetic import on_one_thread
from skiptrace.errors import InputError, one_line
from skiptrace.progress import progress

T = TypeVar("T")
SECONDS = 10  # that a scheduler has to answer in
RETRIES = 5  # times that a cluster tries a task whose worker died


def side_by_side(
    function: Callable[..., T], arguments: Sequence[tuple[Any, ...]], name: str, threads: bool = False
) -> list[T]:
    """Call `function` with each of `arguments`, as many at once as there are workers; results in their order.

    `SKIPTRACE_SCHEDULER` in the environment is the address of a Dask scheduler whose workers compute. Without it,
    `SKIPTRACE_WORKERS` sets how many local processes do, as many as there are processors if it is unset; `threads`
    asks for threads of this process instead, for work that leaves the interpreter's lock alone. A worker that dies
    on a cluster loses nothing: its tasks run elsewhere.

    Raises:
        InputError: the scheduler does not answer or runs another version, or the number of workers is wrong.
    """
    with _executor(len(arguments), threads) as executor:
        if executor is None:
            shown = progress(arguments, name)
            return [on_one_thread(function, *each) for each in shown]
        code = source_hash()
        jobs: list[Future[T]] = [executor.submit(_at_version, code, function, *each) for each in arguments]
        try:
            for job in progress(as_completed(jobs), name, len(jobs)):
                job.result()
        except BaseException as error:
            for job in jobs:
                job.cancel()
            if isinstance(error, BrokenProcessPool):
                raise InputError(
                    f"{name}: a local process was killed; run the same command again to continue"
                ) from None
            raise
        return [job.result() for job in jobs]


@contextlib.contextmanager
def _executor(tasks: int, threads: bool) -> Iterator[Executor | None]:
    """Where to run; None for one after the other."""
    address = os.environ.get("SKIPTRACE_SCHEDULER")
    if address:
        with _cluster(address) as executor:
            yield executor
        return
    workers = min(tasks, _workers())
    if workers <= 1:
        yield None
    elif threads and "SKIPTRACE_WORKERS" not in os.environ:
        # The number of threads of a product is partly global, so that it is set here and not by each.
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with ThreadPoolExecutor(workers) as pool:
                yield pool
        finally:
            torch.set_num_threads(before)
    else:
        # A forked worker would hang in libraries whose threads it has lost.
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            yield pool


@contextlib.contextmanager
def _cluster(address: str) -> Iterator[Executor]:
    try:
        from distributed import Client
    except ImportError:
        raise InputError("SKIPTRACE_SCHEDULER: Dask is not installed; pip install 'skiptrace[cluster]'") from None
    try:
        client = Client(address, timeout=SECONDS, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        told = f"SKIPTRACE_SCHEDULER: no scheduler answers at {address} ({one_line(error)})"
        raise InputError(f"{told}; start one with `dask scheduler`") from None
    with client:
        here = _version()
        for worker, there in client.run(importlib.metadata.version, "skiptrace", on_error="return").items():
            if there != here:
                told = f"version {there}" if isinstance(there, str) else "nothing that can be imported"
                raise InputError(f"{worker}: this worker has {told} of skiptrace, here it is {here}; install the same")
        yield client.get_executor(pure=False, retries=RETRIES)


def _version() -> str:
    return importlib.metadata.version("skiptrace")


def _workers() -> int:
    given = os.environ.get("SKIPTRACE_WORKERS", str(os.cpu_count() or 1))
    if not given.isdecimal() or int(given) == 0:
        raise InputError(f"SKIPTRACE_WORKERS: expected a number of processes, got {given!r}")
    return int(given)


@functools.cache
def source_hash() -> str:
    """A hash of the package's source files, so that a worker with other ones is noticed."""
    digest, root = hashlib.sha256(), Path(__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _at_version(code: str, function: Callable[..., T], *arguments: Any) -> T:
    if source_hash() != code:
        raise InputError("a worker has another version of skiptrace than the process that asks it; install the same")
    return on_one_thread(function, *arguments)
