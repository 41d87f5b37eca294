"""Cross-entropy against a large vocabulary without holding all logits."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

# Rows of logits held at once: 512 × 2048 floats are 4 MB, which stay in the cache. The whole
# batch at once is slower by a factor of three: it pays for page faults, not for arithmetic.
ROWS = 512


class _LinearCrossEntropy(torch.autograd.Function):
    """Loss and both gradients in one pass over the rows: ∂loss/∂logits = (softmax − onehot)/n."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, W_U: Tensor, targets: Tensor) -> Tensor:
        n = len(x)
        grad_x, grad_W_U = torch.empty_like(x), torch.zeros_like(W_U)
        buffer = x.new_empty(min(ROWS, n), W_U.shape[1])
        total = x.new_zeros(())
        for start in range(0, n, ROWS):
            rows, wanted = x[start : start + ROWS], targets[start : start + ROWS, None]
            logits = torch.mm(rows, W_U, out=buffer[: len(rows)])
            logits -= logits.amax(1, keepdim=True)
            picked = logits.gather(1, wanted)
            scaled = logits.exp_()
            normaliser = scaled.sum(1, keepdim=True)
            total += (normaliser.log() - picked).sum()
            # (softmax − onehot) times the normaliser, which the narrow factors are divided by instead.
            scaled.scatter_add_(1, wanted, -normaliser)
            torch.mm(scaled, W_U.T, out=grad_x[start : start + ROWS]).div_(normaliser)
            grad_W_U.addmm_((rows / normaliser).T, scaled)
        ctx.save_for_backward(grad_x.div_(n), grad_W_U.div_(n))
        return total / n

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        grad_x, grad_W_U = ctx.saved_tensors
        return grads[0] * grad_x, grads[0] * grad_W_U, None


def cross_entropy(
    x: Float[Tensor, "n d_model"], W_U: Float[Tensor, "d_model d_vocab"], targets: Int[Tensor, " n"]
) -> Float[Tensor, ""]:
    """Mean −log softmax(x W_U)[target], in nats, differentiable in `x` and `W_U`."""
    if torch.is_grad_enabled():
        loss: Tensor = _LinearCrossEntropy.apply(x, W_U, targets)
        return loss
    return token_losses(x, W_U, targets).mean()


def token_losses(
    x: Float[Tensor, "n d_model"], W_U: Float[Tensor, "d_model d_vocab"], targets: Int[Tensor, " n"]
) -> Float[Tensor, " n"]:
    """−log softmax(x W_U)[target] for each row, in nats, without gradients."""
    losses = torch.empty_like(x[:, 0])
    buffer = x.new_empty(min(ROWS, len(x)), W_U.shape[1])
    for start in range(0, len(x), ROWS):
        rows, wanted = x[start : start + ROWS], targets[start : start + ROWS, None]
        logits = torch.mm(rows, W_U, out=buffer[: len(rows)])
        logits -= logits.amax(1, keepdim=True)
        picked = logits.gather(1, wanted)[:, 0]
        losses[start : start + ROWS] = logits.exp_().sum(1).log_() - picked
    return losses
