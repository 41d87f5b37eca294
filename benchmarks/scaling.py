"""What a pass over a circuit costs at any size: a model fitted to measured points, and what it says of large models."""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import nnls

from benchmarks import cluster, large

WAY = "rows + columns + whole"
HELD_OUT = "50257 128"
HOUR = 3600.0


class Model(NamedTuple):
    """A transformer whose head circuits are to be expanded and mined."""

    name: str
    d_vocab: int
    layers: int
    heads: int
    d_head: int
    note: str = ""


MODELS = (
    Model("GPT-2 small", 50_257, 12, 12, 64),
    Model("GPT-2 XL", 50_257, 48, 25, 64),
    Model("Pythia-12B", 50_688, 36, 40, 128, "rotary positions: QK at one offset, or its mean over distances"),
    Model("Llama 3.1 405B", 128_256, 126, 128, 128, "rotary; keys and values shared by 16 heads each"),
)


class Fit(NamedTuple):
    """Seconds per entry: `product` per unit of rank, `look` for the maxima, `find` per row and column, over V."""

    product: float
    look: float
    find: float

    def seconds(self, d_vocab: int, rank: int) -> float:
        """One circuit, on the machine that was measured."""
        return d_vocab**2 * float(np.dot(_terms(d_vocab, rank), self))


def _terms(d_vocab: int, rank: int) -> list[float]:
    return [float(rank), 1.0, 1.0 / d_vocab]


def fit(top: dict[str, dict[str, float]]) -> Fit:
    """Least squares over all measured points but the one held out; each point counts by its relative error."""
    points = [(tuple(map(int, size.split())), 1 / rates[WAY]) for size, rates in top.items() if size != HELD_OUT]
    terms = np.array([_terms(*size) for size, _ in points])
    seconds = np.array([each for _, each in points])
    return Fit(*nnls(terms / seconds[:, None], np.ones(len(points)))[0])


PAGE = Path(__file__).parents[1] / "docs" / "scaling.md"
CLUSTER = "\n## On a cluster\n"


def page(results: dict[str, Any]) -> str:
    """docs/scaling.md."""
    found, top = fit(results["top"]), results["top"]
    v, r = map(int, HELD_OUT.split())
    told, seen = found.seconds(v, r), v**2 / top[HELD_OUT][WAY]
    bytes_per_second = results["write"]["ours, from the factors"]
    lines = [
        "# Scaling",
        "",
        "Written by `make bench`, up to the last section, from the measurements in "
        "[benchmarks/RESULTS.md](../benchmarks/RESULTS.md).",
        *results.get("note", []),
        "",
        "A circuit of a vocabulary of V tokens and heads of width r has V² entries, each 2r floating-point operations.",
        "Finding the largest of every row, every column and the whole costs, per entry,",
        "",
        f"    {found.product * 1e12:.2f} ps · r  +  {found.look * 1e12:.0f} ps  +  {found.find * 1e6:.2f} µs / V",
        "",
        "the product in whole numbers, once for rows and once for columns; the maxima of its blocks; and, of each row and",
        "column, the few entries that a bound on the error of whole numbers cannot exclude, which are computed in double",
        f"precision (about 2k on random factors and on trained ones); on {results['machine']}. Fitted to {len(top) - 1} "
        f"points; the one held out (V = {v}, rank {r}) was measured at {seen:.1f} s per circuit and predicted at {told:.1f} s, {100 * (told / seen - 1):+.0f} %.",
        "",
        "Memory is the two factors, 8·V·r bytes, and what is taken above them: "
        + ", ".join(f"{b / 1e6:.0f} MB at V = {n}" for n, b in results["memory"].items() if n.isdecimal())
        + ". That is one factor in another order, 4·V·r, both in whole numbers, 2·V·r, and the results, 16·V·k while they are",
        "looked for; nothing grows with V².",
        "",
        f"Storing a circuit takes 2·V² bytes, here at {bytes_per_second / 1e6:.0f} MB/s, the product included.",
        "",
        "## What this means for known models",
        "",
        "QK and OV of every head. `workers` are machines like this one on a Dask cluster; a task is one head (mining) or",
        "1024 rows of a circuit (expansion), so that hundreds of workers share the work evenly.",
        "",
        "| model | V | heads | entries | top-k, this machine | workers for an hour | factors of a head | stored in full |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for m in MODELS:
        circuits = 2 * m.layers * m.heads
        seconds = circuits * found.seconds(m.d_vocab, m.d_head)
        stored = 2 * circuits * m.d_vocab**2
        lines.append(
            f"| {m.name} | {m.d_vocab:,} | {m.layers} × {m.heads} of {m.d_head} | {circuits * m.d_vocab**2:.1e} | "
            f"{_time(seconds)} | {math.ceil(seconds / HOUR)} | {16 * m.d_vocab * m.d_head / 1e6:.0f} MB | {_size(stored)} |"
        )
    lines += [
        "",
        *(f"{m.name}: {m.note}." for m in MODELS if m.note),
        "",
        "What to store: up to about V = 10 000, everything (`expansion.store: full`). At GPT-2's vocabulary a circuit is",
        "5 GB: store the few heads that you query by hand (`expansion.heads: [L0H1]`), and mine the rest on the fly",
        "(`expansion.store: none`); the tables are the same, since mining works from the factors either way. Beyond that,",
        "store none: reading a circuit back takes longer than computing it again.",
        "",
    ]
    if large.FOUND.exists():
        lines += large.section(json.loads(large.FOUND.read_text()))
    largest = MODELS[-1]
    heads, seconds = largest.layers * largest.heads, 2 * found.seconds(largest.d_vocab, largest.d_head)
    lines += cluster.section(cluster.Measured(**results["cluster"]), largest.name, heads, seconds)
    # What follows is not measured and stays as it stands.
    return "\n".join(lines) + CLUSTER + PAGE.read_text().partition(CLUSTER)[2]


def _time(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"


def _size(count: float) -> str:
    for size, unit in ((1e15, "PB"), (1e12, "TB"), (1e9, "GB")):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1e6:.0f} MB"
