"""Features as directions: tokens that differ in one respect differ by one vector.

The linear representation check on W_E and W_U: differences b − a of a family of pairs (a, b) against
each other, and the parallelogram a + (b′ − a′) ≈ b (Mikolov et al. 2013, section 4).
"""

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from skiptrace.arithmetic import on_one_thread, total
from skiptrace.composition.tables import DIRECTIONS, PLANE
from skiptrace.config.composition import CompositionParams
from skiptrace.config.scoring import ScoringParams
from skiptrace.errors import InputError
from skiptrace.models.transformer import Transformer
from skiptrace.models.windows import BOS_ID


class Family(NamedTuple):
    """Pairs of token ids that differ in one respect."""

    name: str
    first: Int[Tensor, " pairs"]
    second: Int[Tensor, " pairs"]


def families(token: pd.Series, count: pd.Series, params: CompositionParams) -> list[Family]:
    """Families found in the vocabulary, and the word lists of the parameters, the most frequent pairs first.

    With a leading space; capitalised; upper case; plural by a final s. Both tokens of a pair occur `min_count`
    times. Words of a list are looked up as they stand and with a leading space. At most `pairs_per_family` pairs are
    kept.

    Raises:
        InputError: a word list has the name of a built-in family.
    """
    known = {text: int(i) for i, text in token.items() if i != BOS_ID and count[i] >= params.min_count}
    words = [text for text in known if text.strip().isalpha()]
    lower = [w for w in words if w.islower()]
    listed: dict[str, list[tuple[str, str]]] = {
        "leading space": [(w, " " + w) for w in words],
        "capitalised": [(w, w.replace(w.strip(), w.strip().capitalize())) for w in lower],
        "upper case": [(w, w.upper()) for w in lower if len(w.strip()) > 1],
        # With a space before it a token is a word, or at least its beginning.
        "plural": [(w, w + "s") for w in lower if w.startswith(" ") and len(w) > 3],
    }
    for name, given in params.word_pairs.items():
        if name in listed:
            raise InputError(f"composition.word_pairs.{name}: there is a family of this name already; choose another")
        listed[name] = [(space + a, space + b) for a, b in given for space in ("", " ")]
    found = []
    for name, pairs in listed.items():
        ids = {(known[a], known[b]) for a, b in pairs if a in known and b in known and a != b}
        best = sorted(ids, key=lambda pair: (-min(count[pair[0]], count[pair[1]]), pair))[: params.pairs_per_family]
        first, second = (torch.tensor([p[side] for p in best], dtype=torch.int64) for side in (0, 1))
        found.append(Family(name, first, second))
    return found


FEWEST = 4  # pairs below which differences cannot be compared


@torch.no_grad()
def directions(model: Transformer, found: list[Family], params: ScoringParams) -> pd.DataFrame:
    """Mean cosine between the differences of a family, and its parallelogram accuracy, in W_E and in W_U.

    The null of the cosine takes first tokens from a random half of the pairs and second tokens from the other half, so
    that no difference of a pair is left in it. `accuracy`: how often b is the token nearest in direction to
    a + (b′ − a′), of all tokens but a, a′ and b′, over all two pairs; beside it `accuracy_nearest`, how often b is
    nearest to a itself, without any difference. Families of fewer than four pairs have nulls.
    """
    rows = []
    for name, first, second in found:
        for matrix, vectors in (("W_E", model.W_E), ("W_U", model.W_U.T)):
            row: dict[str, object] = {"family": name, "matrix": matrix, "pairs": len(first)}
            if len(first) >= FEWEST:
                row |= _scores(vectors, first, second, params)
            rows.append(row)
    return DIRECTIONS.frame(rows)


def _scores(
    vectors: Float[Tensor, "d_vocab d_model"], first: Tensor, second: Tensor, params: ScoringParams
) -> dict[str, float]:
    generator = torch.Generator().manual_seed(params.seed)
    cosine, half = mean_cosine(vectors[second] - vectors[first]), len(first) // 2
    draws = []
    for _ in range(params.null_draws):
        order = torch.randperm(len(first), generator=generator)
        draws.append(mean_cosine(vectors[second[order[half : 2 * half]]] - vectors[first[order[:half]]]))
    null = np.array(draws)
    sd = float(null.std(ddof=1))
    return {
        "cosine": cosine,
        "null_mean": float(null.mean()),
        "null_sd": sd,
        "z": (cosine - float(null.mean())) / sd if sd > 0 else math.nan,
        "accuracy": accuracy(vectors, first, second),
        "accuracy_nearest": nearest(vectors, first, second),
    }


def mean_cosine(differences: Float[Tensor, "pairs d_model"]) -> float:
    """The mean cosine between two different rows."""
    unit = F.normalize(differences.double(), dim=1)
    n = len(unit)
    return float((unit.sum(0).square().sum() - total(unit.square())) / (n * (n - 1)))


def accuracy(
    vectors: Float[Tensor, "d_vocab d_model"], first: Int[Tensor, " pairs"], second: Int[Tensor, " pairs"]
) -> float:
    """How often a + (b′ − a′) points to b, over all ordered two pairs."""
    unit, hits = F.normalize(vectors, dim=1), 0
    from_first, step = vectors[first] @ unit.T, (vectors[second] - vectors[first]) @ unit.T
    for i in range(len(first)):
        others = torch.arange(len(first)) != i
        near = from_first[i] + step[others]
        near[:, first[i]] = -torch.inf
        near.scatter_(1, torch.stack([first[others], second[others]], 1), -torch.inf)
        hits += int((near.argmax(1) == second[i]).sum())
    return hits / (len(first) * (len(first) - 1))


def nearest(
    vectors: Float[Tensor, "d_vocab d_model"], first: Int[Tensor, " pairs"], second: Int[Tensor, " pairs"]
) -> float:
    """How often b is the token whose direction is nearest to that of a."""
    unit = F.normalize(vectors, dim=1)
    near = unit[first] @ unit.T
    near.scatter_(1, first[:, None], -torch.inf)
    return float((near.argmax(1) == second).double().mean())


@torch.no_grad()
def plane(model: Transformer, found: list[Family], most: int) -> pd.DataFrame:
    """The first `most` pairs of every family in the plane of the first two principal components of their W_E rows."""
    tables = []
    for name, first, second in found:
        if len(first) < FEWEST:
            continue
        ids = torch.cat([first[:most], second[:most]])
        rows = model.W_E[ids].double()
        centred = rows - rows.mean(0)
        place = on_one_thread(torch.linalg.svd, centred, full_matrices=False)
        xy = place.U[:, :2] * place.S[:2]
        n = len(ids) // 2
        columns = {"token_id": ids, "pair": torch.arange(n).repeat(2), "side": torch.arange(2).repeat_interleave(n)}
        values = {k: v.numpy() for k, v in columns.items()} | {"x": xy[:, 0].numpy(), "y": xy[:, 1].numpy()}
        tables.append(pd.DataFrame(values).assign(family=name))
    if not tables:
        return PLANE.frame()
    return PLANE.frame(pd.concat(tables, ignore_index=True))
