import contextlib
import gc
import ipaddress
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import psutil
import pytest
import torch

from skiptrace import arithmetic, workers
from skiptrace.arithmetic import on_one_thread
from skiptrace.circuits.factored import names
from skiptrace.config.expansion import ExpansionParams
from skiptrace.config.mining import MiningParams
from skiptrace.devices import CPU
from skiptrace.errors import InputError
from skiptrace.expansion.writer import Stored, write
from skiptrace.files import read_json, write_table
from skiptrace.mining.heads import mine_head
from skiptrace.models import checkpoint
from skiptrace.workers import side_by_side

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("count", ["1", "2"])
def test_results_keep_their_order_whatever_the_number_of_processes(monkeypatch, count):
    monkeypatch.setenv("SKIPTRACE_WORKERS", count)
    assert side_by_side(math.sqrt, [(9.0,), (4.0,), (1.0,)], "roots") == [3.0, 2.0, 1.0]


def test_threads_stay_in_this_process_and_compute_on_one_thread_each():
    before = torch.get_num_threads()
    assert side_by_side(os.getpid, [()] * 5, "ids", threads=True) == [os.getpid()] * 5
    assert side_by_side(torch.get_num_threads, [()] * 5, "threads", threads=True) == [1] * 5
    assert torch.get_num_threads() == before


def test_a_call_runs_on_one_thread_and_leaves_the_number_as_it_was():
    before = torch.get_num_threads()
    assert on_one_thread(torch.get_num_threads) == 1
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("count", ["0", "two", "-1"])
def test_a_wrong_number_of_processes_is_named(monkeypatch, count):
    monkeypatch.setenv("SKIPTRACE_WORKERS", count)
    with pytest.raises(InputError, match=f"SKIPTRACE_WORKERS: expected a number of processes, got '{count}'"):
        side_by_side(math.sqrt, [(1.0,)], "roots")


def test_a_failure_is_raised_as_it_was_told(monkeypatch):
    monkeypatch.setenv("SKIPTRACE_WORKERS", "2")
    with pytest.raises(ValueError, match=r"expected a nonnegative input|math domain error"):
        side_by_side(math.sqrt, [(-1.0,), (4.0,)], "roots")


def test_a_local_process_that_is_killed_is_told_in_one_line(monkeypatch):
    monkeypatch.setenv("SKIPTRACE_WORKERS", "2")
    with pytest.raises(InputError, match="roots: a local process was killed; run the same command again"):
        side_by_side(os._exit, [(9,), (9,)], "roots")


@pytest.fixture(autouse=True)
def no_client_is_left_to_collect():
    """One of Dask's that never reached its scheduler closes itself when collected: for ever, if another then starts."""
    yield
    gc.collect()


@pytest.fixture(autouse=True)
def probe(monkeypatch):
    """Plugins of pytest load NumPy before its kernels are chosen, so that other processes alone compare arithmetic."""
    monkeypatch.setattr(workers, "probe", str)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


ON_A_CLUSTER = (ROOT / "docs/scaling.md").read_text().partition("## On a cluster")[2]
# What it tells to type: a cluster on this machine, certificates, what has Dask use them, an encrypted cluster.
LOCAL, MAKE, EXPORT, ENCRYPTED = re.findall(r"^```sh\n(.*?)^```$", ON_A_CLUSTER, re.MULTILINE | re.DOTALL)
NETWORK = {"--interface ib0": "--host 127.0.0.1", "login01": "127.0.0.1", "8787": "0"}


class Cluster(NamedTuple):
    """A scheduler and its workers, each a process."""

    address: str
    scheduler: subprocess.Popen
    workers: list[subprocess.Popen]


def typed(block: str, port: int) -> list[list[str]]:
    """The words of the commands that start a scheduler and a worker, on this machine's own network and other ports."""
    for name, here in (NETWORK | {"8786": str(port)}).items():
        block = block.replace(name, here)
    commands = [line.split("#")[0].rstrip(" &").split() for line in block.splitlines() if line.startswith("dask ")]
    return [["-m", f"distributed.cli.dask_{command[1]}", *command[2:]] for command in commands]


def computing() -> dict[str, str]:
    """The environment of a user's shell, in which nothing chooses kernels, after the line that does."""
    (line,) = [line for line in LOCAL.splitlines() if line.startswith("eval ")]
    bare = {name: value for name, value in os.environ.items() if name not in arithmetic.variables()}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    told = subprocess.run(["bash", "-ec", f"{line}\nenv -0"], cwd=ROOT, env=bare | {"PATH": path}, text=True,
                          capture_output=True, check=True)  # fmt: skip
    return dict(variable.split("=", 1) for variable in told.stdout.rstrip("\0").split("\0"))


@contextlib.contextmanager
def started(place: Path, workers: int, block: str = LOCAL, **environment: str) -> Iterator[Cluster]:
    """A scheduler and workers of one process each, as a user starts them."""
    port = free_port()
    scheduler, worker = typed(block, port)
    variables = computing() | {"DASK_DISTRIBUTED__WORKER__DAEMON": "False", "PYTHONWARNINGS": "ignore"} | environment

    def start(command: list[str]) -> subprocess.Popen:
        full = [sys.executable, *command]
        return subprocess.Popen(full, cwd=place, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    running = [start(scheduler), *(start([*worker, "--no-nanny"]) for _ in range(workers))]
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.1)
        yield Cluster(worker[2], running[0], running[1:])
    finally:
        for process in reversed(running):
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A scheduler and two workers."""
    with started(tmp_path_factory.mktemp("cluster"), 2, PYTHONPATH=str(ROOT)) as found:
        from distributed import Client

        with Client(found.address, timeout=60, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=60)
        yield found


def test_nothing_but_this_machine_reaches_the_documented_cluster(cluster):
    """Neither by the protocol of Dask, which runs code, nor by its web pages."""
    for process in (cluster.scheduler, *cluster.workers):
        listening = [c for c in psutil.Process(process.pid).net_connections("inet") if c.status == psutil.CONN_LISTEN]
        assert len(listening) >= 2 and {ipaddress.ip_address(c.laddr.ip).is_loopback for c in listening} == {True}


EXPANSION = ExpansionParams(
    store="full",
    circuits=["direct", "qk", "ov", "virtual_ov", "k_composition"],
    heads="all",
    virtual_heads=3,
    max_bytes=10**9,
    chunk_rows=20,
    row_group_rows=10,
)
MINING = MiningParams(
    ranking="published",
    context=8,
    bigrams=5,
    sources=5,
    destinations=2,
    outs=2,
    min_count=1,
    frequency_power=0.1,
    frequent_tokens=4,
    largest=6,
    bins=8,
)


@pytest.fixture
def model(make_model, tmp_path) -> str:
    import pyarrow as pa

    made = make_model(2, d_vocab=400).float()
    checkpoint.save(made, tmp_path / "model")
    count = [400 - i for i in range(400)]
    columns = {"token": [f"t{i}" for i in range(400)], "count": count, "probability": [c / sum(count) for c in count]}
    write_table(tmp_path / "vocab.parquet", pa.table(columns))
    return str(tmp_path / "model")


def stored(model: str) -> list[Stored]:
    return [Stored(model, name) for name in names(checkpoint.load(Path(model)), 3)]


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.parquet")}


def mined(model: str) -> list:
    vocabulary = str(Path(model).parent / "vocab.parquet")
    jobs = [(model, vocabulary, None, (layer, head), MINING, [], CPU) for layer in (0, 1) for head in (0, 1, 2)]
    return side_by_side(mine_head, jobs, "mining", threads=True)


def test_a_cluster_that_loses_a_worker_gives_the_same_bytes(cluster, model, tmp_path, monkeypatch):
    address, _, running = cluster
    write(stored(model), 400, str(tmp_path / "here"), EXPANSION)
    tables = mined(model)
    monkeypatch.setenv("SKIPTRACE_SCHEDULER", address)
    # From another process, so that a worker can be killed once parts begin to appear.
    child = """
import sys
from pathlib import Path
from tests.test_workers import EXPANSION, stored, write
write(stored(sys.argv[1]), 400, sys.argv[2], EXPANSION)
"""
    command = [sys.executable, "-c", child, model, str(tmp_path / "there")]
    expanding = subprocess.Popen(command, cwd=Path(__file__).parents[1], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not contents(tmp_path / "there") and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(running[0].pid, signal.SIGKILL)
    _, errors = expanding.communicate(timeout=120)
    assert expanding.returncode == 0, errors
    assert contents(tmp_path / "there") == contents(tmp_path / "here")
    for here, there in zip(tables, mined(model), strict=True):
        for one, other in zip(here, there, strict=True):
            assert pd.DataFrame(one).map(repr).equals(pd.DataFrame(other).map(repr))


def test_errors_of_a_cluster_are_told_in_one_line(cluster, monkeypatch):
    monkeypatch.setenv("SKIPTRACE_SCHEDULER", cluster[0])
    with pytest.raises(InputError, match=r"nowhere\.json: not readable as JSON"):
        side_by_side(read_json, [(Path("nowhere.json"),)], "reading")
    with monkeypatch.context() as patch:
        for package in ("skiptrace", "torch", "numpy"):
            version = workers._version
            patch.setattr(workers, "_version", lambda name, p=package, v=version: "9.9" if name == p else v(name))
            with pytest.raises(
                InputError, match=rf"tcp://.*: this worker has version .* of {package}, here it is 9\.9"
            ):
                side_by_side(math.sqrt, [(1.0,)], "roots")
            patch.setattr(workers, "_version", version)
    with monkeypatch.context() as patch:
        patch.setattr(workers, "probe", lambda: time.time_ns())
        with pytest.raises(InputError, match=r"tcp://.*: this worker computes with other kernels than are used here"):
            side_by_side(math.sqrt, [(1.0,)], "roots")
    with monkeypatch.context() as patch:
        patch.setattr(workers, "source_hash", lambda: "other")
        with pytest.raises(InputError, match="a worker has another version of skiptrace"):
            side_by_side(math.sqrt, [(1.0,)], "roots")


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense://x", "no address"])
def test_a_scheduler_that_does_not_answer_is_named(monkeypatch, address):
    monkeypatch.setattr(workers, "SECONDS", 1)
    monkeypatch.setenv("SKIPTRACE_SCHEDULER", address)
    with pytest.raises(InputError, match=f"SKIPTRACE_SCHEDULER: no scheduler answers at {address}"):
        side_by_side(math.sqrt, [(1.0,)], "roots")


def slow(started: str) -> None:
    Path(started).touch()
    time.sleep(30)


def lose(processes: list[subprocess.Popen], begun: Path, address: str, monkeypatch) -> str:
    """The error of jobs whose processes are killed while they run."""

    def kill() -> None:
        while not begun.exists():
            time.sleep(0.02)
        monkeypatch.setattr(workers, "SECONDS", 1)
        for process in processes:
            process.kill()

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    monkeypatch.setattr(workers, "SECONDS", 60)
    monkeypatch.setenv("SKIPTRACE_SCHEDULER", address)
    with pytest.raises(InputError) as raised:
        side_by_side(slow, [(str(begun),)] * 6, "sleeping")
    killer.join()
    return str(raised.value)


def test_a_cluster_whose_last_worker_goes_is_one_line(cluster, tmp_path, monkeypatch, capfd):
    """It leaves no worker to the tests after it, which start their own."""
    error = lose(cluster.workers, tmp_path / "begun", cluster.address, monkeypatch)
    assert error.startswith(
        f"SKIPTRACE_SCHEDULER: no worker at {cluster.address} for 1 s; start some, docs/scaling.md says how"
    )
    assert capfd.readouterr().err == ""


def test_a_scheduler_that_goes_is_one_line(tmp_path, monkeypatch, capfd):
    with started(tmp_path, 1, PYTHONPATH=str(ROOT)) as found:
        error = lose([found.scheduler], tmp_path / "begun", found.address, monkeypatch)
    assert error.startswith(f"sleeping: the scheduler at {found.address} has gone; start it and its workers, and run")
    assert capfd.readouterr().err == ""


def test_a_cluster_without_workers_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "SECONDS", 1)
    with started(tmp_path, 0) as found:
        monkeypatch.setenv("SKIPTRACE_SCHEDULER", found.address)
        with pytest.raises(InputError, match=f"no worker at {found.address} for 1 s; start some, docs/scaling"):
            side_by_side(math.sqrt, [(9.0,)], "roots")


def certificates(home: Path) -> dict[str, str]:
    """An authority and a certificate below a home folder, and the variables that make Dask use nothing else."""
    home.mkdir()
    code = f"{{ {MAKE}}} > making 2>&1 || {{ cat making >&2; exit 1; }}\n{EXPORT}env -0"
    told = subprocess.run(["bash", "-ec", code], cwd=home, env={"HOME": str(home), "PATH": os.environ["PATH"]},
                          text=True, capture_output=True)  # fmt: skip
    assert told.returncode == 0, told.stderr
    variables = dict(line.split("=", 1) for line in told.stdout.rstrip("\0").split("\0"))
    return {name: value for name, value in variables.items() if name.startswith("DASK_")}


def asks(address: str, seconds: int, **environment: str) -> subprocess.CompletedProcess[str]:
    code = f"""
import math
from skiptrace.errors import run
from skiptrace import workers
workers.SECONDS = {seconds}
run(lambda: print(workers.side_by_side(math.sqrt, [(9.0,)], "roots")))
"""
    variables = os.environ | {"SKIPTRACE_SCHEDULER": address} | environment
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=variables, text=True, capture_output=True)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_only_who_has_a_certificate_reaches_an_encrypted_cluster(tmp_path, monkeypatch):
    ours, theirs = certificates(tmp_path / "ours"), certificates(tmp_path / "theirs")
    with started(tmp_path, 1, ENCRYPTED, PYTHONPATH=str(ROOT), **ours) as found:
        assert asks(found.address, 60, **ours).stdout == "[3.0]\n"
        done = asks(found.address, 1, **theirs)
        assert done.returncode == 1 and done.stdout == ""
        assert done.stderr.startswith(f"error: SKIPTRACE_SCHEDULER: no scheduler answers at {found.address}")
        assert done.stderr.count("\n") == 1
        monkeypatch.setenv("SKIPTRACE_SCHEDULER", found.address)
        with pytest.raises(InputError, match=f"SKIPTRACE_SCHEDULER: {found.address} needs certificates"):
            side_by_side(math.sqrt, [(9.0,)], "roots")
