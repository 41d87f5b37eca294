"""Rankings of triples A … B → C by what stands in the text, without a model, at full strength.

Every place of the text counts, each source once however often it stands within the window.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor

from skiptrace.arithmetic import log, on_one_thread, sqrt
from skiptrace.evidence.truth import Row

SIGNED = ("share difference", "log-odds", "log-odds, z", "interaction", "regression", "regression, t")
EXPECTED = 20.0  # occurrences of a triple, were source and output token independent, from which one is missed
RIDGE = 1.0  # places that are added to the diagonal of the regression's normal equations


class Counts(NamedTuple):
    """By destination, source and output token: scores, how often the triple stands in the text, and would by chance."""

    scores: dict[str, Float[Tensor, "words words words"]]
    together: Float[Tensor, "words words words"]
    expected: Float[Tensor, "words words words"]


def count(
    seen: Bool[np.ndarray, "places words"],
    here: Integer[np.ndarray, " places"],
    after: Integer[np.ndarray, " places"],
    words: int,
) -> Counts:
    """Every measure for every triple of words.

    With shares s = p(C | A … B) and p(C | B): lift s/p(C | B), share difference s − p(C | B), pointwise mutual
    information log s/p(C), the likelihood ratio G² and the log-odds ratio of C and A … B among the places of B, the
    latter also divided by its standard error (Haldane 1956: ½ added to every cell). Interaction: the share difference
    less that of A and C after any token. Regression: the coefficient of A in the least-squares prediction of C from all
    words within the window, among the places of B; also divided by its standard error.
    """
    shape = (words, words, words)
    together, n_ab, slope, error = torch.zeros(shape), torch.zeros(shape[:2]), torch.zeros(shape), torch.zeros(shape)
    order = np.argsort(here, kind="stable")
    bounds = np.searchsorted(here[order], np.arange(words + 1))
    n_b, n_bc = torch.zeros(words), torch.zeros(words, words)
    for b in range(words):
        places = order[bounds[b] : bounds[b + 1]]
        if not len(places):
            continue
        near = torch.from_numpy(seen[places]).float()
        n_b[b], n_bc[b] = len(places), torch.from_numpy(np.bincount(after[places], minlength=words)).float()
        follows = torch.nn.functional.one_hot(torch.from_numpy(after[places]), words).float()
        together[b], n_ab[b] = near.T @ follows, near.sum(0)
        slope[b], error[b] = _regression(near, n_ab[b], together[b], n_bc[b], len(places))
    share, alone = together / n_ab[:, :, None].clamp(min=1), n_bc[:, None, :] / n_b[:, None, None].clamp(min=1)
    p_c = n_bc.sum(0) / n_bc.sum()
    n_a, n_ac = n_ab.sum(0), together.sum(0)
    topical = n_ac / n_a[:, None].clamp(min=1) - p_c
    n, m = n_ab[:, :, None], n_b[:, None, None]
    cells = (together, n - together, n_bc[:, None, :] - together, m - n - n_bc[:, None, :] + together)
    half = torch.stack(cells) + 0.5
    odds = log(half[0] * half[3] / (half[1] * half[2]))
    odds_error = sqrt((1 / half).sum(0))
    each = [cell * log((cell / chance.clamp(min=1e-9)).clamp(min=1e-30)) for cell, chance in _expected(cells)]
    g = torch.stack(each).sum(0)
    scores = {
        "lift": share / alone.clamp(min=1e-9),
        "share difference": share - alone,
        "PMI": log(share.clamp(min=1e-9)) - log(p_c.clamp(min=1e-9)),
        "G²": 2 * g * (share > alone),
        "log-odds": odds,
        "log-odds, z": odds / odds_error,
        "interaction": share - alone - topical,
        "regression": slope,
        "regression, t": slope / error.clamp(min=1e-9),
    }
    return Counts(scores, together, n * alone)


def _regression(near: Tensor, n_a: Tensor, together: Tensor, n_c: Tensor, places: int) -> tuple[Tensor, Tensor]:
    """Coefficients [source, output] and their standard errors, of centred presence and output."""
    covariance = near.T @ near - n_a[:, None] * n_a / places
    with_out = together - n_a[:, None] * n_c / places
    inverse = on_one_thread(torch.linalg.inv, (covariance + RIDGE * torch.eye(len(n_a))).double()).float()
    slope = inverse @ with_out
    left = (n_c - n_c**2 / places - (slope * with_out).sum(0)).clamp(min=0) / max(1, places - len(n_a))
    return slope, sqrt(inverse.diagonal().clamp(min=0)[:, None] * left[None, :])


def _expected(cells: tuple[Tensor, ...]) -> list[tuple[Tensor, Tensor]]:
    """Each cell of the 2 × 2 tables with what it would be if rows and columns were independent."""
    a, b, c, d = cells
    total = (a + b + c + d).clamp(min=1)
    rows, columns = (a + b, c + d), (a + c, b + d)
    where = ((0, 0), (0, 1), (1, 0), (1, 1))
    return [(cell, rows[i] * columns[j] / total) for cell, (i, j) in zip(cells, where, strict=True)]


def ranked(counts: Counts, measure: str, min_count: int, most: int) -> tuple[list[Row], Float[np.ndarray, " n"]]:
    """The triples (source, destination, out) with the largest scores, and these, of those that stand often enough."""
    return _first(counts.scores[measure].masked_fill(counts.together < min_count, -torch.inf), most)


def lowered(counts: Counts, measure: str, most: int) -> tuple[list[Row], Float[np.ndarray, " n"]] | None:
    """The triples whose output token is rarer than it would be without the source, by the size of the score.

    Of those that would stand often enough by chance; None for a measure that has no sign.
    """
    if measure not in SIGNED:
        return None
    return _first((-counts.scores[measure]).masked_fill(counts.expected < EXPECTED, -torch.inf), most)


def _first(score: Float[Tensor, "words words words"], most: int) -> tuple[list[Row], Float[np.ndarray, " n"]]:
    """The triples with the largest scores above zero, in order, and their scores."""
    words = len(score)
    best = score.flatten().topk(min(most, words**3))
    kept = best.indices[best.values > 0]
    b, a, c = kept // words**2, kept // words % words, kept % words
    return list(zip(a.tolist(), b.tolist(), c.tolist(), strict=True)), best.values[best.values > 0].numpy()
