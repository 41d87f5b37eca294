"""Float arithmetic that gives the same bytes on every processor: which kernels the libraries may choose.

Libraries pick kernels by the processor they meet, and add in another order in each. `SKIPTRACE_KERNELS` says which may
be used: `avx2` (the default), the same on every Intel processor with AVX2 and whatever the number of threads;
`compatible`, the same on every x86-64 processor with AVX2, at two to three times the training time; `native`, the
fastest of this processor, with bytes of its own. docs/reproducibility.md has what was measured.
"""

import hashlib
import math
import os
import platform
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

P = ParamSpec("P")
T = TypeVar("T")

VARIABLE = "SKIPTRACE_KERNELS"
# Each is read once, when its library first computes, so that it has to stand in the environment before.
AVX2 = {
    "ATEN_CPU_CAPABILITY": "avx2",  # torch's own loops: width of vectors, and with it the order of sums
    "MKL_CBWR": "AVX2,STRICT",  # products: same kernels, and sums that do not depend on threads or alignment
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",  # NumPy's and SciPy's products
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",  # NumPy's exp and log round otherwise there
}
# Without STRICT, which there is none of for these kernels, sums depend on the number of threads.
COMPATIBLE = AVX2 | {"MKL_CBWR": "COMPATIBLE", "OMP_NUM_THREADS": "2"}
KERNELS = {"avx2": AVX2, "compatible": COMPATIBLE, "native": {}}
# Threads that spin while they wait for each other take the processor from whoever else is there.
ALWAYS = {"GOMP_SPINCOUNT": "10000"}
DEFAULT = "avx2"


def prepare() -> None:
    """Put what `SKIPTRACE_KERNELS` asks for into the environment, before NumPy and torch load; what is set there stays.

    Elsewhere than on an x86-64 processor with AVX2 there is nothing to choose from.
    """
    if kernels() not in KERNELS:
        sys.exit(f"error: {VARIABLE}: expected one of {', '.join(KERNELS)}, got {kernels()!r}")
    for name, value in (ALWAYS | (KERNELS[kernels()] if has_avx2() else {})).items():
        os.environ.setdefault(name, value)


def kernels() -> str:
    """What `SKIPTRACE_KERNELS` asks for."""
    return os.environ.get(VARIABLE, DEFAULT)


def variables() -> set[str]:
    """The names of everything that `prepare` may set, and its own."""
    return {VARIABLE, *ALWAYS, *(name for settings in KERNELS.values() for name in settings)}


def has_avx2() -> bool:
    """Whether this is an x86-64 processor with AVX2; where the system does not say, one from after 2013 has it."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return False
    flags = _from_cpuinfo("flags")
    return flags is None or "avx2" in flags.split()


def processor() -> str:
    """The processor's name, as the system gives it."""
    return _from_cpuinfo("model name") or platform.processor() or platform.machine()


def _from_cpuinfo(field: str) -> str | None:
    """The first value of a field of /proc/cpuinfo; None where there is no such file or field."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                name, _, value = line.partition(":")
                if name.strip() == field:
                    return value.strip()
    except OSError:
        pass
    return None


def on_one_thread(function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """Call a function with one thread for torch.

    Small products gain nothing from more, and decompositions (LAPACK), products with a vector, and sums of everything
    at once depend on how many there are.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return function(*arguments, **options)
    finally:
        torch.set_num_threads(threads)


def total(x: "Tensor") -> "Tensor":
    """The sum of all entries: torch sums a large tensor by a part for each thread."""
    import torch

    return on_one_thread(torch.sum, x)


def sqrt(x: "Tensor") -> "Tensor":
    """√x, by instructions that every processor rounds alike: `torch.sqrt` is MKL's, which rounds otherwise on AMD's."""
    return x.rsqrt().reciprocal()


def log(x: "Tensor") -> "Tensor":
    """Ln x as log₂ x · ln 2: `torch.log` is MKL's, whose double precision rounds otherwise on AMD's processors."""
    return x.log2() * math.log(2)


def signature() -> str:
    """A line for people and programs that is equal where the arithmetic is: kernels and `probe`."""
    return f"{kernels()} {probe()}\n"


def probe() -> str:
    """A digest of a few products, sums, decompositions and elementary functions."""
    import numpy as np
    import torch

    generator = torch.Generator().manual_seed(0)
    digest = hashlib.sha256()
    for rows, inner, columns in ((300, 128, 257), (64, 32, 512), (7, 1000, 9)):
        left, right = (torch.randn(s, generator=generator) for s in ((rows, inner), (inner, columns)))
        product = left @ right
        digest.update(product.numpy().tobytes() + product.logsumexp(1).numpy().tobytes())
        digest.update(product.exp().numpy().tobytes() + sqrt(product.square()).numpy().tobytes())
    square = torch.randn(120, 120, generator=generator, dtype=torch.float64)
    digest.update((square @ square.T).numpy().tobytes())
    for decomposition in (torch.linalg.svdvals, torch.linalg.eigvals):
        digest.update(on_one_thread(decomposition, square).numpy().tobytes())
    digest.update(log(square.square()).numpy().tobytes())
    digest.update(np.log(np.abs(square.numpy())).tobytes())
    return digest.hexdigest()[:16]
