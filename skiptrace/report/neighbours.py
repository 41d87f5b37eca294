"""The largest entries of every token in every head: what the page's token explorer looks up."""

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor

from skiptrace.circuits.factored import Circuit, direct, head_name, heads, ov, qk
from skiptrace.mining.topk import row_top
from skiptrace.models.transformer import Transformer

ROWS = 256  # tokens whose entries are held at once
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
    path = direct(model)
    found = [HeadEntries(DIRECT, *_both(path, path.column_means(), shown, eligible, count), None, None)]
    for head in heads(model):
        out, attention = ov(model, *head), qk(model, *head)
        centre = attention.left @ (attention.right @ probability)
        outs, sources = _both(out, out.column_means(), shown, eligible, count)
        attended, destinations = _both(attention, centre, shown, eligible, count)
        found.append(HeadEntries(head_name(head), outs, sources, destinations, attended))
    return found


def _both(
    circuit: Circuit,
    centre: Float[Tensor, " d_vocab"],
    shown: Int[Tensor, " n"],
    eligible: Bool[Tensor, " d_vocab"],
    count: int,
) -> tuple[Entries, Entries]:
    """The largest entries of the rows of the tokens shown, and of their columns; `centre` is taken off each row."""
    partners = eligible.nonzero()[:, 0]
    count = min(count, len(partners))
    right, left, means = circuit.right[:, partners], circuit.left[partners], centre[partners]
    rows, columns = Entries(count, [], []), Entries(count, [], [])
    for ids in shown.split(ROWS):
        _extend(rows, circuit.left[ids] @ right - centre[ids, None], partners)
        _extend(columns, (left @ circuit.right[:, ids]).T - means, partners)
    return rows, columns


def _extend(entries: Entries, values: Float[Tensor, "n partners"], partners: Int[Tensor, " partners"]) -> None:
    top = row_top(values, entries.count)
    entries.ids.extend(partners[top.index].flatten().tolist())
    entries.values.extend((top.values * 100).round().int().flatten().tolist())
