"""The singular directions of a circuit, from its thin factors alone.

With weights w of rows and c of columns, each summing to 1, the circuit that softmax sees is

    M' = diag(√w) (M − M c 1ᵀ) diag(√c) = Σ_k s_k u_k v_kᵀ

where the mean of every row is taken off, which softmax ignores. M = L R has thin factors, so with L' = Q_L T_L and
R'ᵀ = Q_R T_R the sum is that of the small matrix T_L T_Rᵀ = U S Vᵀ: u = Q_L U, v = Q_R V. No vocabulary × vocabulary
matrix appears. A direction is u_k at the rows, what is read, and v_k at the columns, what is written; u_k v_kᵀ
and (−u_k)(−v_k)ᵀ are the same one, so it has two poles that read and write opposite tokens.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from skiptrace.arithmetic import on_one_thread, sqrt
from skiptrace.circuits.factored import Circuit


@dataclass(frozen=True)
class Directions:
    """The singular directions of a circuit, the largest first; `values` are in logits or attention scores.

    Columns of `rows` and `columns` are u_k and v_k, orthonormal; Σ u_k³ ≥ 0 chooses their sign. `basis` holds each u_k
    in the coordinates of the head, U, and `triangle` is T_L.
    """

    values: Float[Tensor, " k"]
    rows: Float[Tensor, "n_rows k"]
    columns: Float[Tensor, "n_columns k"]
    basis: Float[Tensor, "m k"]
    triangle: Float[Tensor, "m rank"]

    @property
    def shares(self) -> Float[Tensor, " k"]:
        """s_k²/Σ s²: the share of the circuit, in squares of its weighted entries, that each direction carries."""
        squares = self.values.square()
        return squares / squares.sum().clamp(min=torch.finfo(squares.dtype).tiny)

    @property
    def copying(self) -> Float[Tensor, " k"]:
        """u_k · v_k, where rows and columns are the same tokens: 1 raises what it reads, −1 lowers it.

        Σ_k s_k u_k·v_k is the weighted trace, so that each direction's part of copying is s_k u_k·v_k.
        """
        return (self.rows * self.columns).sum(0)

    def remover(self, basis: Float[Tensor, "m d"]) -> tuple[Float[Tensor, "rank d"], Float[Tensor, "d rank"]]:
        """(A, C) with C A = 1, so that L (1 − A C) R is the circuit less what it reads along an orthonormal `basis`.

        With the k-th column of `self.basis` that is M less s_k u_k v_kᵀ, undone for the weights.
        """
        return on_one_thread(torch.linalg.pinv, self.triangle) @ basis, basis.T @ self.triangle


def directions(
    circuit: Circuit, row_weight: Float[Tensor, " n_rows"], column_weight: Float[Tensor, " n_columns"]
) -> Directions:
    """The singular directions of a circuit under weights of its rows and columns, each summing to 1, in float64."""
    rows, columns = row_weight.double(), column_weight.double()
    centred = circuit.right.double()
    centred = centred - (centred @ columns)[:, None]
    left, right = circuit.left.double() * sqrt(rows)[:, None], (centred * sqrt(columns)).T
    (q_left, t_left), (q_right, t_right) = (on_one_thread(torch.linalg.qr, factor) for factor in (left, right))
    U, S, Vh = on_one_thread(torch.linalg.svd, t_left @ t_right.T, full_matrices=False)
    u, v = on_one_thread(torch.matmul, q_left, U), on_one_thread(torch.matmul, q_right, Vh.T)
    sign = torch.where(u.pow(3).sum(0) < 0, -1.0, 1.0).to(u.dtype)
    return Directions(S, u * sign, v * sign, U * sign, t_left)


def groups(values: Float[Tensor, " k"], gap: float) -> list[range]:
    """Descending singular values in groups: two in succession nearer than `gap` times the larger are in one.

    Within a group of equal values any rotation of its directions is as good, so only the group as a whole means
    something.
    """
    sizes = values.tolist()
    starts = [0, *(i for i, (a, b) in enumerate(pairwise(sizes), 1) if a - b > gap * a)]
    return [range(start, end) for start, end in zip(starts, [*starts[1:], len(sizes)], strict=True)]
