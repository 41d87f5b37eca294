"""Directions of hand-made circuits, and those of thin factors against the dense matrix."""

from itertools import pairwise

import pytest
import torch

from skiptrace.circuits.directions import directions, groups
from skiptrace.circuits.factored import Circuit, ov, qk


def drawn(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def weights(seed, n):
    each = drawn(seed, n).exp()
    return each / each.sum()


def weighed(circuit, rows, columns):
    """M' entry by entry."""
    dense = circuit.left.double() @ circuit.right.double()
    dense = dense - (dense * columns).sum(1, keepdim=True)
    return rows.sqrt()[:, None] * dense * columns.sqrt()


def made(u, s, v, rows, columns, mix):
    """The thin factors of a circuit with known directions: u and v orthonormal, every v at right angles to √columns."""
    return Circuit("ov", "0", "0", (u * s / rows.sqrt()[:, None]) @ mix, torch.linalg.inv(mix) @ (v.T / columns.sqrt()))


def known():
    """Three directions between 9 rows and 7 columns, through a head of a basis of its own."""
    rows, columns, s = weights(1, 9), weights(2, 7), torch.tensor([3.0, 2.0, 0.5], dtype=torch.float64)
    u = torch.linalg.qr(drawn(3, 9, 3)).Q
    v = torch.linalg.qr(torch.cat([columns.sqrt()[:, None], drawn(4, 7, 3)], 1)).Q[:, 1:]
    return made(u, s, v, rows, columns, drawn(5, 3, 3)), u, s, v, rows, columns


def test_the_directions_of_a_hand_made_circuit_are_those_it_was_made_of():
    circuit, u, s, v, rows, columns = known()
    found = directions(circuit, rows, columns)
    assert found.values.tolist() == pytest.approx(s.tolist())
    assert found.shares.tolist() == pytest.approx([9 / 13.25, 4 / 13.25, 0.25 / 13.25])
    sign = u.pow(3).sum(0).sign()
    torch.testing.assert_close(found.rows, u * sign)
    torch.testing.assert_close(found.columns, v * sign)


@pytest.mark.parametrize("circuit", [ov, qk])
def test_the_directions_of_a_head_are_those_of_the_dense_circuit(make_model, circuit):
    model, weight = make_model(2, d_head=6), weights(0, 23)
    head = circuit(model, 1, 2)
    found = directions(head, weight, weight)
    whole = weighed(head, weight, weight)
    assert found.values.tolist() == pytest.approx(torch.linalg.svdvals(whole)[:6].tolist())
    torch.testing.assert_close((found.rows * found.values) @ found.columns.T, whole)
    assert (found.values * found.copying).sum().item() == pytest.approx(whole.trace().item())


def test_removing_a_direction_takes_its_product_off_the_circuit_and_nothing_else():
    circuit, u, s, v, rows, columns = known()
    found = directions(circuit, rows, columns)
    take, give = found.remover(found.basis[:, 1:2])
    torch.testing.assert_close(give @ take, torch.ones(1, 1, dtype=torch.float64))
    without = Circuit("ov", "0", "0", circuit.left - circuit.left @ take @ give, circuit.right)
    left_over = (u[:, [0, 2]] * s[[0, 2]]) @ v[:, [0, 2]].T
    torch.testing.assert_close(weighed(without, rows, columns), left_over)


@pytest.mark.parametrize("rows", [2, 4], ids=["fewer tokens than d_head", "as many"])
def test_a_circuit_of_fewer_tokens_than_its_head_has_dimensions(rows):
    circuit = Circuit("ov", "0", "0", drawn(6, rows, 4), drawn(7, 4, 5))
    weight, other = weights(8, rows), weights(9, 5)
    found = directions(circuit, weight, other)
    torch.testing.assert_close((found.rows * found.values) @ found.columns.T, weighed(circuit, weight, other))
    take, give = found.remover(found.basis[:, :1])
    without = Circuit("ov", "0", "0", circuit.left - circuit.left @ take @ give, circuit.right)
    assert torch.linalg.svdvals(weighed(without, weight, other))[0].item() == pytest.approx(found.values[1].item())


def test_a_head_that_copies_by_one_direction_and_suppresses_by_another():
    weight = weights(1, 8)
    u = torch.linalg.qr(torch.cat([weight.sqrt()[:, None], drawn(2, 8, 3)], 1)).Q[:, 1:]
    circuit = made(
        u, torch.tensor([4.0, 2.0, 1.0]).double(), u * torch.tensor([1, -1, 1]), weight, weight, drawn(3, 3, 3)
    )
    assert directions(circuit, weight, weight).copying.tolist() == pytest.approx([1, -1, 1])


def test_near_equal_values_are_one_group_and_chains_of_them_too():
    values = torch.tensor([5.0, 4.95, 4.92, 3.0, 1.0, 1.0, 0.0, 0.0])
    assert [(g.start, g.stop) for g in groups(values, 0.02)] == [(0, 3), (3, 4), (4, 6), (6, 8)]
    assert [(g.start, g.stop) for g in groups(values, 0.0)] == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 6), (6, 8)]
    for gap in (0.0, 0.1, 0.5):
        found = groups(values, gap)
        assert [i for g in found for i in g] == list(range(8))
        assert all(values[a.stop - 1] - values[b.start] > gap * values[a.stop - 1] for a, b in pairwise(found))
