"""A `python` for the pipelines of tests: third parties are imported once, and each call is a fork of that process.

A tiny pipeline spends most of its time importing torch, once per stage, and so do the command and DVC. `serve` imports
it once; the `python` that `quick` writes sends it the arguments, the folder, the environment, the limit of a file's
size and the open files of a call, and exits as the fork does. The fork has a process group of its own, to which the
signals that `python` gets are passed on, and which is killed if that `python` is. The project's own modules are
imported by every fork anew.
"""

import array
import contextlib
import gc
import importlib
import json
import os
import resource
import runpy
import select
import shlex
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

THIRD_PARTIES = (
    "concurrent.futures.process",
    "configobj",
    "dulwich.ignore",
    "dulwich.worktree",
    "dvc._debug",
    "dvc.cachemgr",
    "dvc.cli.parser",
    "dvc.commands.repro",
    "dvc.data_cloud",
    "dvc.lock",
    "dvc.render.convert",
    "dvc.repo.artifacts",
    "dvc.repo.datasets",
    "dvc.repo.experiments.show",
    "dvc.repo.graph",
    "dvc.repo.index",
    "dvc.repo.metrics.diff",
    "dvc.repo.metrics.show",
    "dvc.repo.open_repo",
    "dvc.repo.params.diff",
    "dvc.repo.plots",
    "dvc.repo.reproduce",
    "dvc.repo.stage",
    "dvc.repo.trie",
    "dvc.rwlock",
    "dvc.ui.table",
    "dvc.utils.strictyaml",
    "dvc_data.hashfile.db.local",
    "dvc_data.hashfile.status",
    "fsspec.implementations.memory",
    "jaxtyping",
    "jinja2",
    "matplotlib.backends.backend_svg",
    "matplotlib.figure",
    "multiprocessing.queues",
    "networkx",
    "numba",
    "packaging.tags",
    "pandas",
    "psutil",
    "pyarrow.pandas_compat",
    "pyarrow.parquet",
    "pyarrow.vendored.version",
    "pydantic.dataclasses",
    "pydantic.main",
    "pydantic.types",
    "pygit2",
    "rich.console",
    "rich.table",
    "ruamel.yaml",
    "safetensors.torch",
    "scipy.stats",
    "scmrepo.git",
    "tokenizers",
    "torch._dynamo",
    "typer",
)

# Isolated and without site packages, it starts in a hundredth of the time that torch takes.
CLIENT = """#!{interpreter} -IS
import array, json, os, resource, signal, socket, sys
if sys.argv[1:2] != ["-m"] or sys.argv[2].partition(".")[0] not in ("stages", "skiptrace", "dvc"):
    os.execv({interpreter!r}, [{interpreter!r}, *sys.argv[1:]])
limits = resource.getrlimit(resource.RLIMIT_FSIZE)
asked = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ), limits]).encode()
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    files = socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2])
    server.sendmsg([len(asked).to_bytes(8, "big")], [files])
    server.sendall(asked)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: server.send(bytes([number])))
    status = server.recv(1)
sys.exit(status[0] if status else "the process that runs stages has died")
"""


@contextlib.contextmanager
def quick(folder: Path) -> Iterator[Path]:
    """Write such a `python`, and a `dvc` that it runs, into a folder; they work until the context ends."""
    address = folder / "socket"
    script = folder / "python"
    script.write_text(CLIENT.format(interpreter=sys.executable, address=str(address)))
    script.chmod(0o755)
    dvc = folder / "dvc"
    dvc.write_text(f'#!/bin/sh\nexec {shlex.quote(str(script))} -m dvc "$@"\n')
    dvc.chmod(0o755)
    server = [sys.executable, __file__, str(address)]
    with subprocess.Popen(server, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None and running.stdout.readline() == b"ready\n"
        try:
            yield folder
        finally:
            running.kill()


def serve(address: str) -> None:
    """Fork for every call, for ever."""
    for name in THIRD_PARTIES:
        importlib.import_module(name)
    numba = importlib.import_module("numba")
    numba.njit("f8(f8)")(lambda x: x)  # what numba knows of types is loaded when it first compiles
    gc.freeze()  # what is here stays, and no fork looks through it for garbage
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background job ignores
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that answer
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen()
        print("ready", flush=True)
        while True:
            connection, _ = listening.accept()
            if os.fork() == 0:
                listening.close()
                _answer(connection)
            connection.close()


def _answer(connection: socket.socket) -> None:
    """Run one call in a process group of its own, pass signals on to it, and tell how it exited."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    files = array.array("i")
    size, control, *_ = connection.recvmsg(8, socket.CMSG_LEN(3 * files.itemsize))
    if not control:  # of one that was killed before it asked
        os._exit(0)
    files.frombytes(control[0][2])
    asked = json.loads(connection.recv(int.from_bytes(size, "big"), socket.MSG_WAITALL))
    arguments, folder, environment, file_size = asked
    stage = os.fork()
    if stage == 0:
        connection.close()
        for place, file in enumerate(files):
            os.dup2(file, place)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        resource.setrlimit(resource.RLIMIT_FSIZE, file_size)
        os._exit(_run(arguments))
    os.setpgid(stage, stage)
    ended = os.pidfd_open(stage)
    while ended not in select.select([ended, connection], [], [])[0]:
        number = connection.recv(1)  # none from one that was killed
        with contextlib.suppress(ProcessLookupError):
            os.killpg(stage, number[0] if number else signal.SIGKILL)
    _, status = os.waitpid(stage, 0)
    with contextlib.suppress(OSError):
        connection.sendall(bytes([os.waitstatus_to_exitcode(status) & 0xFF]))
    os._exit(0)


def _run(arguments: list[str]) -> int:
    """What `python -m module …` does."""
    _, module, *rest = arguments
    sys.argv = [module, *rest]
    sys.path[0] = os.getcwd()
    code: object = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as exit_:
        code = exit_.code
    except BaseException:
        traceback.print_exc()
        code = 1
    if isinstance(code, str):
        print(code, file=sys.stderr)
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    return code if isinstance(code, int) else int(code is not None)


if __name__ == "__main__":
    serve(sys.argv[1])
