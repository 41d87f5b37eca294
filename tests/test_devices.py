import numpy as np
import pytest
import torch

from skiptrace.circuits.factored import Circuit
from skiptrace.config.expansion import ExpansionParams
from skiptrace.config.models import ModelParams
from skiptrace.devices import device
from skiptrace.errors import InputError
from skiptrace.expansion import writer
from skiptrace.expansion.writer import Part, write
from skiptrace.mining.scan import Request, scan
from skiptrace.models.training import train
from tests.conftest import LIBRARY

PARTS = ExpansionParams(
    store="full", circuits=["ov"], heads="all", virtual_heads=0, max_bytes=10**9, chunk_rows=40, row_group_rows=16
)
ACCELERATORS = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}


def test_the_cpu_is_taken_unless_another_is_asked_for(monkeypatch):
    monkeypatch.delenv("SKIPTRACE_DEVICE", raising=False)
    assert device() == torch.device("cpu")
    best = next((name for name, there in ACCELERATORS.items() if there), "cpu")
    monkeypatch.setenv("SKIPTRACE_DEVICE", "auto")
    assert device().type == best


def test_an_unknown_device_is_named(monkeypatch):
    monkeypatch.setenv("SKIPTRACE_DEVICE", "tpu")
    with pytest.raises(InputError, match="SKIPTRACE_DEVICE: expected one of cpu, cuda, mps, auto, got 'tpu'"):
        device()


@pytest.mark.parametrize("name", ACCELERATORS)
def test_a_device_that_is_not_there_is_named(monkeypatch, name):
    if ACCELERATORS[name]:
        pytest.skip(f"this machine has {name}")
    monkeypatch.setenv("SKIPTRACE_DEVICE", name)
    with pytest.raises(InputError, match=f"SKIPTRACE_DEVICE: there is no {name} here; this machine has cpu"):
        device()


@pytest.mark.parametrize("name", ACCELERATORS)
def test_an_accelerator_finds_what_the_cpu_finds(name):
    if not ACCELERATORS[name]:
        pytest.skip(f"this machine has no {name}")
    g = torch.Generator().manual_seed(0)
    left, right = (torch.randint(-3, 4, shape, generator=g).float() for shape in ((2100, 8), (8, 17_000)))
    circuit, request = Circuit("ov", "0", "0", left, right), Request(7, 5, 30, 16)
    here, there = scan(circuit, request), scan(circuit.on(torch.device(name)), request)
    assert torch.equal(here.rows.index, there.rows.index) and torch.equal(here.columns.index, there.columns.index)
    assert torch.equal(here.whole.rows, there.whole.rows) and torch.equal(here.whole.columns, there.whole.columns)
    assert here.statistics.counts.tolist() == there.statistics.counts.tolist()


@pytest.mark.parametrize("name", ACCELERATORS)
def test_an_accelerator_trains_to_nearly_the_same_losses(name, tmp_path):
    if not ACCELERATORS[name]:
        pytest.skip(f"this machine has no {name}")
    params = ModelParams(
        corpus="mine", seed=0, n_layers=1, n_heads=2, d_head=4, d_model=8, n_ctx=8, steps=20, batch_size=4,
        warmup_steps=2, lr_embedding=0.02, lr_attention=0.02, weight_decay=0.0,
    )  # fmt: skip
    stream = np.random.default_rng(0).integers(1, 30, 500)
    curves = []
    for each in ("cpu", name):
        curves.append(train(params, stream, stream, 30, tmp_path / each, "mine", torch.device(each))[1])
    np.testing.assert_allclose(curves[0]["valid_loss"], curves[1]["valid_loss"], rtol=1e-3)


@pytest.mark.parametrize("name", ACCELERATORS)
def test_an_accelerator_writes_the_same_parts(monkeypatch, name, tmp_path):
    if not ACCELERATORS[name]:
        pytest.skip(f"this machine has no {name}")
    monkeypatch.setenv("SKIPTRACE_WORKERS", "1")
    g = torch.Generator().manual_seed(0)
    left, right = (torch.randint(-3, 4, shape, generator=g).float() for shape in ((90, 8), (8, 70)))
    for where in ("cpu", name):
        write([Circuit("ov", "0", "0", left, right, torch.device(where))], 90, str(tmp_path / where), PARTS)
    parts = [sorted((tmp_path / where).rglob("*.parquet")) for where in ("cpu", name)]
    assert [p.read_bytes() for p in parts[0]] == [p.read_bytes() for p in parts[1]] and len(parts[0]) == 3


def test_parts_of_another_device_are_not_kept():
    made = [writer._made_of("factors", Part(0, 4, "x"), PARTS, torch.device(where), {}) for where in ("cpu", "mps")]
    assert made[0] != made[1]


def test_only_stages_read_the_environment_for_a_device():
    reading = {
        path.relative_to(LIBRARY.parent).as_posix()
        for folder in ("skiptrace", "stages")
        for path in (LIBRARY.parent / folder).rglob("*.py")
        if "import device\n" in path.read_text()
    }
    assert reading == {"stages/train.py", "stages/mine.py", "stages/expand.py"}
