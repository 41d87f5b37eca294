"""What directions of random heads look like: the same weights, each turned at random in the residual stream.

A turned head keeps the norms and spectra of its W_Q, W_K, W_V and W_O and reads the same embeddings. All that is asked
of it follows from products of d_head × d_head: with L = E F T and R = Tᵀ Fᵀ Ũ, where F are random frames, which
are drawn once for all heads, and T the triangular factors of the weights.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from skiptrace.arithmetic import on_one_thread, sqrt
from skiptrace.models.transformer import Transformer


class Spectra(NamedTuple):
    """Singular values of circuits, descending, and u_k · v_k of each direction, as in `circuits.directions`."""

    values: Float[Tensor, "*draws k"]
    copying: Float[Tensor, "*draws k"]


class Turned:
    """Random heads in place of those of a model, the same frames for every head."""

    def __init__(self, model: Transformer, weight: Float[Tensor, " d_vocab"], draws: int, seed: int) -> None:
        self.model = model
        generator = torch.Generator().manual_seed(seed)
        shape = (draws, model.d_model, min(model.d_head, model.d_model))
        drawn = [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2)]
        frames = [on_one_thread(torch.linalg.qr, each).Q for each in drawn]
        w = weight.double()
        E, U = model.W_E.double() * sqrt(w)[:, None], model.W_U.double()
        U = (U - (U @ w)[:, None]) * sqrt(w)
        K = model.W_E.double().T
        K = (K - (K @ w)[:, None]) * sqrt(w)
        # Of what is read and what is written: their squares, and the two across, as the frames see them.
        self.read = frames[0].mT @ (E.T @ E) @ frames[0]
        self.squares, self.across = {}, {}
        for name, written in (("ov", U), ("qk", K)):
            self.squares[name] = frames[1].mT @ (written @ written.T) @ frames[1]
            self.across[name] = frames[1].mT @ (written @ E) @ frames[0]

    def spectra(self, circuit: str, layer: int, head: int) -> Spectra:
        """Those of the random heads in place of one, one row a draw."""
        block = self.model.blocks[layer]
        into, out = (block.W_V[head], block.W_O[head].T) if circuit == "ov" else (block.W_Q[head], block.W_K[head])
        size = 1.0 if circuit == "ov" else self.model.d_head**-0.5
        first, last = (on_one_thread(torch.linalg.qr, w.double()).R for w in (into * size, out))
        return spectra(
            first.T @ self.read @ first, last.T @ self.squares[circuit] @ last, last.T @ self.across[circuit] @ first
        )


def spectra(
    left: Float[Tensor, "*draws rank rank"],
    right: Float[Tensor, "*draws rank rank"],
    across: Float[Tensor, "*draws rank rank"],
) -> Spectra:
    """Those of L R from LᵀL, R Rᵀ and R L alone.

    With P = (LᵀL)^½ and P R Rᵀ P = Y S² Yᵀ: u = L P⁻¹ y, and u·v = yᵀ P⁻¹ (R L)ᵀ P y / s.
    """
    sizes, axes = on_one_thread(torch.linalg.eigh, left)
    roots = sqrt(sizes.clamp(min=0))
    kept = roots > roots[..., -1:] * 1e-7
    inverse = torch.where(kept, 1 / roots.clamp(min=torch.finfo(roots.dtype).tiny), 0)
    root, undone = ((axes * s[..., None, :]) @ axes.mT for s in (roots, inverse))
    squares, y = on_one_thread(torch.linalg.eigh, root @ right @ root)
    values, y = sqrt(squares.clamp(min=0)).flip(-1), y.flip(-1)
    along = (y * (undone @ across.mT @ root @ y)).sum(-2)
    return Spectra(values, torch.where(values > 0, along / values.clamp(min=torch.finfo(values.dtype).tiny), 0))
