"""Independent computations side by side: in this process, in local processes, or on a Dask cluster.

Each runs on one thread, so that results do not depend on the processors or on who computed them.
"""

import contextlib
import functools
import hashlib
import importlib.metadata
import logging
import multiprocessing
import os
import queue
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, TypeVar

import torch

from skiptrace.arithmetic import on_one_thread, probe
from skiptrace.errors import InputError, one_line
from skiptrace.progress import progress

T = TypeVar("T")
SECONDS = 10  # that a scheduler has to answer in, and a cluster may be without workers
ALIKE = ("skiptrace", "torch", "numpy")  # of the same version everywhere, or results are not the same to the bit
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
        InputError: the scheduler does not answer or goes away, there is no worker, or one of another version or
            arithmetic, or the number of local processes is wrong.
    """
    with _executor(len(arguments), threads) as (executor, watch):
        if executor is None:
            shown = progress(arguments, name)
            return [on_one_thread(function, *each) for each in shown]
        code = source_hash()
        jobs: list[Future[T]] = [executor.submit(_at_version, code, function, *each) for each in arguments]
        done: queue.SimpleQueue[Future[T]] = queue.SimpleQueue()
        for job in jobs:
            job.add_done_callback(done.put)
        try:
            for _ in progress(jobs, name):
                _next(done, watch).result()
        except BaseException as error:
            for job in jobs:
                job.cancel()
            if isinstance(error, BrokenProcessPool):
                raise InputError(
                    f"{name}: a local process was killed; run the same command again to continue"
                ) from None
            if isinstance(error, CancelledError):
                raise InputError(
                    f"{name}: the scheduler at {os.environ['SKIPTRACE_SCHEDULER']} has gone; start it and its workers, "
                    "and run the same command again to continue"
                ) from None
            raise
        return [job.result() for job in jobs]


def at_once(tasks: int) -> int:
    """How many of so many tasks `side_by_side` runs at once on this machine; 1 where a cluster does.

    Raises:
        InputError: the number of local processes is wrong.
    """
    return 1 if os.environ.get("SKIPTRACE_SCHEDULER") else max(1, min(tasks, _workers()))


def _next(done: "queue.SimpleQueue[Future[T]]", watch: Callable[[], None]) -> Future[T]:
    """The next job that is done; while none is, call `watch` every second."""
    while True:
        try:
            return done.get(timeout=1)
        except queue.Empty:
            watch()


def _nothing() -> None:
    """Local workers are watched by their executor."""


@contextlib.contextmanager
def _executor(tasks: int, threads: bool) -> Iterator[tuple[Executor | None, Callable[[], None]]]:
    """Where to run (None for one after the other), and what to call while waiting, which raises when it is in vain."""
    address = os.environ.get("SKIPTRACE_SCHEDULER")
    if address:
        with _cluster(address) as (executor, watch):
            yield executor, watch
        return
    workers = min(tasks, _workers())
    if workers <= 1:
        yield None, _nothing
    elif threads and "SKIPTRACE_WORKERS" not in os.environ:
        # The number of threads of a product is partly global, so that it is set here and not by each.
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with ThreadPoolExecutor(workers) as pool:
                yield pool, _nothing
        finally:
            torch.set_num_threads(before)
    else:
        # A forked worker would hang in libraries whose threads it has lost.
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            yield pool, _nothing


@contextlib.contextmanager
def _cluster(address: str) -> Iterator[tuple[Executor, Callable[[], None]]]:
    try:
        from distributed import Client
        from distributed.security import Security
    except ImportError:
        raise InputError("SKIPTRACE_SCHEDULER: Dask is not installed; pip install 'skiptrace[cluster]'") from None
    level = logging.root.manager.disable
    logging.disable()  # Dask logs tracebacks of what is one line here
    try:
        try:
            if address.startswith("tls://") and not Security().get_connection_args("client").get("ssl_context"):
                raise InputError(f"SKIPTRACE_SCHEDULER: {address} needs certificates; docs/scaling.md says which")
            client = Client(address, timeout=SECONDS, set_as_default=False)
        # RuntimeError: of an address without encryption where Dask's configuration requires it.
        except (OSError, ValueError, RuntimeError, TimeoutError) as error:
            found = f"SKIPTRACE_SCHEDULER: no scheduler answers at {address} ({one_line(error)})"
            raise InputError(f"{found}; start one, docs/scaling.md says how") from None
        with client:
            watch = _Watch(client, address)
            watch.wait_for_a_worker()
            _compare(client)
            yield client.get_executor(pure=False, retries=RETRIES), watch
    finally:
        logging.disable(level)


class _Watch:
    """Whether a cluster has workers; to be called while waiting for results.

    Raises:
        InputError: it has had none for `SECONDS`.
    """

    def __init__(self, client: Any, address: str) -> None:
        self.client, self.address, self.seen = client, address, time.monotonic()

    def __call__(self) -> None:
        with contextlib.suppress(OSError, TimeoutError):  # a scheduler that has gone cancels the jobs
            if self.client.nthreads():
                self.seen = time.monotonic()
        if time.monotonic() - self.seen > SECONDS:
            raise InputError(
                f"SKIPTRACE_SCHEDULER: no worker at {self.address} for {SECONDS} s; start some, docs/scaling.md says "
                "how, and run the same command again to continue"
            )

    def wait_for_a_worker(self) -> None:
        """Return as soon as there is one."""
        while not self.client.nthreads():
            time.sleep(0.1)
            self()


def _compare(client: Any) -> None:
    """Compare versions, and then arithmetic, without which results are not the same to the bit."""
    for package in ALIKE:
        here = _version(package)
        for worker, there in client.run(importlib.metadata.version, package, on_error="return").items():
            if there != here:
                found = f"version {there}" if isinstance(there, str) else "nothing that can be imported"
                raise InputError(f"{worker}: this worker has {found} of {package}, here it is {here}; install the same")
    here = on_one_thread(probe)
    for worker, there in client.run(on_one_thread, probe).items():
        if there != here:
            raise InputError(
                f"{worker}: this worker computes with other kernels than are used here; start it as docs/scaling.md "
                "says, or, where its processor is of another kind, with SKIPTRACE_KERNELS=compatible everywhere"
            )


def _version(package: str) -> str:
    return importlib.metadata.version(package)


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
