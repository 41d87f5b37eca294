"""The ways to find the largest entries of a circuit, ours and others', and to store and read it."""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch

from skiptrace.circuits.factored import Circuit
from skiptrace.config.expansion import ExpansionParams
from skiptrace.expansion.reader import read_row
from skiptrace.expansion.writer import write
from skiptrace.mining.scan import HEIGHT, WIDTH, Request, scan

K = 10
THREADS = os.cpu_count() or 1
ROWS = 4096  # rows that the slower ways are timed on; their rate does not depend on how many
PRODUCT = "float32 product in tiles"
BATCHES = (32, 128, 512)  # rows of a batch, as notebooks take them
FAISS_BLOCKS = ((4096, 1024), (1024, 1024), (4096, 4096), (256, 1024))  # queries and entries; the first is its default


def circuit(d_vocab: int, rank: int) -> Circuit:
    """Random factors; a trained model's circuits cost the same arithmetic."""
    g = torch.Generator().manual_seed(0)
    left, right = torch.randn(d_vocab, rank, generator=g), torch.randn(rank, d_vocab, generator=g)
    return Circuit("ov", "0", "0", left / rank**0.5, right)


def top(c: Circuit, most: int) -> dict[str, Callable[[], float]]:
    """Ways to the largest entries; each returns the entries it looked at, at most about `most` where that is fair."""
    n, m = c.shape
    few = Circuit(c.name, c.layer, c.head, c.left[: max(512, min(n, most // m))], c.right)
    slow = Circuit(c.name, c.layer, c.head, c.left[: min(n, ROWS)], c.right)

    def ours(request: Request) -> Callable[[], float]:
        def run() -> float:
            scan(few, request, threads=THREADS)
            return few.shape[0] * m

        return run

    ways = {
        PRODUCT: lambda: product(few),
        "rows": ours(Request(rows=K)),
        "rows + columns + whole": ours(Request(K, K, K)),
        "rows + columns + whole + statistics": ours(Request(K, K, K, 100)),
        "dense, then topk": lambda: dense(slow, len(slow.left)),
        "row batches, each topk": fastest([partial(dense, slow, batch) for batch in BATCHES]),
    }
    try:
        import faiss
    except ImportError:
        print("FAISS is not installed: pip install 'skiptrace[bench]'")
        return ways
    index = faiss.IndexFlatIP(c.left.shape[1])
    index.add(c.right.T.contiguous().numpy())

    def faiss_flat(queries: int, entries: int) -> float:
        faiss.cvar.distance_compute_blas_query_bs, faiss.cvar.distance_compute_blas_database_bs = queries, entries
        index.search(slow.left.numpy(), K)
        return slow.shape[0] * m

    return ways | {"FAISS IndexFlatIP": fastest([partial(faiss_flat, *sizes) for sizes in FAISS_BLOCKS])}


def fastest(ways: list[Callable[[], float]]) -> Callable[[], float]:
    """The one of these that is fastest here, each tried twice."""

    def seconds(way: Callable[[], float]) -> float:
        start = time.perf_counter()
        way()
        return time.perf_counter() - start

    taken = [min(seconds(way), seconds(way)) for way in ways]
    return ways[taken.index(min(taken))]


def product(c: Circuit) -> float:
    """The matrix in single precision, tile by tile in the cache, nothing done with it."""

    def form(first: int) -> None:
        torch.set_num_threads(1)  # of this thread
        buffer = torch.empty(HEIGHT * WIDTH)
        for left in c.left.split(HEIGHT)[first::THREADS]:
            for right in c.right.split(WIDTH, 1):
                torch.mm(left, right, out=buffer[: len(left) * right.shape[1]].view(len(left), -1))

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(form, range(THREADS)))
    return c.shape[0] * c.shape[1]


def dense(c: Circuit, rows: int) -> float:
    """The matrix in blocks of full rows, and the library's top-k of each."""
    for block in c.left.split(rows):
        (block @ c.right).topk(K)
    return c.shape[0] * c.shape[1]


def sgemm_peak() -> Callable[[], float]:
    """Floating-point operations of a large product."""
    a, b, out = (torch.randn(3000, 3000) for _ in range(3))

    def run() -> float:
        torch.mm(a, b, out=out)
        return 2 * 3000.0**3

    return run


def scanning(d_vocab: int, rank: int, request: Request) -> Callable[[], object]:
    """Prepare one pass over a circuit."""
    c = circuit(d_vocab, rank)
    return lambda: scan(c, request, threads=THREADS)


def others(name: str, d_vocab: int, rank: int) -> Callable[[], object]:
    """Prepare one of the other ways."""
    return top(circuit(d_vocab, rank), 0)[name]


EXPANSION = ExpansionParams(
    store="full", circuits=["ov"], heads="all", virtual_heads=0, max_bytes=10**12, chunk_rows=1024, row_group_rows=128
)


def store(c: Circuit, folder: Path) -> dict[str, Callable[[], float]]:
    """Ways to put a circuit, or as many bytes, on a disk; each returns the bytes."""
    n, m = c.shape
    payload = np.random.default_rng(0).integers(0, 256, 2 * m * EXPANSION.chunk_rows, np.uint8)
    half = payload.view(np.float16).reshape(-1, m)
    starts = range(0, n, EXPANSION.chunk_rows)

    def in_threads(one: Callable[[int], object]) -> Callable[[], float]:
        def run() -> float:
            with ThreadPoolExecutor(THREADS) as pool:
                list(pool.map(one, starts))
            return 2.0 * n * m

        return run

    def raw(start: int) -> None:
        with (folder / f"{start}.raw").open("wb") as file:
            file.write(payload.data)

    def ours() -> float:
        write([c], n, str(folder), EXPANSION)
        return 2.0 * n * m

    def arrow(start: int) -> None:
        import pyarrow as pa

        entries = pa.FixedSizeListArray.from_arrays(pa.array(half.reshape(-1)), m)
        pq.write_table(
            pa.table({"values": entries}), folder / f"{start}.parquet", use_dictionary=False, compression="none"
        )

    return {
        "raw bytes": in_threads(raw),
        "ours, from the factors": ours,
        "numpy.save": in_threads(lambda start: np.save(folder / f"{start}.npy", half)),
        "pyarrow, the same layout": in_threads(arrow),
    }


def clear(folder: Path) -> None:
    """Remove what was written, and let the disk come to rest, so that no write waits for an earlier one."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    os.sync()


def read(c: Circuit, folder: Path) -> dict[str, Callable[[], float]]:
    """Ways to read one part back; each returns the bytes."""
    clear(folder)
    n, m = c.shape
    write([c], n, str(folder), EXPANSION)
    part = next(folder.rglob("part-00000.parquet"))
    size = 2.0 * m * min(n, EXPANSION.chunk_rows)
    raw, array = folder / "part.raw", folder / "part.npy"
    raw.write_bytes(part.read_bytes())
    np.save(array, np.zeros((min(n, EXPANSION.chunk_rows), m), np.float16))

    def arrow() -> float:
        pq.read_table(part)
        return size

    def bytes_() -> float:
        raw.read_bytes()
        return size

    def numpy() -> float:
        np.load(array)
        return size

    return {"raw bytes": bytes_, "pyarrow": arrow, "numpy.load": numpy}


def one_row(c: Circuit, folder: Path) -> Callable[[], float]:
    """Read single rows from anywhere in a stored circuit; returns how many."""
    tokens = np.random.default_rng(0).integers(0, c.shape[0], 50)

    def run() -> float:
        for token in tokens:
            read_row(folder, c.name, c.layer, c.head, int(token))
        return len(tokens)

    return run
