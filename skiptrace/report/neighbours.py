"""The largest entries of every token in every head: what the page's token explorer looks up."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from skiptrace.circuits.factored import Circuit, direct, head_name, heads, ov, qk
from skiptrace.mining.scan import Wanted, scan
from skiptrace.models.transformer import Transformer

DIRECT = "direct"


@dataclass(frozen=True)
class Entries:
    """For each token in turn, the `count` tokens with the largest entries, and these in hundredths."""

    count: int
    ids: list[int]
    values: list[int]


@dataclass(frozen=True)
class HeadEntries:
    """A head, or the direct path, which has no attention scores.

    `outs` and `sources`: OV, centred per source, of the token as source and as out. `destinations` and
    `attended`: QK, centred per destination, of the token as source and as destination.
    """

    name: str
    outs: Entries
    sources: Entries
    destinations: Entries | None
    attended: Entries | None


def neighbours(
    model: Transformer,
    shown: Int[Tensor, " n"],
    eligible: Bool[Tensor, " d_vocab"],
    probability: Float[Tensor, " d_vocab"],
    count: int,
) -> list[HeadEntries]:
    """The direct path and every head; partners are `eligible` tokens alone.

    `probability` is that of the tokens in the training text, by which QK is centred.
    """
    partners = eligible.nonzero()[:, 0]
    found = [HeadEntries(DIRECT, *_both(direct(model).centred(), shown, partners, count), None, None)]
    for head in heads(model):
        outs, sources = _both(ov(model, *head).centred(), shown, partners, count)
        attended, destinations = _both(qk(model, *head).centred(probability), shown, partners, count)
        found.append(HeadEntries(head_name(head), outs, sources, destinations, attended))
    return found


def _both(
    circuit: Circuit, shown: Int[Tensor, " n"], partners: Int[Tensor, " partners"], count: int
) -> tuple[Entries, Entries]:
    """The largest entries of the rows of the tokens shown, and of their columns."""
    rows, columns = circuit.restricted(shown, partners), circuit.transposed().restricted(shown, partners)
    return _entries(rows, partners, count), _entries(columns, partners, count)


def _entries(circuit: Circuit, partners: Int[Tensor, " partners"], count: int) -> Entries:
    if not len(partners):
        return Entries(0, [], [])
    top = scan(circuit, Wanted(rows=count), threads=torch.get_num_threads()).rows
    assert top is not None
    ids, values = partners[top.index.long()], (top.values * 100).round().int()
    return Entries(ids.shape[1], ids.flatten().tolist(), values.flatten().tolist())
