import pytest
import torch
from torch.nn import functional as F

from skiptrace.models import loss


@pytest.mark.parametrize("n", [1, loss.ROWS - 1, loss.ROWS, loss.ROWS + 1, 2 * loss.ROWS + 3])
def test_loss_and_gradients_equal_the_dense_ones(n):
    generator = torch.Generator().manual_seed(n)
    x = torch.randn(n, 5, dtype=torch.float64, generator=generator, requires_grad=True)
    W_U = torch.randn(5, 13, dtype=torch.float64, generator=generator, requires_grad=True)
    targets = torch.randint(0, 13, (n,), generator=generator)
    dense = F.cross_entropy(x @ W_U, targets)
    expected = torch.autograd.grad(3 * dense, [x, W_U])
    fast = loss.cross_entropy(x, W_U, targets)
    torch.testing.assert_close(fast, dense, rtol=0, atol=1e-12)
    for got, wanted in zip(torch.autograd.grad(3 * fast, [x, W_U]), expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=0, atol=1e-12)
    rows = loss.token_losses(x.detach(), W_U.detach(), targets)
    torch.testing.assert_close(rows, F.cross_entropy(x @ W_U, targets, reduction="none").detach())


@pytest.mark.parametrize("m", [1, loss.ROWS, loss.ROWS + 1])
def test_rows_that_several_targets_share_count_as_often(m):
    generator = torch.Generator().manual_seed(m)
    x = torch.randn(m, 5, dtype=torch.float64, generator=generator, requires_grad=True)
    W_U = torch.randn(5, 13, dtype=torch.float64, generator=generator, requires_grad=True)
    rows = torch.cat([torch.randperm(m, generator=generator), torch.randint(0, m, (40,), generator=generator)])
    targets = torch.randint(0, 3, rows.shape, generator=generator)  # so few that pairs recur
    dense = F.cross_entropy(x[rows] @ W_U, targets)
    shared = loss.cross_entropy(x, W_U, targets, rows)
    torch.testing.assert_close(shared, dense, rtol=0, atol=1e-12)
    torch.testing.assert_close(loss.cross_entropy(x.detach(), W_U.detach(), targets, rows), dense.detach())
    expected = torch.autograd.grad(dense, [x, W_U])
    for got, wanted in zip(torch.autograd.grad(shared, [x, W_U]), expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=0, atol=1e-12)


def test_large_logits_do_not_overflow():
    x, W_U = torch.tensor([[1.0]], requires_grad=True), torch.tensor([[1e4, -1e4, 0.0]])
    value = loss.cross_entropy(x, W_U.requires_grad_(), torch.tensor([1]))
    assert value.item() == pytest.approx(2e4)
