"""The tokens that the circuits of a model tie most closely to one token, or to each of many.

Entries are centred as in the mined tables: QK per destination by its corpus-weighted mean over sources, OV and the
direct path per row by the mean over output tokens. Softmax ignores both.
"""

from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from skiptrace.circuits.factored import Circuit, Head, direct, head_name, heads, ov, qk
from skiptrace.exploration.tables import ENTRIES
from skiptrace.memory import give_back
from skiptrace.mining.scan import Request, scan
from skiptrace.models.transformer import Transformer


class View(NamedTuple):
    """A role that a token may have, the circuit that shows it there, and what stands across from it.

    `row`: the token is a row of the circuit. `partners` is what the tokens across are to it, in the table of entries.
    """

    role: str
    circuit: str
    row: bool
    across: str
    partners: str


VIEWS = (
    View("source", "ov", True, "outs", "outs"),
    View("out", "ov", False, "sources", "sources"),
    View("destination", "qk", True, "sources", "attended"),
    View("source", "qk", False, "destinations", "destinations"),
    View("destination", "direct", True, "next tokens", "outs"),
    View("out", "direct", False, "present tokens", "sources"),
)
DIRECT = "direct"  # in place of a head


class Entry(NamedTuple):
    """A token across, and the value of the circuit there: as it is, and centred."""

    token_id: int
    value: float
    centred: float


class Neighbours(NamedTuple):
    """The largest centred entries of one row or column, largest first; `head` reads `direct` without one."""

    view: View
    head: str
    entries: list[Entry]


def neighbours(
    model: Transformer,
    token: int,
    asked: tuple[View, ...],
    heads: list[Head | None],
    probability: Float[Tensor, " d_vocab"],
    allowed: Bool[Tensor, " d_vocab"],
    most: int,
) -> Iterator[Neighbours]:
    """What stands across from a token in every head asked for (None is the direct path), at most `most` each.

    `probability` is that of the training text; tokens that are not `allowed` are left out.
    """
    for head, view, circuit in _views(model, asked, heads, probability):
        plain = _circuit(model, view, head)
        values = plain.row(token) if view.row else plain.column(token)
        centred = circuit.row(token)
        # A stable sort puts the smaller id first among equals.
        best = centred.masked_fill(~allowed, -torch.inf).argsort(descending=True, stable=True)
        best = best[: min(most, int(allowed.sum()))]
        found = [Entry(i, values[i].item(), centred[i].item()) for i in best.tolist()]
        yield Neighbours(view, _name(head), found)


def entries(
    model: Transformer,
    shown: Int[Tensor, " n"],
    eligible: Bool[Tensor, " d_vocab"],
    probability: Float[Tensor, " d_vocab"],
    count: int,
) -> pd.DataFrame:
    """The `count` largest entries of each token shown, in every head and the direct path; partners are `eligible`.

    `role` says what the partners are to the token: `outs` it raises and `sources` that raise it (OV, in logits; of the
    direct path, next and present tokens), `destinations` that attend to it and tokens `attended` by it (QK, centred by
    `probability`, that of the training text; attention scores).
    """
    partners = eligible.nonzero()[:, 0]
    found = []
    for head, view, circuit in _views(model, VIEWS, [None, *heads(model)], probability):
        if len(partners) and len(shown):
            top = scan(circuit.restricted(shown, partners), Request(rows=count), threads=torch.get_num_threads()).rows
            assert top is not None
            width = top.index.shape[1]
            columns = {
                "token_id": shown.repeat_interleave(width).numpy(),
                "rank": torch.arange(1, width + 1).repeat(len(shown)).numpy(),
                "partner_id": partners[top.index.long()].flatten().numpy(),
                "value": top.values.flatten().numpy(),
            }
            found.append(pd.DataFrame(columns).assign(name=_name(head), role=view.partners))
            give_back()
    return ENTRIES.frame(pd.concat(found, ignore_index=True) if found else ())


def _views(
    model: Transformer, asked: tuple[View, ...], heads: list[Head | None], probability: Float[Tensor, " d_vocab"]
) -> Iterator[tuple[Head | None, View, Circuit]]:
    """Each head, view and centred circuit, with the tokens that are looked up in the rows."""
    for head in heads:
        made: dict[str, Circuit] = {}
        for view in asked:
            if (view.circuit == DIRECT) == (head is None):
                if view.circuit not in made:
                    plain = _circuit(model, view, head)
                    made[view.circuit] = plain.centred(probability if view.circuit == "qk" else None)
                circuit = made[view.circuit]
                yield head, view, circuit if view.row else circuit.transposed()


def _circuit(model: Transformer, view: View, head: Head | None) -> Circuit:
    return direct(model) if head is None else {"ov": ov, "qk": qk}[view.circuit](model, *head)


def _name(head: Head | None) -> str:
    return DIRECT if head is None else head_name(head)
