"""The tokens that the circuits of a model tie most closely to one token.

A token stands in a circuit as a row or as a column. A row is one record of the Parquet parts; a
column runs through all of them and is gathered tile by tile. Where no parts were stored, both are
products of the circuit's thin factors.

Entries are centred as in the mined tables: QK per destination by its corpus-weighted mean over
sources, OV and the direct path per row by the mean over outs. Softmax ignores both.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from skiptrace.circuits.factored import Circuit, Head, direct, head_name, ov, qk
from skiptrace.errors import InputError
from skiptrace.expansion.layout import partition
from skiptrace.expansion.reader import Tiles, read_row
from skiptrace.models.transformer import Transformer


class View(NamedTuple):
    """A role that a token may have, the circuit that shows it there, and what stands across from it."""

    role: str
    circuit: str
    row: bool  # whether the token is a row of the circuit
    across: str


VIEWS = (
    View("source", "ov", True, "outs"),
    View("source", "qk", False, "destinations"),
    View("destination", "qk", True, "sources"),
    View("destination", "direct", True, "next tokens"),
    View("out", "ov", False, "sources"),
    View("out", "direct", False, "present tokens"),
)


class Entry(NamedTuple):
    """A token across, and the value of the circuit there: as stored, and centred."""

    token_id: int
    value: float
    centred: float


class Neighbours(NamedTuple):
    """The largest centred entries of one row or column, largest first; `head` reads `direct` without one."""

    view: View
    head: str
    entries: list[Entry]


class Line(NamedTuple):
    """A whole row or column of a circuit: its entries, and the mean that each is centred by."""

    values: Float[Tensor, " n"]
    means: Float[Tensor, " n"]


@runtime_checkable
class Matrix(Protocol):
    """A circuit of which a row can be had for little and a column for one pass; `weights` make row means."""

    def row(self, token: int, weights: Float[Tensor, " columns"]) -> Line:
        """The entries of one row."""

    def column(self, token: int, weights: Float[Tensor, " columns"]) -> Line:
        """The entries of one column, each with the mean of its own row."""


class Stored:
    """An expanded circuit on disk.

    Raises:
        InputError: a part is missing, truncated or of another shape; names it.
    """

    def __init__(self, folder: Path, circuit: str, layer: str, head: str) -> None:
        self._key = (folder, circuit, layer, head)
        self._place = folder / partition(circuit, layer, head)
        self._tiles = Tiles(folder, circuit, layer, head)

    def exists(self) -> bool:
        """Whether any part was stored."""
        return any(self._place.glob("part-*.parquet"))

    def row(self, token: int, weights: Float[Tensor, " columns"]) -> Line:
        """One record, whose row group alone is read."""
        values = torch.from_numpy(read_row(*self._key, token)).float()
        if len(values) != len(weights):
            raise InputError(f"{self._place}: rows of {len(values)} entries, but {len(weights)} tokens; reproduce it")
        return Line(values, (values @ weights).expand(len(values)))

    def column(self, token: int, weights: Float[Tensor, " columns"]) -> Line:
        """All parts are read, one tile in memory."""
        found = [(tile.values[:, token].clone(), tile.values @ weights) for tile in self._tiles]
        return Line(*(torch.cat(part) for part in zip(*found, strict=True)))


class Factored:
    """A circuit that was not stored: rows and columns of the product of its factors."""

    def __init__(self, circuit: Circuit) -> None:
        self._circuit = circuit

    def row(self, token: int, weights: Float[Tensor, " columns"]) -> Line:
        """left[token] · right."""
        values = self._circuit.row(token)
        return Line(values, (values @ weights).expand(len(values)))

    def column(self, token: int, weights: Float[Tensor, " columns"]) -> Line:
        """Left · right[:, token]; row means are left · (right · weights)."""
        circuit = self._circuit
        return Line(circuit.column(token), circuit.weighted_sums(weights))


def neighbours(
    model: Transformer,
    folder: Path | None,
    token: int,
    asked: tuple[View, ...],
    heads: list[Head | None],
    probability: Float[Tensor, " d_vocab"],
    allowed: Bool[Tensor, " d_vocab"],
    most: int,
) -> Iterator[Neighbours]:
    """What stands across from a token in every head asked for (None is the direct path), at most `most` each.

    `folder` holds the expanded circuits, if any (None: compute all from the weights); `probability`
    is that of the corpus; tokens that are not `allowed` are left out.
    """
    for head in heads:
        for view in asked:
            if (view.circuit == "direct") == (head is None):
                weights = probability if view.circuit == "qk" else torch.full_like(probability, 1 / len(probability))
                matrix = _open(model, folder, view.circuit, head)
                line = matrix.row(token, weights) if view.row else matrix.column(token, weights)
                yield Neighbours(view, "direct" if head is None else head_name(head), _largest(line, allowed, most))


def _open(model: Transformer, folder: Path | None, circuit: str, head: Head | None) -> Matrix:
    if folder is not None:
        stored = Stored(folder, circuit, *(("none", "none") if head is None else map(str, head)))
        if stored.exists():
            return stored
    return Factored(direct(model) if head is None else {"ov": ov, "qk": qk}[circuit](model, *head))


def _largest(line: Line, allowed: Bool[Tensor, " d_vocab"], most: int) -> list[Entry]:
    centred = line.values - line.means
    # A stable sort puts the smaller id first among equals, of which half precision has many.
    best = centred.masked_fill(~allowed, -torch.inf).argsort(descending=True, stable=True)
    best = best[: min(most, int(allowed.sum()))]
    return [Entry(i, line.values[i].item(), centred[i].item()) for i in best.tolist()]
