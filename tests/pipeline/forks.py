"""A `python` for the pipelines of tests: third parties are imported once, and each stage is a fork of that process.

A tiny pipeline spends most of its time importing torch, once per stage, and so does the command. `serve` imports it
once; the `python` that `quick` writes sends it the arguments, the folder, the environment and the open files of a
call, and exits as the fork does. The project's own modules are imported by every fork anew.
"""

import array
import contextlib
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

THIRD_PARTIES = (
    "dvc.repo",
    "matplotlib.figure",
    "numba",
    "pandas",
    "pyarrow.parquet",
    "rich.table",
    "scipy.stats",
    "tokenizers",
    "torch._dynamo",
    "typer",
)

# Isolated and without site packages, it starts in a hundredth of the time that torch takes.
CLIENT = """#!{interpreter} -IS
import array, json, os, socket, sys
if sys.argv[1:2] != ["-m"] or sys.argv[2].partition(".")[0] not in ("stages", "skiptrace"):
    os.execv({interpreter!r}, [{interpreter!r}, *sys.argv[1:]])
asked = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    files = socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2])
    server.sendmsg([len(asked).to_bytes(8, "big")], [files])
    server.sendall(asked)
    status = server.recv(1)
sys.exit(status[0] if status else "the process that runs stages has died")
"""


@contextlib.contextmanager
def quick(folder: Path) -> Iterator[Path]:
    """Write such a `python` into a folder; it works until the context ends."""
    address = folder / "socket"
    script = folder / "python"
    script.write_text(CLIENT.format(interpreter=sys.executable, address=str(address)))
    script.chmod(0o755)
    server = [sys.executable, __file__, str(address)]
    with subprocess.Popen(server, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None and running.stdout.readline() == b"ready\n"
        yield folder
        running.kill()


def serve(address: str) -> None:
    """Fork for every call, for ever."""
    for name in THIRD_PARTIES:
        importlib.import_module(name)
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
    """Run one call in a fork of its own, and tell how it exited."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    files = array.array("i")
    size, control, *_ = connection.recvmsg(8, socket.CMSG_LEN(3 * files.itemsize))
    files.frombytes(control[0][2])
    arguments, folder, environment = json.loads(connection.recv(int.from_bytes(size, "big"), socket.MSG_WAITALL))
    stage = os.fork()
    if stage == 0:
        connection.close()
        for place, file in enumerate(files):
            os.dup2(file, place)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        os._exit(_run(arguments))
    _, status = os.waitpid(stage, 0)
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
