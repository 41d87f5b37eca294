"""Inputs that are random, crafted or extreme: each is read, or refused in one line."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import yaml

from skiptrace.config.pipeline import load_pipeline
from tests.attack.outcome import Attempt, Outcome, Part, reading
from tests.fuzz.test_malformed import FOUND, READERS, places
from tests.pipeline.conftest import default_params
from tests.report.test_tokens import HOSTILE

ROOT = Path(__file__).parents[2]
EXTREMES = [0, -1, 2**31, 2**63, 10**30, 1e30, 1e308, -1e-300, float("inf"), float("nan"), "", "../../x", "/dev/zero",
            "a\0b", "x" * 5000, [], {}, None, True, [[]] * 1000]  # fmt: skip
CRAFTED = {
    "empty": b"",
    "zeros": bytes(4096),
    "one newline": b"\n",
    "no UTF-8": b"\xff\xfe\x00\xd8" * 64,
    "deep list": b"[" * 100_000,
    "deep mapping": b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
    "long number": b"9" * 5000,
    "infinity": b'{"n_layers": 1e999, "train": Infinity}',
    "lone surrogate": b'{"text": "\\ud83d"}\n',
    "pickle": b"\x80\x04cos\nsystem\n(S'touch pwned'\ntR.",
    "Parquet's ends": b"PAR1" + b"\xff" * 64 + b"\xff\xff\xff\x7fPAR1",
    "NumPy's start": b"\x93NUMPY\x01\x00\xff\xff{'descr': '<f8', 'shape': (10**18,)}",
    "safetensors' start": (2**62).to_bytes(8, "little") + b"{}",
    "zip's end": b"PK\x05\x06" + b"\xff" * 18,
}


def random(count: int, seed: int) -> Iterator[Attempt]:
    """What Hypothesis makes of sound files, by the tests of tests/fuzz, `count` inputs for each reader."""
    done = _tests(f"--hypothesis-seed={seed}", "tests/fuzz", SKIPTRACE_FUZZ=str(count))
    for name, passed, why in done:
        tries = count if "damaged_bytes" in name or "out_of_place" in name else 1
        yield from [Attempt(name, Outcome.noticed)] * (tries - 1)
        yield Attempt(name, Outcome.noticed if passed else Outcome.traceback, why)


def browser(count: int, seed: int) -> Iterator[Attempt]:
    """Pages of random hostile tokens in Chromium: each token is text wherever it stands, and runs nothing."""
    for number in range(0, count, len(HOSTILE)):
        test = "tests/report/test_page.py::test_hostile_tokens_are_text_everywhere"
        done = list(_tests(test, SKIPTRACE_HOSTILE=str(seed + number)))
        good = [passed for _, passed, _ in done] == [True]
        what, why = f"tokens of seed {seed + number}", " ".join(why for *_, why in done) or "the test did not run"
        outcome = Outcome.same if good else Outcome.wrong
        yield from [Attempt(what, outcome, why)] * min(len(HOSTILE), count - number)


def _tests(*arguments: str, **environment: str) -> Iterator[tuple[str, bool, str]]:
    """The name of each of some tests, whether it passed, and what pytest says of its failure."""
    command = [sys.executable, "-m", "pytest", "-n", "0", "-q", "-rA", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | environment, text=True, capture_output=True, check=False
    )  # fmt: skip
    for result, name in re.findall(r"^(PASSED|FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE):
        # What pytest says of a failure stands in the lines that begin with E.
        why = re.findall(r"^E +(\S.*)$", done.stdout.partition(f"_ {name.partition('::')[2]} _")[2], re.MULTILINE)
        yield name, result == "PASSED", " ".join(why[:3])


def crafted(count: int, seed: int) -> Iterator[Attempt]:
    """Every reader with every crafted content, and with all that was found before."""
    cases = [(kind, name, content) for kind in READERS for name, content in CRAFTED.items()]
    cases += [(path.parent.name, path.name, path.read_bytes()) for path in sorted(FOUND.glob("*/*"))]
    for index in np.random.default_rng(seed).permutation(len(cases))[:count]:
        kind, name, content = cases[index]
        reader, file, write = READERS[kind]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "in" / file
            path.parent.mkdir()
            (path.parent.parent / "out").mkdir()
            write(path)
            path.write_bytes(content)
            yield reading(f"{kind}: {name}", lambda read=reader, at=path: read(at))


def extreme(count: int, seed: int) -> Iterator[Attempt]:
    """Every key of params.yaml with extreme values."""
    params = default_params()
    ways = [way for way in places(params) if way]
    generator = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "params.yaml"
        for _ in range(count):
            way, value = ways[generator.integers(len(ways))], EXTREMES[generator.integers(len(EXTREMES))]
            changed = default_params()
            place = changed
            for key in way[:-1]:
                place = place[key]
            place[way[-1]] = value
            path.write_text(yaml.safe_dump(changed))
            yield reading(f"{'.'.join(map(str, way))} = {str(value)[:40]!r}", lambda: load_pipeline(path) and None)


PARTS = [
    Part("inputs: random, per reader", 425, random),
    Part("inputs: crafted", 1000, crafted),
    Part("inputs: extreme parameters", 226, extreme),
    Part("tokens in a browser", 60, browser),
]
