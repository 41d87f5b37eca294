"""Orders in which the entries of a model's circuits are kept: by what they save, by their size, or at random."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor

from skiptrace.account.entries import Entries, Running, Split
from skiptrace.account.threads import threads
from skiptrace.arithmetic import sqrt, total
from skiptrace.circuits.factored import Circuit, heads, ov, qk
from skiptrace.progress import progress

MOST = 2**26  # entries of a circuit, of all heads together, that are ranked: of the most frequent tokens, if need be
PATH = ((0.0, 0.125), (0.25, 0.25), (0.5, 0.25), (0.75, 0.25), (1.0, 0.125))  # places on the path, trapezoidal weights
MEMORY = 0.9  # what a round's slopes weigh beside those of the next
TOGETHER = 8  # contexts whose slopes are found before they are added up
BLOCK = 64  # values of which the largest bounds the first few


class Ranked(NamedTuple):
    """Entries of QK and of OV in an order, and what each is worth in it: nats per token for those ranked by loss."""

    qk: Entries
    ov: Entries
    qk_worth: Float[np.ndarray, " n"]
    ov_worth: Float[np.ndarray, " n"]


def ranked_tokens(n_heads: int, frequency: Float[Tensor, " d_vocab"]) -> Int[Tensor, " n"]:
    """The tokens whose entries are ranked: all, or as many of the most frequent as `MOST` allows, in order of id."""
    return frequency.argsort(descending=True, stable=True)[: most_ranked(n_heads)].sort().values


def most_ranked(n_heads: int) -> int:
    """The tokens whose entries are ranked at most."""
    return int((MOST / n_heads) ** 0.5)


class Slopes(NamedTuple):
    """∂loss/∂entry, over the ranked tokens."""

    qk: Float[Tensor, "n_heads n n"]
    ov: Float[Tensor, "n_heads n n"]


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
    of_context = partial(_of_context, running, tokens, local, share / (windows.shape[0] * (windows.shape[1] - 2)))
    with threads() as each:
        for part in windows.split(TOGETHER):
            found = list(each(of_context, part))
            list(each(partial(_add, found, into), range(running.additive.n_heads)))


class Part(NamedTuple):
    """What the slopes of one context are made of: its tokens among those ranked, and sums over their places."""

    held: Int[Tensor, " held"]
    attended: Float[Tensor, "n_heads held ctx"]
    gradient: Float[Tensor, "ctx n"]
    scores: Float[Tensor, "n_heads held held"]


@torch.no_grad()
def _of_context(
    running: Running,
    tokens: Int[Tensor, " n"],
    local: Int[Tensor, " d_vocab"],
    share: float,
    window: Int[Tensor, " width"],
) -> Part:
    context = window[:-1]
    added = torch.zeros(running.additive.n_heads, len(context), len(context), requires_grad=True)
    with torch.enable_grad():
        attention = running.pattern(context, added)
    pattern = attention.detach()
    gradient = running.logits(context, pattern).softmax(-1)
    gradient[torch.arange(len(context)), window[1:]] -= 1
    gradient[0] = 0
    gradient *= share
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
    by_output = gradient if len(tokens) == len(local) else gradient[:, tokens]
    return Part(held, stands @ pattern.transpose(1, 2), by_output, stands @ scores @ stands.T)


@torch.no_grad()
def _add(parts: Sequence[Part], into: Slopes, head: int) -> None:
    """Add the contexts, in their order, to the slopes of one head."""
    qk, n = into.qk[head].view(-1), into.qk.shape[1]
    for held, attended, gradient, scores in parts:
        into.ov[head].index_add_(0, held, attended[head] @ gradient)
        qk.index_add_(0, (held[:, None] * n + held).flatten(), scores[head].flatten())


def empty(n_heads: int, n: int) -> Slopes:
    """Zero slopes."""
    return Slopes(*(torch.zeros(n_heads, n, n) for _ in range(2)))


def scaled(circuits: Sequence[Circuit], by: float) -> list[Circuit]:
    """Circuits at a share of their size."""
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
        slopes(Running(split, scaled(split.qk, at), scaled(split.ov, at)), draw(number), tokens, found, weight)
    worth = partial(saving, split, tokens, found, 1.0)
    return _both(split, tokens, worth, most, torch.abs), _both(split, tokens, worth, first)


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
        for which, circuits in enumerate((split.qk, split.ov)):
            known = kept[which]
            beside = partial(_saved_beside, split, tokens, found, weight, known, which)
            more, by = _first(circuits, tokens, beside, count - len(known.head))
            kept[which] = Entries(*map(np.concatenate, zip(known, more, strict=True)))
            worth[which] = np.append(worth[which], by)
    return Ranked(kept[0], kept[1], worth[0], worth[1])


def by_size(split: Split, tokens: Int[Tensor, " n"], frequency: Float[Tensor, " d_vocab"], most: int) -> Ranked:
    """By |entry| √(p(row) p(column)); with a constant `frequency`, by |entry| alone."""
    weight = sqrt(frequency[tokens])

    def size(which: int, head: int) -> Tensor:
        return _dense(split, tokens, which, head).abs_().mul_(weight[:, None]).mul_(weight)

    return _both(split, tokens, size, most)


class Published(NamedTuple):
    """The published rule as mining has it: the tokens that it looks at, and the power of their frequency."""

    eligible: Int[Tensor, " n"]
    power: float


def by_published_rule(split: Split, rule: Published, frequency: Float[Tensor, " d_vocab"], most: int) -> Ranked:
    """By the best skip-trigram that an entry is part of: QK[d, s] OV[s, o] (p(s) p(d))^power.

    Both are as `mining.skip_trigrams` has them, less their means over sources and outputs alone: what a source draws
    whatever the destination, and what all sources raise, counts. An entry of QK goes with the largest of its source's
    OV, one of OV with the largest QK p(d)^power of its source.
    """
    tokens, weight = rule.eligible, frequency[rule.eligible] ** rule.power
    every = heads(split.model)

    def attention(head: int) -> Tensor:
        scores = qk(split.model, *every[head]).centred(frequency).restricted(tokens, tokens).dense()
        return scores.mul_(weight[:, None]).mul_(weight)

    def outputs(head: int) -> Tensor:
        return ov(split.model, *every[head]).centred().restricted(tokens, tokens).dense()

    def best(which: int, head: int) -> Tensor:
        if which == 0:
            return attention(head).mul_(outputs(head).amax(1).clamp(min=0))
        return outputs(head).mul_(attention(head).amax(0).clamp(min=0)[:, None])

    return _both(split, tokens, best, most)


def at_random(split: Split, tokens: Int[Tensor, " n"], most: int, seed: int) -> Ranked:
    """Entries drawn evenly, without repetition."""
    generator = np.random.default_rng(seed)
    n = len(tokens)
    picked = [generator.permutation(generator.choice(split.n_heads * n * n, most, replace=False)) for _ in range(2)]
    nothing = np.zeros(most)
    return Ranked(_at(split.qk, tokens, picked[0]), _at(split.ov, tokens, picked[1]), nothing, nothing)


def _dense(split: Split, tokens: Int[Tensor, " n"], which: int, head: int) -> Float[Tensor, "n n"]:
    """The entries of one head over the ranked tokens: of QK (0) or of OV (1)."""
    return (split.qk, split.ov)[which][head].restricted(tokens, tokens).dense()


def saving(
    split: Split, tokens: Int[Tensor, " n"], found: Slopes, weight: float, which: int, head: int
) -> Float[Tensor, "n n"]:
    """−slope × entry / `weight`: the loss that an entry saves, to first order, in nats per token."""
    return _dense(split, tokens, which, head).mul_(found[which][head]).mul_(-1 / weight)


def _saved_beside(
    split: Split, tokens: Int[Tensor, " n"], found: Slopes, weight: float, kept: Entries, which: int, head: int
) -> Float[Tensor, "n n"]:
    """`saving`, and −∞ for the entries that are kept."""
    saved, mine = saving(split, tokens, found, weight, which, head), kept.head == head
    rows, columns = (np.searchsorted(tokens.numpy(), each[mine]) for each in (kept.row, kept.column))
    saved[rows, columns] = -torch.inf
    return saved


def _both(
    split: Split,
    tokens: Int[Tensor, " n"],
    worth: Callable[[int, int], Float[Tensor, "n n"]],
    most: int,
    key: Callable[[Tensor], Tensor] = lambda x: x,
) -> Ranked:
    """The `most` entries of QK and of OV whose worth, of a circuit (0: QK) and head, is largest, and above zero."""
    (of_qk, qk_worth), (of_ov, ov_worth) = (
        _first(circuits, tokens, partial(worth, which), most, key)
        for which, circuits in enumerate((split.qk, split.ov))
    )
    return Ranked(of_qk, of_ov, qk_worth, ov_worth)


def _first(
    circuits: Sequence[Circuit],
    tokens: Int[Tensor, " n"],
    worth: Callable[[int], Float[Tensor, "n n"]],
    count: int,
    key: Callable[[Tensor], Tensor] = lambda x: x,
) -> tuple[Entries, Float[np.ndarray, " kept"]]:
    """The `count` entries of one circuit whose worth, through `key`, is largest and above zero; and their worth.

    `worth` of a head is over all ranked tokens; one head at a time is held.
    """
    places, values = [], []
    for head in range(len(circuits)):
        flat = worth(head).flatten()
        above = candidates(key(flat), count)
        places.append(head * len(flat) + above)
        values.append(flat.numpy()[above])
    place, value = np.concatenate(places), np.concatenate(values)
    by = key(torch.from_numpy(value)).numpy()
    best = np.argpartition(by, len(by) - count)[len(by) - count :] if len(by) > count else np.arange(len(by))
    order = best[np.lexsort([place[best], -by[best]])]
    return _at(circuits, tokens, place[order]), value[order].astype(np.float64)


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
    n, ids = len(tokens), tokens.numpy()
    return Entries.at(circuits, flat // (n * n), ids[flat // n % n], ids[flat % n])
