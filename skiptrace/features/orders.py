"""Which entries between features are kept first: those that save most beside what is kept, as for tokens."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from skiptrace.account.entries import NO_ENTRIES, Entries
from skiptrace.account.orders import MEMORY, PATH, Ranked, candidates, scaled
from skiptrace.circuits.factored import Circuit
from skiptrace.features.parts import Parts, Running
from skiptrace.progress import progress


class Slopes(NamedTuple):
    """∂loss/∂entry of every entry."""

    qk: Float[Tensor, "n_heads features features"]
    ov: Float[Tensor, "n_heads features d_vocab"]


def empty(split: Parts) -> Slopes:
    """Zero slopes."""
    n, heads = split.count, split.n_heads
    return Slopes(torch.zeros(heads, n, n), torch.zeros(heads, n, split.model.d_vocab))


@torch.no_grad()
def slopes(running: Running, windows: Int[Tensor, "batch width"], into: Slopes, share: float = 1.0) -> None:
    """Add to `into`, `share` times, the derivatives of the mean loss (nats per token) with respect to every entry.

    With g_i = softmax(logits_i) − onehot(target_i): ∂/∂OV[a, o] = Σ_i Σ_j A_ij f_a(j) g_i[o], and ∂/∂QK[b, a] =
    Σ_ij f_b(i) f_a(j) ∂loss/∂s_ij with ∂loss/∂s_ij = A_ij (a_ij − Σ_k A_ik a_ik), a_ij = Σ_a f_a(j) OV[a] · g_i.
    """
    targets = windows.shape[0] * (windows.shape[1] - 2)
    for window in windows:
        read = running.parts.read(window[:-1])
        pattern = running.pattern(read)
        gradient = running.logits(read, pattern).softmax(-1)
        gradient[torch.arange(len(gradient)), window[1:]] -= 1
        gradient[0] = 0  # nothing is predicted from the token that begins a context
        gradient *= share / targets
        through = running.through(read, gradient)
        scores = pattern * (through - (pattern * through).sum(-1, keepdim=True))
        f = read.features
        into.ov.baddbmm_((pattern @ f).transpose(1, 2), gradient.expand(len(pattern), -1, -1))
        into.qk.add_(f.T @ scores @ f)


def rounds(split: Parts, draw: Callable[[int], Int[Tensor, "batch width"]], counts: Sequence[int]) -> Ranked:
    """In rounds: the entries that save most beside those that were kept before, as of tokens and on the same draws.

    The first `counts[0]` of either circuit are those that save most along the path from the additive parts to the model
    (`account.orders.attribution`), the later ones those of `account.orders.rounds`.
    """
    found, weight = empty(split), 1.0
    for number, (at, share) in enumerate(PATH):
        slopes(_scaled(split, at), draw(number), found, share)
    kept = [NO_ENTRIES, NO_ENTRIES]
    worth = [np.empty(0) for _ in range(2)]
    for number, count in enumerate(progress(counts, "rounds of features", leave=False)):
        if number:
            share = MEMORY**-number
            found, weight = (empty(split), 0.0) if number == 1 else (found, weight)
            weight += share
            slopes(Running(split, *kept), draw(number), found, share)
        for which, (circuits, slope) in enumerate(((split.qk, found.qk), (split.ov, found.ov))):
            more, by = first(circuits, slope, weight, kept[which], count - len(kept[which].head))
            kept[which] = Entries(*map(np.concatenate, zip(kept[which], more, strict=True)))
            worth[which] = np.append(worth[which], by)
    return Ranked(kept[0], kept[1], worth[0], worth[1])


def first(
    circuits: Sequence[Circuit], slope: Float[Tensor, "n_heads rows columns"], weight: float, known: Entries, count: int
) -> tuple[Entries, Float[np.ndarray, " kept"]]:
    """The `count` entries that save most, −entry × slope / weight, and more than nothing; without the `known` ones."""
    saved = torch.empty_like(slope)
    for index, circuit in enumerate(circuits):
        for places, entries in circuit.row_panels():
            saved[index, places] = slope[index, places] * entries
    saved *= -1 / weight
    saved[tuple(torch.from_numpy(each) for each in known[:3])] = 0
    flat = saved.flatten()
    near = candidates(flat, count)
    by = flat.numpy()[near]
    order = np.lexsort([near, -by])[:count]
    at = np.unravel_index(near[order], tuple(saved.shape))
    return Entries.at(circuits, *at), by[order].astype(np.float64)


def _scaled(split: Parts, by: float) -> Running:
    """Both circuits whole, at a share of their size."""
    return Running(replace(split, qk=scaled(split.qk, by), ov=scaled(split.ov, by)), None, None)
