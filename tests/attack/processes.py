"""Signals, kills, full disks and a hostile revision, on a tiny pipeline of real DVC."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.attack.outcome import Attempt, Outcome, Part
from tests.pipeline import forks
from tests.pipeline.conftest import Project, create

Stage = tuple[str, ...]
OF_NOTES = [(stage, "--corpus", "notes") for stage in ("corpus", "tokens", "ngrams")]
OF_TWO = [(stage, "--model", "two") for stage in ("train", "score", "expand", "mine", "verify", "compose")]
TOYS: list[Stage] = [("superposition",), ("dictionary", "--dictionary", "toy")]
STAGES: list[Stage] = [("check",), *OF_NOTES, *OF_TWO, *TOYS, ("summarise",), ("document",), ("report",)]
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)


@contextlib.contextmanager
def tiny() -> Iterator[Project]:
    """A reproduced and committed tiny pipeline."""
    with tempfile.TemporaryDirectory() as folder, forks.quick(Path(folder)) as python:
        project = create(Path(folder) / "project", python)
        project.repro()
        project.call("git", "add", "--all")
        project.call("git", "commit", "--quiet", "--message", "reproduced")
        yield project


def outputs(project: Project) -> dict[str, bytes]:
    """All that stages have written, scratch aside."""
    found = {}
    for root in (project.path / "data", project.path / "reports"):
        for path in root.rglob("*"):
            name = path.relative_to(project.path)
            # Digests of code change with the module that `signals` touches.
            if path.is_file() and not {"scratch", "code"} & set(name.parts):
                found[name.as_posix()] = path.read_bytes()
    return found


def compared(what: str, project: Project, before: dict[str, bytes], errors: str) -> Attempt:
    """Whether the outputs are what they were, and nothing was printed but single lines."""
    if "Traceback" in errors:
        return Attempt(what, Outcome.traceback, errors)
    after = outputs(project)
    differing = [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]
    return Attempt(what, Outcome.wrong if differing else Outcome.same, ", ".join(differing[:5]))


def signals(count: int, seed: int, project: Project | None = None) -> Iterator[Attempt]:
    """Signal `dvc repro`; after `skiptrace.command.repair` it must end as if nothing had been.

    Every other time at a random moment, and else while it writes dvc.lock, which it has emptied then.
    """
    with tiny() if project is None else contextlib.nullcontext(project) as here:
        before, generator, module = outputs(here), np.random.default_rng(seed), here.path / "stages" / "ngrams.py"
        target, lock = "ngrams@notes", here.path / "dvc.lock"
        started = time.monotonic()
        module.write_text(module.read_text() + "\n# 0\n")
        here.repro(target)
        whole = time.monotonic() - started
        for attempt in range(count):
            size = lock.stat().st_size - 100  # digests change, their lengths do not
            module.write_text(module.read_text() + f"\n# {attempt} of {seed}\n")
            number = SIGNALS[attempt % len(SIGNALS)]
            running = subprocess.Popen(
                ["python", "-m", "dvc", "repro", target], cwd=here.path, env=here.environment(), start_new_session=True,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            moment = generator.uniform(0, whole)
            what = f"{number.name} after {moment:.2f} of {whole:.2f} s"
            if attempt % 2:
                what = f"{number.name} while dvc.lock is written"
                while running.poll() is None and lock.stat().st_size >= size:
                    time.sleep(0.0005)
            else:
                time.sleep(moment)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.pid, number)  # as a terminal does
            running.wait()
            repaired = here.repair()
            again = here.call("dvc", "repro", target)
            if repaired.returncode or again.returncode:
                yield Attempt(what, Outcome.wrong, repaired.stderr + again.stderr)
                continue
            found = compared(what, here, before, repaired.stderr)
            yield (
                found._replace(outcome=Outcome.noticed) if repaired.stderr and found.outcome == "same result" else found
            )


def kills(count: int, seed: int, project: Project | None = None, stages: list[Stage] = STAGES) -> Iterator[Attempt]:
    """Kill stages at random moments of their second half, in which they write; the next run ends with the same."""
    with tiny() if project is None else contextlib.nullcontext(project) as here:
        before, generator, seconds = outputs(here), np.random.default_rng(seed), {}
        for attempt in range(count):
            stage = stages[attempt % len(stages)]
            if stage not in seconds:
                started = time.monotonic()
                here.stage(*stage)
                seconds[stage] = time.monotonic() - started
            running = subprocess.Popen(
                ["python", "-m", f"stages.{stage[0]}", *stage[1:]], cwd=here.path, env=here.environment(),
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            moment = generator.uniform(0.5, 1.05) * seconds[stage]
            time.sleep(moment)
            running.kill()
            running.wait()
            left = [name for name in outputs(here) if name.endswith(".partial")]
            again = here.stage(*stage)
            what = f"{stage[0]} killed after {moment:.2f} of {seconds[stage]:.2f} s"
            found = compared(what, here, before, again.stderr)
            yield found if not left else Attempt(what, Outcome.wrong, f"left {left}")


def disks(count: int, seed: int, project: Project | None = None, stages: list[Stage] = STAGES) -> Iterator[Attempt]:
    """Run stages that may write only so many bytes a file, as on a full disk: one line, and outputs as they were."""
    with tiny() if project is None else contextlib.nullcontext(project) as here:
        before, generator = outputs(here), np.random.default_rng(seed)
        for attempt in range(count):
            stage = stages[attempt % len(stages)]
            blocks = int(generator.integers(0, 8))  # of 1024 bytes
            command = f"ulimit -f {blocks}; exec python -m stages.{' '.join(stage)}"
            done = here.call("bash", "-c", command)
            what = f"{stage[0]} with files of at most {blocks} kB"
            errors = sum(line.startswith("error:") for line in done.stderr.splitlines())  # warnings may come first
            if "Traceback" in done.stderr or (done.returncode and errors != 1):
                yield Attempt(what, Outcome.traceback, done.stderr)
                continue
            again = here.stage(*stage)
            found = compared(what, here, before, again.stderr)
            noticed = done.returncode == 1 and found.outcome is Outcome.same
            yield found._replace(outcome=Outcome.noticed) if noticed else found


HOSTILE = ("/{outside}/y", "../../{outside}/y", "a/../../../{outside}/y", "..", "x\ny", "~/y")


def revision(count: int, seed: int, project: Project | None = None) -> Iterator[Attempt]:
    """Compare with revisions whose models have names that lead elsewhere: nothing is written outside."""
    with tiny() if project is None else contextlib.nullcontext(project) as here:
        outside = here.path.parent / "outside"
        for name in [HOSTILE[i % len(HOSTILE)] for i in range(count)]:
            params = here.params()
            hostile = name.format(outside=str(outside).strip("/"))
            params["models"][hostile] = params["models"]["one"]
            here.write_params(params)
            here.call("git", "commit", "--quiet", "--all", "--message", "hostile")
            here.call("git", "checkout", "--quiet", "HEAD~1")
            done = here.call(sys.executable, "-m", "skiptrace", "compare", "HEAD", "HEAD@{1}")
            here.call("git", "checkout", "--quiet", "HEAD")
            if outside.exists():
                yield Attempt(repr(hostile), Outcome.wrong, "a file outside of the comparison was written")
            elif "Traceback" in done.stderr:
                yield Attempt(repr(hostile), Outcome.traceback, done.stderr)
            else:
                yield Attempt(repr(hostile), Outcome.noticed if done.returncode else Outcome.wrong, done.stderr)


PARTS = [
    Part("signals to dvc repro", 76, signals),
    Part("kills inside stages", 138, kills),
    Part("full disks", 42, disks),
    Part("hostile revisions", 6, revision),
]
