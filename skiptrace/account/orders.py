"""Orders in which the entries of a model's circuits are kept: by what they save, by their size, or at random."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor

from skiptrace.account.entries import Entries, Running, Split
from skiptrace.arithmetic import sqrt, total
from skiptrace.circuits.factored import Circuit
from skiptrace.progress import progress

MOST = 2**26  # entries of a circuit, of all heads together, that are ranked: of the most frequent tokens, if need be
PATH = ((0.0, 0.125), (0.25, 0.25), (0.5, 0.25), (0.75, 0.25), (1.0, 0.125))  # places on the path, trapezoidal weights
MEMORY = 0.9  # what a round's slopes weigh beside those of the next
BLOCK = 64  # values of which the largest bounds the first few


class Ranked(NamedTuple):
    """Entries of QK and of OV in an order, and what each is worth in it: nats per token for those ranked by loss."""

    qk: Entries
    ov: Entries
    qk_worth: Float[np.ndarray, " n"]
    ov_worth: Float[np.ndarray, " n"]


def ranked_tokens(n_heads: int, frequency: Float[Tensor, " d_vocab"]) -> Int[Tensor, " n"]:
    """The tokens whose entries are ranked: all, or as many of the most frequent as `MOST` allows, in order of id."""
    most = int((MOST / n_heads) ** 0.5)
    return frequency.argsort(descending=True, stable=True)[:most].sort().values


class Slopes(NamedTuple):
    """∂loss/∂entry, over the ranked tokens."""

    qk: Float[Tensor, "n_heads n n"]
    ov: Float[Tensor, "n_heads n n"]


@torch.no_grad()
def slopes(
    running: Running, windows: Int[Tensor, "batch width"], tokens: Int[Tensor, " n"], into: Slopes, share: float = 1.0
) -> None:
    """Add to `into`, `share` times, the derivatives of the mean loss (nats per token) with respect to every entry.

    With g_i = softmax(logits_i) − onehot(target_i): ∂/∂OV[s, o] = Σ_i Σ_{j: t_j = s} A_ij g_i[o], and ∂/∂QK[d, s] =
    Σ_{i: t_i = d} Σ_{j: t_j = s} ∂loss/∂s_ij. In one layer ∂loss/∂s_ij = A_ij (a_ij − Σ_k A_ik a_ik) with
    a_ij = OV[t_j] · g_i; where later layers read what this one writes, the chain rule goes on through them.
    """
    local = torch.full((running.additive.d_vocab,), -1)
    local[tokens] = torch.arange(len(tokens))
    whole = len(tokens) == running.additive.d_vocab
    targets = windows.shape[0] * (windows.shape[1] - 2)
    for window in windows:
        context = window[:-1]
        added = torch.zeros(running.additive.n_heads, len(context), len(context), requires_grad=True)
        with torch.enable_grad():
            attention = running.pattern(context, added)
        pattern = attention.detach()
        gradient = running.logits(context, pattern).softmax(-1)
        gradient[torch.arange(len(context)), window[1:]] -= 1
        gradient[0] = 0
        gradient *= share / targets
        through = running.through(context, gradient)
        with torch.enable_grad():
            saved = total(attention * through)
            composed = running.additive.composed(context, attention)
            if composed is not None:
                saved = saved + total(composed * (gradient @ running.additive.W_U.T))
        (scores,) = torch.autograd.grad(saved, added)
        # Places of the same token are added up first: a context has far fewer tokens than places.
        held = local[context].unique()
        held = held[held >= 0]
        stands = (local[context] == held[:, None]).to(pattern.dtype)
        into.ov.index_add_(1, held, (stands @ pattern.transpose(1, 2)) @ (gradient if whole else gradient[:, tokens]))
        at = held[:, None] * len(tokens) + held
        into.qk.flatten(1).index_add_(1, at.flatten(), (stands @ scores @ stands.T).flatten(1))


def empty(n_heads: int, n: int) -> Slopes:
    """Zero slopes."""
    return Slopes(*(torch.zeros(n_heads, n, n) for _ in range(2)))


def times_entries(split: Split, tokens: Int[Tensor, " n"], found: Slopes) -> None:
    """−slope × entry, in place: the loss that an entry saves, to first order, in nats per token."""
    for circuits, slope in ((split.qk, found.qk), (split.ov, found.ov)):
        for head, circuit in enumerate(circuits):
            slope[head] *= -circuit.restricted(tokens, tokens).dense()


def _scaled(circuits: Sequence[Circuit], by: float) -> list[Circuit]:
    return [Circuit(c.name, c.layer, c.head, c.left * by, c.right) for c in circuits]


def attribution(
    split: Split, draw: Callable[[int], Int[Tensor, "batch width"]], tokens: Int[Tensor, " n"], most: int, first: int
) -> tuple[Ranked, Ranked]:
    """By |entry × slope| averaged along the path from the additive parts to the model (integrated gradients).

    Every place on the path has new contexts, as a round of `rounds` has. Also the `first` few of those that save most,
    without the absolute value.
    """
    found = empty(split.n_heads, len(tokens))
    for number, (at, weight) in enumerate(progress(PATH, "attribution", leave=False)):
        slopes(Running(split, _scaled(split.qk, at), _scaled(split.ov, at)), draw(number), tokens, found, weight)
    times_entries(split, tokens, found)
    return _largest(split, tokens, found, (most, most), torch.abs), _largest(
        split, tokens, found, (first, first), lambda x: x
    )


def rounds(
    split: Split,
    draw: Callable[[int], Int[Tensor, "batch width"]],
    tokens: Int[Tensor, " n"],
    counts: Sequence[int],
    first: Ranked,
) -> Ranked:
    """In rounds: the entries that save most beside those that were kept before, by slopes at what is kept so far.

    The first `counts[0]` of either circuit are those of `first`: before any entry of OV is kept, none of QK saves
    anything. Round r takes its contexts from `draw(r)`, new ones in each round, and keeps `counts[r]` entries of either
    circuit by the mean of the slopes of all rounds so far, each weighing `MEMORY` times the one after it: few contexts
    hold any one entry, so that those of a single round would say little of it. Entries are kept for what they save; one
    that only holds others back saves nothing until these are kept.
    """
    kept = [first.qk.first(counts[0]), first.ov.first(counts[0])]
    worth = [first.qk_worth[: counts[0]], first.ov_worth[: counts[0]]]
    found, weight = empty(split.n_heads, len(tokens)), 0.0
    for number, count in enumerate(progress(counts[1:], "rounds", leave=False), 1):
        share = MEMORY**-number
        weight += share
        slopes(Running(split, *kept), draw(number), tokens, found, share)
        for which, (circuits, slope) in enumerate(((split.qk, found.qk), (split.ov, found.ov))):
            saved = torch.empty_like(slope)
            for head, circuit in enumerate(_scaled(circuits, -1 / weight)):
                torch.mul(slope[head], circuit.restricted(tokens, tokens).dense(), out=saved[head])
            known = kept[which]
            rows, columns = (np.searchsorted(tokens.numpy(), each) for each in (known.row, known.column))
            saved[known.head, rows, columns] = -torch.inf
            more, by = _first(circuits, tokens, saved, count - len(known.head))
            kept[which] = Entries(*map(np.concatenate, zip(known, more, strict=True)))
            worth[which] = np.append(worth[which], by)
    return Ranked(kept[0], kept[1], worth[0], worth[1])


def by_size(split: Split, tokens: Int[Tensor, " n"], frequency: Float[Tensor, " d_vocab"], most: int) -> Ranked:
    """By |entry| √(p(row) p(column)); with a constant `frequency`, by |entry| alone."""
    found = empty(split.n_heads, len(tokens))
    weight = sqrt(frequency[tokens])
    for circuits, size in ((split.qk, found.qk), (split.ov, found.ov)):
        for head, circuit in enumerate(circuits):
            size[head] = circuit.restricted(tokens, tokens).dense().abs() * weight[:, None] * weight
    return _largest(split, tokens, found, (most, most), lambda x: x)


def at_random(split: Split, tokens: Int[Tensor, " n"], most: int, seed: int) -> Ranked:
    """Entries drawn evenly, without repetition."""
    generator = np.random.default_rng(seed)
    n = len(tokens)
    picked = [generator.permutation(generator.choice(split.n_heads * n * n, most, replace=False)) for _ in range(2)]
    nothing = np.zeros(most)
    qk, ov = (_at(c, tokens, p) for c, p in zip((split.qk, split.ov), picked, strict=True))
    return Ranked(qk, ov, nothing, nothing)


def _largest(
    split: Split, tokens: Int[Tensor, " n"], found: Slopes, most: tuple[int, int], key: Callable[[Tensor], Tensor]
) -> Ranked:
    """The entries of QK and of OV whose worth, through `key`, is largest and above zero, `most` of each."""
    qk, qk_worth = _first(split.qk, tokens, found.qk, most[0], key)
    ov, ov_worth = _first(split.ov, tokens, found.ov, most[1], key)
    return Ranked(qk, ov, qk_worth, ov_worth)


def _first(
    circuits: Sequence[Circuit],
    tokens: Int[Tensor, " n"],
    worth: Float[Tensor, "n_heads n n"],
    count: int,
    key: Callable[[Tensor], Tensor] = lambda x: x,
) -> tuple[Entries, Float[np.ndarray, " kept"]]:
    """The `count` entries of one circuit whose worth, through `key`, is largest and above zero; and their worth."""
    flat = worth.view(-1)
    ordered = key(flat)
    above = candidates(ordered, count)
    by = ordered.numpy()[above]
    best = (
        np.argpartition(by, len(above) - count)[len(above) - count :] if len(above) > count else np.arange(len(above))
    )
    top = above[best][np.lexsort([above[best], -by[best]])]
    return _at(circuits, tokens, top), flat.numpy()[top].astype(np.float64)


def candidates(by: Float[Tensor, " n"], count: int) -> Integer[np.ndarray, " few"]:
    """Where values above zero stand, the `count` largest among them and few others, in order.

    So many blocks have a maximum of at least the last of the `count` largest maxima; the values that reach it are in
    them, so that the others are neither looked at nor partitioned, which takes seconds.
    """
    n = len(by) // BLOCK * BLOCK
    blocks = by[:n].view(-1, BLOCK)
    largest = blocks.amax(1)
    least = largest.topk(count).values[-1] if 0 < count <= len(largest) else by.new_tensor(-torch.inf)
    chosen = ((largest >= least) & (largest > 0)).nonzero()[:, 0]
    block, place = ((blocks[chosen] >= least) & (blocks[chosen] > 0)).nonzero(as_tuple=True)
    rest = n + ((by[n:] >= least) & (by[n:] > 0)).nonzero()[:, 0]
    return torch.cat([chosen[block] * BLOCK + place, rest]).numpy()


def _at(circuits: Sequence[Circuit], tokens: Int[Tensor, " n"], flat: np.ndarray) -> Entries:
    """The entries at flat indices over (head, row, column) of the ranked tokens."""
    n = len(tokens)
    head, row, column = flat // (n * n), tokens.numpy()[flat // n % n], tokens.numpy()[flat % n]
    value = np.empty(len(flat), dtype=np.float32)
    for index, circuit in enumerate(circuits):
        mine = np.flatnonzero(head == index)
        value[mine] = circuit.entries(torch.from_numpy(row[mine]), torch.from_numpy(column[mine])).numpy()
    return Entries(head, row, column, value)
