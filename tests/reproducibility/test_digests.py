"""The same bytes whatever the number of threads, and the bytes that other processors gave."""

import ast
import json
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from skiptrace import arithmetic

ROOT = Path(__file__).parents[2]
KNOWN = json.loads((Path(__file__).parent / "digests.json").read_text(encoding="utf-8"))
HASWELL = (
    "+avx,+avx2,+bmi,+bmi2,+cx16,+f16c,+fma,+lzcnt,+popcnt,+sse2,+sse3,+sse4.1,+sse4.2,+ssse3"  # what numba may use
)
LIBRARIES = ("torch", "numpy", "numba", "scipy", "pandas", "pyarrow", "safetensors", "tokenizers")


def study(**environment: str) -> dict[str, str]:
    """What the study prints in a process of its own, whose threads leave the processors to others while they wait."""
    own = {k: v for k, v in os.environ.items() if k not in arithmetic.variables()} | {"OMP_WAIT_POLICY": "passive"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.reproducibility.study"],
        cwd=ROOT, env=own | environment, text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def maker(processor: str) -> str:
    """Who made a processor, by its name."""
    return processor.split()[0].removesuffix("(R)")


@pytest.fixture(scope="module")
def here() -> dict[str, str]:
    return study(OMP_NUM_THREADS="1")


@pytest.mark.skipif(not arithmetic.has_avx2(), reason="known difference: kernels are chosen on x86-64 with AVX2 alone")
def test_every_processor_gives_the_same_bytes_with_compatible_kernels():
    """Beside other work too: these kernels fix the number of threads.

    A processor whose maker was measured itself, and not emulated alone, has to agree in everything with those of its
    maker, and in what makers are known to agree on with others. Of another a difference is reported, to be noted.
    """
    refuse_other_libraries()
    found, entries = study(SKIPTRACE_KERNELS="compatible"), KNOWN["compatible"]
    here, native = (
        maker(arithmetic.processor()),
        {maker(e["processor"]) for e in entries if "QEMU" not in e["processor"]},
    )
    makers = {kind: {maker(e["processor"]) for e in entries if kind in e["digests"]} for kind in found}
    for entry in entries:
        kinds = [kind for kind in entry["digests"] if maker(entry["processor"]) == here or len(makers[kind]) > 1]
        differing = ", ".join(kind for kind in kinds if found[kind] != entry["digests"][kind])
        said = f"{arithmetic.processor()} gives other {differing} than {entry['processor']}"
        if differing and here not in native:
            pytest.skip(f"not known before: {said}; make processors notes it")
        assert not differing, said


@pytest.mark.skipif(not arithmetic.has_avx2(), reason="there is no lesser set of instructions to emulate")
def test_four_threads_of_a_processor_with_fewer_instructions_give_the_same_bytes_as_one(here):
    """MKL, oneDNN, NumPy and numba held to what a processor of 2013 has."""
    lesser = {"MKL_ENABLE_INSTRUCTIONS": "AVX2", "NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": HASWELL}
    assert study(OMP_NUM_THREADS="4", **lesser) == here


def test_this_processor_gives_the_bytes_that_others_gave(here):
    """Those whose kernels compute alike, as the probe shows, have to agree in everything that is known of them."""
    refuse_other_libraries()
    like = [entry for entry in KNOWN["avx2"] if entry["digests"]["probe"] == here["probe"]]
    if not any(here.keys() == entry["digests"].keys() for entry in like):
        names = ", ".join(entry["processor"] for entry in like) or "none that is known"
        pytest.skip(f"{arithmetic.processor()} computes like {names}, of which no more is noted; make processors does")
    for entry in like:
        assert entry["digests"].items() <= here.items(), f"computes like {entry['processor']} and gives other bytes"


def test_processors_differ_where_the_page_says_so():
    """Intel's agree under `avx2`, AMD's do not, and all do under `compatible` (docs/reproducibility.md)."""
    probes = {k: {e["processor"]: e["digests"]["probe"] for e in entries} for k, entries in KNOWN.items()}
    makers = {name: maker(name) for name in probes["avx2"]}
    of_maker = {maker: {probes["avx2"][n] for n in makers if makers[n] == maker} for maker in makers.values()}
    assert len(of_maker["Intel"]) == len(of_maker["AMD"]) == 1 and of_maker["Intel"] != of_maker["AMD"]
    assert len(set(probes["compatible"].values())) == 1


def refuse_other_libraries() -> None:
    """Skip where other versions are installed than those that the digests were made with."""
    others = [name for name in LIBRARIES if metadata.version(name).split("+")[0] != pins()[name]]
    if others:
        pytest.skip(f"known difference: {', '.join(others)} of other versions than requirements.lock")


def pins() -> dict[str, str]:
    """The locked version of every package."""
    locks = [(ROOT / name).read_text(encoding="utf-8") for name in ("requirements.lock", "requirements-torch-cpu.lock")]
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==([^\s;+]+)", "\n".join(locks), re.MULTILINE))


def test_what_libraries_compute_otherwise_elsewhere_is_not_asked_of_them():
    """LAPACK's results depend on the number of threads; MKL's roots and logarithms, on who made the processor."""
    names = {"qr", "svd", "svdvals", "eig", "eigh", "eigvals", "eigvalsh", "matrix_norm", "lstsq", "solve", "inv"}
    for path in (ROOT / "skiptrace").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in names:
                assert ast.unparse(node.func.value) != "torch.linalg", f"{path}:{node.lineno}: use on_one_thread"
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in ("sqrt", "log")
            ):
                # Losses and buckets of distances are in single precision, whose logarithm is the same everywhere.
                single = path.name in ("loss.py", "relative.py")
                own = ast.unparse(node.func).startswith(("math.", "np.")) or single
                assert own, f"{path}:{node.lineno}: use the function of arithmetic"
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("torch.optim.Adam", "torch.optim.AdamW"):
                assert any(k.arg == "fused" for k in node.keywords), f"{path}:{node.lineno}: use fused=True"


@pytest.mark.parametrize(("machine", "flags", "expected"), [
    ("x86_64", "fpu avx avx2 fma", True), ("x86_64", "fpu avx", False), ("aarch64", None, False), ("AMD64", None, True),
])  # fmt: skip
def test_kernels_are_chosen_where_there_is_a_choice(monkeypatch, machine, flags, expected):
    monkeypatch.setattr(arithmetic.platform, "machine", lambda: machine)
    monkeypatch.setattr(arithmetic, "_from_cpuinfo", lambda field: flags)
    for name in arithmetic.variables():
        monkeypatch.delenv(name, raising=False)
    arithmetic.prepare()
    assert ("MKL_CBWR" in os.environ) == expected
    assert "GOMP_SPINCOUNT" in os.environ


def test_what_is_set_stays_and_a_wrong_name_is_refused(monkeypatch):
    monkeypatch.setenv("MKL_CBWR", "AUTO")
    arithmetic.prepare()
    assert os.environ["MKL_CBWR"] == "AUTO"
    monkeypatch.setenv("SKIPTRACE_KERNELS", "fast")
    with pytest.raises(SystemExit, match="error: SKIPTRACE_KERNELS: expected one of avx2, compatible, native"):
        arithmetic.prepare()
