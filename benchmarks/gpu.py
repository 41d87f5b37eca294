"""Mining and training on an accelerator, beside its matrix product alone and `torch.topk`: `make bench-gpu`.

Writes benchmarks/GPU.md. The device is what `SKIPTRACE_DEVICE` names, cuda by default.
"""

import os
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks import training, ways
from benchmarks.measure import in_turns
from skiptrace.circuits.factored import Circuit
from skiptrace.devices import device
from skiptrace.mining.scan import Request, scan
from skiptrace.mining.tiles import LARGE

SIZES = ((10_000, 64), (50_257, 64), (50_257, 128), (128_256, 128))
ENTRIES = 5 * 10**9  # entries per measurement
PAGE = Path(__file__).parent / "GPU.md"


def main() -> None:
    """Measure, print, and write the page."""
    os.environ.setdefault("SKIPTRACE_DEVICE", "cuda")
    where = device()
    name = torch.cuda.get_device_name(where) if where.type == "cuda" else where.type
    text = page(name, {size: in_turns(mining(*size, ENTRIES, where)) for size in SIZES}, in_turns(trained(where)))
    PAGE.write_text(text)
    print(text)


def mining(d_vocab: int, rank: int, entries: int, where: torch.device) -> dict[str, Callable[[], float]]:
    """Ways to the largest entries, on a device; each returns how many entries it looked at when all is done."""
    c = ways.circuit(d_vocab, rank)
    few = Circuit(c.name, c.layer, c.head, c.left[: max(1, min(d_vocab, entries // d_vocab))], c.right, where)
    left, right = few.left.to(where), few.right.to(where)
    height, width = LARGE

    def product() -> None:
        for rows in left.split(height):
            for columns in right.split(width, 1):
                rows @ columns

    def topk() -> None:
        for rows in left.split(height):
            (rows @ right).topk(ways.K)

    def timed(work: Callable[[], object]) -> Callable[[], float]:
        def run() -> float:
            work()
            finish(where)
            return float(few.shape[0] * few.shape[1])

        return run

    return {
        "product alone": timed(product),
        "rows": timed(lambda: scan(few, Request(rows=ways.K), threads=ways.THREADS)),
        "whole": timed(lambda: scan(few, Request(whole=ways.K), threads=ways.THREADS)),
        "row batches, each topk": timed(topk),
    }


def trained(where: torch.device) -> dict[str, Callable[[], float]]:
    """The ways to train, on a device."""

    def timed(way: Callable[[], float]) -> Callable[[], float]:
        def run() -> float:
            tokens = way()
            finish(where)
            return tokens

        return run

    return {name: timed(way) for name, way in training.ways(where).items()}


def finish(where: torch.device) -> None:
    """Wait until an accelerator has done what it was asked."""
    if where.type == "cuda":
        torch.cuda.synchronize(where)
    elif where.type == "mps":
        torch.mps.synchronize()


def page(name: str, top: dict[tuple[int, int], dict[str, float]], tokens: dict[str, float]) -> str:
    """GPU.md."""
    names = list(next(iter(top.values())))
    lines = [
        "# Benchmarks on an accelerator",
        "",
        f"Written by `make bench-gpu` on {name}, torch {torch.__version__}. Rates are medians of five, in turns.",
        f"10⁹ entries per second, k = {ways.K}, in single precision, and in brackets the share of the product alone.",
        "",
        f"| V | rank | {' | '.join(names)} |",
        "|---" * (len(names) + 2) + "|",
    ]
    for (d_vocab, rank), rates in top.items():
        cells = [f"{rates[n] / 1e9:.2f} ({rates[n] / rates[names[0]]:.2f})" for n in names]
        lines.append(f"| {d_vocab} | {rank} | {' | '.join(cells)} |")
    lines += ["", "Training: " + ", ".join(f"{way} {rate:,.0f} tokens/s" for way, rate in tokens.items()) + ".", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
