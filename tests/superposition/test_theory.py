import numpy as np
import pandas as pd
import pytest
import torch

from skiptrace.config.superposition import PhaseParams
from skiptrace.superposition import expected, theory
from skiptrace.superposition.phase import apex, boundary_line, phase

NODES, WEIGHTS = np.polynomial.legendre.leggauss(60)
U, Q = (NODES + 1) / 2, WEIGHTS / 2


def numeric(W: np.ndarray, b: np.ndarray, p: float, importance: np.ndarray) -> float:
    """E Σ I (x − ReLU(WᵀWx + b))² of two features by quadrature over all four patterns of presence."""
    a, c = (v.flatten() for v in np.meshgrid(U, U))
    weight = np.outer(Q, Q).flatten()
    total = 0.0
    for first in (0, 1):
        for second in (0, 1):
            x = np.stack([a * first, c * second])
            y = np.maximum(W.T @ W @ x + b[:, None], 0)
            chance = (p if first else 1 - p) * (p if second else 1 - p)
            total += chance * float((importance[:, None] * (x - y) ** 2).sum(0) @ weight)
    return total


@pytest.mark.parametrize("p", [0.05, 0.4, 0.9])
@pytest.mark.parametrize("r", [0.3, 1.0, 4.0])
def test_the_losses_are_those_of_the_ideal_weights(p, r):
    importance = np.array([1.0, r])
    weights = (
        (np.array([[1.0, 0.0]]), np.array([0.0, p / 2])),
        (np.array([[0.0, 1.0]]), np.array([p / 2, 0.0])),
        (np.array([[1.0, -1.0]]), np.zeros(2)),
    )
    slow = [numeric(W, b, p, importance) for W, b in weights]
    fast = theory.losses(2, torch.tensor(p), torch.tensor(r))
    assert fast.tolist() == pytest.approx(slow, rel=2e-3)


@pytest.mark.parametrize("r", [0.2, 0.7, 1.0, 1.5, 8.0])
def test_the_configurations_change_places_at_the_boundary(r):
    """By the numerical losses, not by the formula the boundary was derived from."""
    border, importance = theory.boundary(r), np.array([1.0, r])
    alone = np.array([[1.0, 0.0]]) if r <= 1 else np.array([[0.0, 1.0]])
    for p, antipodal_wins in ((0.97 * border, True), (min(1.0, 1.03 * border), False)):
        bias = np.array([0.0, p / 2]) if r <= 1 else np.array([p / 2, 0.0])
        pair = numeric(np.array([[1.0, -1.0]]), np.zeros(2), p, importance)
        assert (pair < numeric(alone, bias, p, importance)) == antipodal_wins


def test_all_three_meet_at_the_triple_point():
    found = theory.losses(2, torch.tensor(theory.TRIPLE.density), torch.tensor(theory.TRIPLE.importance))
    assert found.tolist() == pytest.approx([found[0].item()] * 3)
    assert [theory.boundary(1.0), theory.boundary(1.0 + 1e-9)] == pytest.approx([4 / 7, 4 / 7])
    lines = boundary_line(2)
    assert [line[1][-1] for line in lines[:1]] == pytest.approx([4 / 7])


def test_three_features_share_by_importance_alone_where_it_is_sparse():
    for r, best in ((0.5, 2), (2.0, 3)):
        assert theory.losses(3, torch.tensor(0.1), torch.tensor(r)).argmin() == best


@pytest.mark.parametrize(
    ("W", "name"),
    [
        ([[1.0, 0.1]], "extra left out"),
        ([[0.1, 1.0]], "other left out"),
        ([[1.0, -1.0]], "antipodal with extra"),
        ([[0.2, 0.2]], None),
        ([[1.0, 0.0, 0.0], [0.0, 1.0, 0.1]], "extra left out"),
        ([[1.0, 0.0, 0.0], [0.0, 0.1, 1.0]], "other left out"),
        ([[1.0, 0.0, 0.0], [0.0, 1.0, -1.0]], "antipodal with extra"),
        ([[1.0, -1.0, 0.0], [0.0, 0.0, 1.0]], "others antipodal"),
    ],
)
def test_trained_models_are_told_apart(W, name):
    weights = torch.tensor([W])
    index = int(theory.configuration(weights)[0])
    assert index == (theory.CONFIGURATIONS[weights.shape[2]].index(name) if name else -1)


def test_the_apex_of_a_hand_made_diagram():
    pair = theory.CONFIGURATIONS[2][2]
    cells = pd.DataFrame(
        [(1.0, 1.0, "x"), (0.5, 0.5, "x"), (0.5, 2.0, pair), (0.5, 8.0, pair), (0.1, 1.0, pair)],
        columns=["density", "importance", "trained"],
    )
    assert apex(cells) == pytest.approx((4.0, 0.5**0.5))
    assert np.isnan(apex(cells[cells["trained"] == "x"]).density)


def test_a_small_diagram_agrees_with_the_theory_far_from_its_borders():
    params = PhaseParams(
        cells=2, lowest_density=0.1, highest_importance=8.0, seeds=4, steps=300, batch_size=64, learning_rate=0.05
    )
    cells = phase(params, 0).tables["phase"]
    assert len(cells) == 8
    assert cells["agrees"].all()
    assert cells["loss"].between((1 - 1e-6) * cells["expected_loss"], 1.1 * cells["expected_loss"]).all()
    assert (cells["expected_loss"] <= (1 + 1e-6) * cells["ideal_loss"]).all()


@pytest.mark.parametrize("p", [0.03, 0.6, 1.0])
def test_the_expected_loss_is_that_of_a_grid_over_all_patterns(p):
    generator = torch.Generator().manual_seed(4)
    W, b = torch.randn(3, 1, 2, generator=generator), 0.2 * torch.randn(3, 2, generator=generator)
    importance = torch.tensor([[1.0, 0.4]]).expand(3, 2)
    slow = [numeric(W[i].numpy(), b[i].numpy(), p, np.array([1.0, 0.4])) for i in range(3)]
    assert expected.losses(W, b, importance, torch.full((3,), p)).tolist() == pytest.approx(slow, rel=2e-3)


def test_no_cell_of_the_ideal_weights_beats_the_optimum_and_it_is_flat_there():
    p, importance = torch.tensor([0.05, 0.4]), torch.tensor([[1.0, 0.5], [1.0, 2.0]])
    ideal = theory.IDEAL[2][:, None].expand(3, 2, 1, 2)
    ends = expected.descend(ideal + 0.03, torch.zeros(3, 2, 2), importance, p)
    least = ends.losses.min(0)
    assert (least.values <= theory.losses(2, p, importance[:, 1]).amin(0) * (1 + 1e-6)).all()
    W, b = (t[least.indices, [0, 1]].requires_grad_() for t in (ends.W, ends.b))
    gradients = torch.autograd.grad(expected.losses(W, b, importance, p).sum(), (W, b))
    assert max(g.abs().max().item() for g in gradients) < 1e-5
