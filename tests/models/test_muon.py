"""Muon against the singular value decomposition, and against torch's own, which rounds to bfloat16."""

import pytest
import torch

from skiptrace.models.muon import QUINTIC, STEPS, Muon, orthogonalised


def drawn(rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("rows", "columns"), [(9, 5), (5, 9), (7, 7)])
def test_directions_stay_and_singular_values_go_through_the_quintic(rows, columns):
    gradient = drawn(rows, columns)
    U, S, Vh = torch.linalg.svd(gradient, full_matrices=False)
    a, b, c = QUINTIC
    sizes = S / gradient.norm()
    for _ in range(STEPS):
        sizes = a * sizes + b * sizes**3 + c * sizes**5
    torch.testing.assert_close(orthogonalised(gradient), (U * sizes) @ Vh, rtol=1e-9, atol=1e-9)
    assert sizes.min() > 0.6 and sizes.max() < 1.25


def test_a_gradient_of_zeros_stays_zero():
    assert orthogonalised(torch.zeros(3, 4)).abs().max() == 0


@pytest.mark.parametrize(("rows", "columns"), [(12, 6), (6, 12)])
def test_training_follows_that_of_torch(rows, columns):
    start = drawn(rows, columns).float()
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    one, other = Muon([ours], lr=0.02, weight_decay=0.1), torch.optim.Muon([theirs], lr=0.02, weight_decay=0.1)
    for step in range(5):
        gradient = drawn(rows, columns, step + 1).float()
        for weight, optimiser in ((ours, one), (theirs, other)):
            weight.grad = gradient.clone()
            optimiser.step()
    moved = (ours - start).norm()
    assert moved > 0.1
    assert (ours - theirs).norm() < 0.02 * moved
    assert not torch.equal(ours, theirs)  # theirs rounds to eight bits
