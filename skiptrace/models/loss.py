"""Cross-entropy against a large vocabulary without holding all logits."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from skiptrace import arithmetic

# Rows of logits held at once: 512 × 2048 floats are 4 MB, which stay in the cache. The whole
# batch at once is slower by a factor of three: it pays for page faults, not for arithmetic.
ROWS = 512


class _LinearCrossEntropy(torch.autograd.Function):
    """Loss and both gradients in one pass over the rows: ∂loss/∂logits = (count · softmax − Σ onehot)/n."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, W_U: Tensor, targets: Tensor, rows: Tensor) -> Tensor:
        n, m = len(targets), len(x)
        grad_x, grad_W_U = torch.empty_like(x), torch.zeros_like(W_U)
        buffer = x.new_empty(min(ROWS, m), W_U.shape[1])
        order, counts = rows.argsort(stable=True), torch.bincount(rows, minlength=m)
        ends = [0, *counts.cumsum(0).tolist()]
        total = x.new_zeros(())
        for start in range(0, m, ROWS):
            stop = min(start + ROWS, m)
            pairs = order[ends[start] : ends[stop]]
            at = rows[pairs] - start, targets[pairs]
            part, count = x[start:stop], counts[start:stop, None].to(x.dtype)
            logits = torch.mm(part, W_U, out=buffer[: stop - start])
            logits -= logits.amax(1, keepdim=True)
            picked = logits[at]
            scaled = logits.exp_()
            normaliser = scaled.sum(1, keepdim=True)
            total += (count * normaliser.log()).sum() - arithmetic.total(picked)
            # What is divided by `share` here, the narrow factors are multiplied with.
            share = count / normaliser
            scaled.index_put_(at, -share.reciprocal()[at[0], 0], accumulate=True)
            torch.mm(scaled, W_U.T, out=grad_x[start:stop]).mul_(share)
            grad_W_U.addmm_((part * share).T, scaled)
        ctx.save_for_backward(grad_x.div_(n), grad_W_U.div_(n))
        return total / n

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        grad_x, grad_W_U = ctx.saved_tensors
        return grads[0] * grad_x, grads[0] * grad_W_U, None, None


def cross_entropy(
    x: Float[Tensor, "m d_model"],
    W_U: Float[Tensor, "d_model d_vocab"],
    targets: Int[Tensor, " n"],
    rows: Int[Tensor, " n"] | None = None,
) -> Float[Tensor, ""]:
    """Mean −log softmax(x W_U)[target], in nats, differentiable in `x` and `W_U`.

    `rows` says which row of `x` each target is predicted from, at least one from each; by default its own.
    """
    rows = torch.arange(len(x), device=x.device) if rows is None else rows
    if torch.is_grad_enabled():
        loss: Tensor = _LinearCrossEntropy.apply(x, W_U, targets, rows)
        return loss
    return token_losses(x[rows], W_U, targets).mean()


def token_losses(
    x: Float[Tensor, "n d_model"],
    W_U: Float[Tensor, "d_model d_vocab"],
    targets: Int[Tensor, " n"],
    cap: float | None = None,
) -> Float[Tensor, " n"]:
    """−log softmax(x W_U)[target] for each row, in nats, without gradients; logits through a soft `cap` if any."""
    losses = torch.empty_like(x[:, 0])
    buffer = x.new_empty(min(ROWS, len(x)), W_U.shape[1])
    for start in range(0, len(x), ROWS):
        rows, wanted = x[start : start + ROWS], targets[start : start + ROWS, None]
        logits = torch.mm(rows, W_U, out=buffer[: len(rows)])
        if cap is not None:
            logits.div_(cap).tanh_().mul_(cap)
        logits -= logits.amax(1, keepdim=True)
        picked = logits.gather(1, wanted)[:, 0]
        losses[start : start + ROWS] = logits.exp_().sum(1).log_() - picked
    return losses
