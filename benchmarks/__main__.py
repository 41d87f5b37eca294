"""Measure everything, print it, and write benchmarks/RESULTS.md, benchmarks/results.json and docs/scaling.md."""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import cluster, scaling, training, ways
from benchmarks.measure import in_turns, machine, peak_memory
from skiptrace.mining.scan import Request

HERE = Path(__file__).parent
VOCABULARIES, RANKS = (2048, 10_000, 50_257, 128_256), (32, 64, 128)
MOST = 400_000_000  # entries per measurement, but at the headline size
HEADLINE = (50_257, 64)
MEMORY = (10_000, 50_257, 200_000)


def main() -> None:
    """Run all benchmarks, about ten minutes on two cores."""
    tell("sgemm peak and training")
    trained = in_turns(training.ways() | {"sgemm peak": ways.sgemm_peak()})
    results: dict[str, Any] = {"machine": machine(), "peak": trained.pop("sgemm peak"), "training": trained}
    results["training_flops"] = training.flops_per_token()
    results["top"] = {}
    for d_vocab in VOCABULARIES:
        for rank in RANKS:
            results["top"] |= top(d_vocab, rank)
    everything = Request(ways.K, ways.K, ways.K, 100)
    results["memory"] = {}
    for d_vocab in MEMORY:
        tell(f"memory at V = {d_vocab}")
        results["memory"][str(d_vocab)] = peak_memory(ways.scanning, d_vocab, 64, everything)
    for name in ("dense, then topk", "row batches, each topk", "FAISS IndexFlatIP"):
        results["memory"][name] = peak_memory(ways.others, name, *HEADLINE)
    with tempfile.TemporaryDirectory(dir=HERE) as scratch:
        folder = Path(scratch)
        small, whole = ways.circuit(10_000, 64), ways.circuit(*HEADLINE)
        tell("Parquet")
        results["write"] = in_turns(ways.store(small, folder), before=lambda: ways.clear(folder))
        results["read"] = in_turns(ways.read(small, folder))
        ways.clear(folder)
        tell("one row of a whole circuit")
        ways.store(whole, folder)["ours, from the factors"]()
        results["row_seconds"] = 1 / in_turns({"row": ways.one_row(whole, folder)})["row"]
    tell("workers of a cluster")
    results["cluster"] = cluster.measure()._asdict()
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    write(results)


def top(d_vocab: int, rank: int) -> dict[str, dict[str, float]]:
    """One line of the table of largest entries."""
    tell(f"top-k at V = {d_vocab}, rank {rank}")
    most = 10**12 if (d_vocab, rank) == HEADLINE else MOST
    return {f"{d_vocab} {rank}": in_turns(ways.top(ways.circuit(d_vocab, rank), most))}


def write(results: dict[str, Any]) -> None:
    """Turn measurements into pages."""
    text = page(results)
    (HERE / "RESULTS.md").write_text(text)
    (HERE.parent / "docs" / "scaling.md").write_text(scaling.page(results))
    print(text)


def tell(what: str) -> None:
    """Say on standard error what is being measured."""
    print(f"==> {what}", file=sys.stderr, flush=True)


def page(results: dict[str, Any]) -> str:
    """RESULTS.md."""
    peak = results["peak"]
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`; nothing here was typed. Rates are medians of five, all ways of a table run in turns.",
        f"Machine: {results['machine']}. A product of two 3000 × 3000 matrices runs at {peak / 1e9:.0f} GFLOP/s.",
        *results.get("note", []),  # of measurements that wait to be made again: `make bench` leaves it out
        "",
        "## The largest entries of a circuit",
        "",
        f"10⁹ entries per second, k = {ways.K}, and in brackets the ratio to the bare matrix product in single precision,",
        "formed in tiles that stay in the cache; more than one is possible, since `rows`, `columns` and `whole` (the largest",
        "entries of the whole matrix) form it in whole numbers of 8 or 16 bits, and only what a certified bound cannot",
        "exclude in double precision. `statistics` are mean, variance, extremes and a histogram of 100 bins. Peers find the",
        "rows' largest entries only, in single precision, at the fastest of a few block sizes each, their threads waiting",
        "passively.",
        "",
    ]
    names = list(next(iter(results["top"].values())))
    lines += [f"| V | rank | {' | '.join(names)} | sgemm peak |", "|---" * (len(names) + 3) + "|"]
    for size, rates in results["top"].items():
        d_vocab, rank = size.split()
        product = rates[ways.PRODUCT]
        cells = [f"{rates[n] / 1e9:.2f} ({rates[n] / product:.2f})" for n in names]
        lines.append(f"| {d_vocab} | {rank} | {' | '.join(cells)} | {peak / 2 / int(rank) / 1e9:.2f} |")
    head = results["top"][" ".join(map(str, HEADLINE))]
    product = head[ways.PRODUCT]
    lines += [
        "",
        f"At V = {HEADLINE[0]}, rank {HEADLINE[1]}: rows at {head['rows'] / product:.2f} × the product, rows, columns and whole "
        f"at {head['rows + columns + whole'] / product:.2f}, with statistics at "
        f"{head['rows + columns + whole + statistics'] / product:.2f}; "
        f"rows {head['rows'] / head['dense, then topk']:.1f} × dense-then-topk"
        + (f", {head['rows'] / head['FAISS IndexFlatIP']:.1f} × FAISS." if "FAISS IndexFlatIP" in head else "."),
        "",
        "On a GPU nothing has been measured yet; `make bench-gpu` does, and writes benchmarks/GPU.md.",
        "",
        "## Memory above the factors, rank 64",
        "",
        "| what | peak |",
        "|---|---|",
    ]
    for name, size in results["memory"].items():
        what = f"rows + columns + whole + statistics, V = {name}" if name.isdecimal() else f"{name}, V = {HEADLINE[0]}"
        lines.append(f"| {what} | {size / 1e6:.0f} MB |")
    for key, what in (
        ("write", "Writing a circuit of V = 10 000 (200 MB)"),
        ("read", "Reading one part of it (20 MB)"),
    ):
        rates = results[key]
        lines += ["", f"## {what}", "", "| way | MB/s | of raw bytes |", "|---|---|---|"]
        lines += [f"| {n} | {r / 1e6:.0f} | {r / rates['raw bytes']:.2f} |" for n, r in rates.items()]
    row = results["row_seconds"] * 1000
    lines += [
        "",
        f"One row of a stored circuit of V = {HEADLINE[0]} (5 GB) is read in {row:.1f} ms.",
        "",
        "## Training",
        "",
    ]
    ours, plain = results["training"]["ours"], results["training"]["plain loop"]
    lines += [
        f"Two layers, d_model 128, V = {training.D_VOCAB}, context 256: {ours:,.0f} tokens/s, "
        f"{ours / plain:.1f} × a plain PyTorch loop with AdamW over the same model ({plain:,.0f}), and "
        f"{ours * results['training_flops'] / peak:.2f} of the sgemm peak.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    if sys.argv[1:] == ["--pages"]:
        write(json.loads((HERE / "results.json").read_text()))
    elif sys.argv[1:] == ["--headline"]:
        print(json.dumps(top(*HEADLINE), indent=1))
    else:
        main()
