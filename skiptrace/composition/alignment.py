"""How strongly what one matrix writes is read by another, and what chance would give.

‖WR‖_F/(‖W‖_F‖R‖_F) for a writer W and a reader R is the paper's composition score ("A Mathematical
Framework", section "Two-Layer Attention-Only Transformers"). With W = … S V, R = U T …, where S and T
hold singular values and V and U the directions written and read,

    ‖WR‖² = Σ_ij s_i² (V U)_ij² t_j²,

so that spectra, directions and the angles between them come apart, and W and R need never be multiplied out.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from skiptrace.arithmetic import on_one_thread, sqrt, total


class Directions(NamedTuple):
    """Matrices by their singular values, largest first, and the directions of the stream they write or read."""

    sizes: Float[Tensor, "n rank"]
    frames: Float[Tensor, "n d_model rank"]


def written(left: Float[Tensor, "n rows rank"], right: Float[Tensor, "n rank d_model"]) -> Directions:
    """What the products `left @ right` write."""
    return read(right.mT, left.mT)


def read(left: Float[Tensor, "n d_model rank"], right: Float[Tensor, "n rank columns"]) -> Directions:
    """What the products `left @ right` read."""
    outer, inner = on_one_thread(torch.linalg.qr, left.double()), on_one_thread(torch.linalg.qr, right.mT.double()).R
    core = on_one_thread(torch.linalg.svd, outer.R @ inner.mT, full_matrices=False)
    return _directions(core.S, outer.Q @ core.U)


def reads(matrices: Float[Tensor, "n d_model columns"]) -> Directions:
    """What single matrices read."""
    found = on_one_thread(torch.linalg.svd, matrices.double(), full_matrices=False)
    return _directions(found.S, found.U)


def writes(matrices: Float[Tensor, "n rows d_model"]) -> Directions:
    """What single matrices write."""
    # The singular values of a tall matrix are those of its triangular factor.
    tall = matrices.shape[1] > matrices.shape[2]
    return reads((on_one_thread(torch.linalg.qr, matrices.double()).R if tall else matrices).mT)


def _directions(sizes: Float[Tensor, "n rank"], frames: Float[Tensor, "n d_model rank"]) -> Directions:
    # Directions of size zero are arbitrary: nothing is written or read there.
    used = sizes > 1e-12 * sizes[:, :1].clamp(min=1e-300)
    return Directions(sizes, frames * used[:, None, :])


class Scores(NamedTuple):
    """Of every writer with every reader: the composition score, and the angles between their subspaces.

    `overlap` is the mean squared cosine of the principal angles, over as many as the shapes of the weights
    allow, whatever their sizes: rank/d_model by chance. `closest` is the largest cosine.
    """

    norm: Float[Tensor, "writers readers"]
    overlap: Float[Tensor, "writers readers"]
    closest: Float[Tensor, "writers readers"]


def scores(writers: Directions, readers: Directions) -> Scores:
    """How strongly every writer is read by every reader; 0 where either is zero."""
    cosines = _cosines(writers, readers)
    overlap = cosines.square().sum(-1).sum(-1) / min(cosines.shape[-2:])
    return Scores(_norms(writers, readers, cosines), overlap, on_one_thread(torch.linalg.matrix_norm, cosines, 2))


def norms(writers: Directions, readers: Directions) -> Float[Tensor, "writers readers"]:
    """The composition scores alone, which no decomposition is needed for."""
    return _norms(writers, readers, _cosines(writers, readers))


def _cosines(writers: Directions, readers: Directions) -> Float[Tensor, "writers readers i j"]:
    return torch.einsum("wdi,rdj->wrij", writers.frames, readers.frames)


def _norms(
    writers: Directions, readers: Directions, cosines: Float[Tensor, "writers readers i j"]
) -> Float[Tensor, "writers readers"]:
    return sqrt(torch.einsum("wi,wrij,rj->wr", shares(writers), cosines.square(), shares(readers)))


def shares(directions: Directions) -> Float[Tensor, "n rank"]:
    """The share of a matrix's squared norm that each of its directions holds."""
    squares = directions.sizes.square()
    return squares / squares.sum(-1, keepdim=True).clamp(min=1e-300)


class Null(NamedTuple):
    """Mean and standard deviation over random draws."""

    mean: Float[Tensor, "..."]
    sd: Float[Tensor, "..."]

    def z(self, score: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """How many standard deviations above the mean; NaN where chance leaves no room to vary."""
        return torch.where(self.sd > 1e-9, (score - self.mean) / self.sd.clamp(min=1e-9), torch.nan)


def turns(d_model: int, draws: int, seed: int) -> Iterator[Float[Tensor, "d_model d_model"]]:
    """Uniformly random orthogonal matrices, entries squared: squared cosines between two random bases."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(draws):
        yield on_one_thread(
            torch.linalg.qr, torch.randn(d_model, d_model, dtype=torch.float64, generator=generator)
        ).Q.square()


def rotated(pairs: Sequence[tuple[Directions, Directions]], draws: int, seed: int) -> list[Null]:
    """The composition scores of each (writers, readers) when the same weights are turned at random.

    The spectra stay, the directions are chance; the root mean square of such a score is 1/√d_model.
    """
    held = [(shares(writers), shares(readers)) for writers, readers in pairs]
    found: list[list[Tensor]] = [[] for _ in pairs]
    for squares in turns(pairs[0][0].frames.shape[1], draws, seed):
        for (s, t), scored in zip(held, found, strict=True):
            scored.append(sqrt(s @ squares[: s.shape[1], : t.shape[1]] @ t.T))
    return [null_of(torch.stack(scored)) for scored in found]


def random_overlaps(d_model: int, ranks: Sequence[tuple[int, int]], draws: int, seed: int) -> list[Null]:
    """The overlap of two random subspaces, for each pair of their ranks."""
    # The leading block of a random orthogonal matrix holds the cosines between two random frames.
    found = [[total(squares[:a, :b]) / min(a, b) for a, b in ranks] for squares in turns(d_model, draws, seed)]
    return [null_of(torch.stack(column)) for column in zip(*found, strict=True)]


def gaussian(d_model: int, d_head: int, draws: int, seed: int) -> Null:
    """The score of W_OV and W_QK (or W_OV) whose four factors are Gaussian: the paper's baseline, about 1/√d_model."""
    generator = torch.Generator().manual_seed(seed)

    def factor() -> Tensor:
        return torch.randn(draws, d_model, d_head, dtype=torch.float64, generator=generator)

    writers, readers = written(factor(), factor().mT), read(factor(), factor().mT)
    squares = (writers.frames.mT @ readers.frames).square()
    return null_of(sqrt(torch.einsum("ni,nij,nj->n", shares(writers), squares, shares(readers))))


def null_of(draws: Float[Tensor, "draws *scores"]) -> Null:
    """Mean and standard deviation over the first axis."""
    return Null(draws.mean(0), draws.std(0))
