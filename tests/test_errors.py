"""How a command ends: real processes, real pipes."""

import os
import signal
import subprocess
import sys

import pytest

PRINTS = "from skiptrace.errors import run; run(lambda: print({text!a} * {times}))"


def call(code: str, shell: str = '"$@"', **environment: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", "-o", "pipefail", "-c", shell, "bash", sys.executable, "-c", code]
    return subprocess.run(command, text=True, capture_output=True, check=False, env=os.environ | environment)


@pytest.mark.parametrize("times", [1, 1_000_000], ids=["at the end", "on the way"])
def test_a_reader_that_has_gone_is_no_error(times):
    done = call(PRINTS.format(text="row\n", times=times), '"$@" | { exec 0<&-; sleep 0.5; }')
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


def test_standard_output_that_is_closed_is_no_error():
    code = "import sys; from skiptrace.errors import run; run(lambda: print(sys.stdout.isatty(), 'row'))"
    done = call(code, '"$@" >&-')
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_no_file_takes_the_place_of_a_closed_standard_file(tmp_path, closed):
    """What a library prints would be written into it."""
    path = tmp_path / "written"
    writes = f"""
import os
from skiptrace.errors import run
def main():
    with open({str(path)!r}, "w") as file:
        file.write("ours")
        for number in (1, 2):
            os.write(number, b"a library's")
        raise ValueError
run(main)"""
    assert call(writes, f'"$@" {closed}').returncode == 1
    assert path.read_text() == "ours"


def test_a_full_disk_behind_standard_output_is_one_line():
    done = call(PRINTS.format(text="row\n", times=1), '"$@" > /dev/full')
    assert done.returncode == 1
    assert done.stderr.startswith("error: standard output, or another file without a name: No space left on device; ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "environment",
    [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
    ids=["PYTHONIOENCODING", "LC_ALL"],
)
def test_what_standard_output_cannot_encode_is_an_escape(environment):
    done = call(PRINTS.format(text="→ é \ud800", times=1), **environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\\u2192 \\xe9 \\ud800\n", "")


def test_a_surrogate_does_not_stop_utf_8():
    done = call(PRINTS.format(text="→ \udcff", times=1), PYTHONIOENCODING="utf-8")
    assert (done.returncode, done.stdout, done.stderr) == (0, "→ \\udcff\n", "")


def failing(raises: str) -> str:
    return call(f"from skiptrace import errors, files, seals\nfrom pathlib import Path\n{raises}").stderr


@pytest.mark.parametrize(
    "code",
    [
        "import numpy; numpy.empty(2**58)",
        "import pyarrow; pyarrow.allocate_buffer(2**60)",
        "import torch; torch.empty(2**60)",
        "import errno; raise OSError(errno.ENOMEM, 'no room')",
        'raise RuntimeError("can\'t start new thread")',
        "raise MemoryError",
    ],
    ids=["numpy", "pyarrow", "torch", "mmap", "threads", "interpreter"],
)
def test_no_memory_is_one_line_whoever_finds_it_out(code):
    error = failing(f"def main():\n    {code}\nerrors.run(main, 'mining.outs')")
    assert error.startswith("error: out of memory (") and error.count("\n") == 1
    assert error.endswith("; lower mining.outs in params.yaml, or give it more\n")


def test_a_file_that_does_not_fit_the_memory_is_not_called_damaged(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("{}")
    code = f"""
import errno, mmap
def fails(*arguments, **options):
    raise OSError(errno.ENOMEM, "Cannot allocate memory")
{{place}} = fails
errors.run(lambda: files.read_json(Path({str(path)!r})))"""
    for place in ("mmap.mmap", "Path.read_text"):
        error = failing(code.replace("{place}", place).replace("mmap.mmap", "seals.mmap.mmap"))
        assert "out of memory in " in error and "reproduce" not in error and error.count("\n") == 1, error


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("open('/nowhere/x')", "/nowhere/x: No such file or directory; make it again, or correct its name"),
        ("open('/', 'w')", "/: Is a directory; SKIPTRACE_DEBUG=1 shows where"),
        (
            "files.write_text(Path('/dev/full'), 'x' * 10**6)",
            "/dev/full: No space left on device; free some of its disk",
        ),
        ("(Path('/proc/nowhere')).mkdir()", "/proc/nowhere: No such file or directory; "),
    ],
    ids=["missing", "folder", "full", "elsewhere"],
)
def test_an_error_of_the_system_names_its_file_and_what_to_do(code, said):
    error = failing(f"def main():\n    {code}\nerrors.run(main)")
    assert error.startswith(f"error: {said}") and error.count("\n") == 1


def test_an_interrupt_while_a_stage_is_imported_ends_it_at_once():
    """A KeyboardInterrupt there would be a traceback, or be lost in what a library catches."""
    slow = "import os, signal, sys; sys.argv[:] = ['-m']; import stages; os.kill(os.getpid(), signal.SIGINT)"
    done = call(slow, 'trap - INT; exec "$@"')
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")
    ends = "from skiptrace import errors; errors.run(lambda: os.kill(os.getpid(), signal.SIGINT))"
    done = call(slow.rpartition(";")[0] + "\n" + ends)
    assert (done.returncode, done.stderr) == (1, "interrupted: run the same command again to continue\n")


def test_other_errors_keep_their_type():
    error = failing("def main():\n    raise RuntimeError('no kernel')\nerrors.run(main, 'mining.outs')")
    assert error.startswith("error: RuntimeError: no kernel")
