"""Models with a size of its own for every axis, so that a transposed matrix cannot pass."""

import os

# Test processes share the processors, and threads that wait for each other cost ten times what small products do.
os.environ.setdefault("OMP_NUM_THREADS", "1")
import stages  # noqa: F401  chooses the arithmetic, before torch is imported

# isort: split
import contextlib
import gc
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from jaxtyping import install_import_hook

# The tests start hundreds of processes, and each would compile the same modules again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Shapes and types are checked at run time, but where Typer reads the annotations.
LIBRARY = Path(__file__).parents[1] / "skiptrace"
ROOMS = {path.stem for path in LIBRARY.iterdir()} - {"__init__", "__main__", "__pycache__", "command", "py"}
install_import_hook([f"skiptrace.{room}" for room in sorted(ROOMS)], "beartype.beartype")

from skiptrace.models.config import ModelConfig  # noqa: E402  after the hook
from skiptrace.models.transformer import Transformer  # noqa: E402  after the hook

# Half of hypothesis's default where a test does not say: the suite has seven minutes.
settings.register_profile("suite", max_examples=50)
settings.load_profile("suite")

SIZES = {"d_vocab": 23, "d_model": 10, "n_ctx": 7, "n_heads": 3, "d_head": 4}


@pytest.fixture(scope="session")
def make_model() -> Callable[..., Transformer]:
    """Build a random model in float64 whose heads matter."""

    def make(n_layers: int, seed: int = 0, **changed: int) -> Transformer:
        sizes = SIZES | changed
        if n_layers == 0:
            sizes |= {"n_heads": 0, "d_head": 0}
        model = Transformer(ModelConfig(n_layers=n_layers, **sizes)).double()
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for weight in model.parameters():
                weight.normal_(std=0.7, generator=generator)
        return model.requires_grad_(False).eval()

    return make


@pytest.fixture(scope="session")
def tokens() -> torch.Tensor:
    """A batch of two contexts, each token below `d_vocab`."""
    return torch.randint(0, SIZES["d_vocab"], (2, SIZES["n_ctx"]), generator=torch.Generator().manual_seed(1))


@pytest.fixture
def full_disk() -> Callable[[], contextlib.AbstractContextManager[None]]:
    """A context in which files of this process may have 1 kB, as if the disk were full."""

    @contextlib.contextmanager
    def full() -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)

    return full


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let one test process reproduce the tiny pipeline first and the other do the same elsewhere.

    Tests that need the reproduced pipeline come when it is there, so that none has to wait for it.
    """
    needy = [item for item in items if "reproduced" in getattr(item, "fixturenames", ())]
    second = [item for item in items if item.name == "test_a_second_run_elsewhere_gives_the_same_hashes"]
    others = [item for item in items if item not in needy and item not in second]
    ordered = [*needy[:1], *others]
    # pytest-xdist gives each of two processes half of the tests, and then what the other has not begun, from the end:
    # so what takes long, which is what drives DVC and sorts last, comes first.
    half = len(items) // 2
    items[:] = [*ordered[:half], *second, *reversed(needy[1:]), *ordered[half:]]


def pytest_collection_finish() -> None:
    """What is there when the tests begin stays, so that no collection of garbage looks through it again."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Garbage again, which libraries take for leaks where it is left at the end."""
    gc.unfreeze()
