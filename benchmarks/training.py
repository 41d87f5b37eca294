"""Training, beside a plain loop over the same model and beside the arithmetic alone."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from skiptrace.config.models import ModelParams
from skiptrace.devices import CPU
from skiptrace.models.config import ModelConfig
from skiptrace.models.training import Run, deterministic
from skiptrace.models.transformer import Transformer
from skiptrace.models.windows import random_windows

D_VOCAB, STEPS = 2048, 20  # of a training of a thousand: its loss curve has a point every 20
PARAMS = ModelParams(
    corpus="none", seed=0, n_layers=2, n_heads=4, d_head=32, d_model=128, n_ctx=256, steps=1000, batch_size=32,
    warmup_steps=2, lr_embedding=0.02, lr_attention=0.05, weight_decay=0.0,
)  # fmt: skip


def flops_per_token() -> float:
    """Of products, forward and back: six per weight, and attention's scores and mixtures over the whole context."""
    p = PARAMS
    weights = p.d_model * D_VOCAB + p.n_layers * 4 * p.d_model * p.n_heads * p.d_head
    attention = p.n_layers * 2 * p.n_ctx * p.n_heads * p.d_head
    return 6.0 * (weights + attention)


def ways(device: torch.device = CPU, steps: int = STEPS) -> dict[str, Callable[[], float]]:
    """Both train for a few steps on a device and return the tokens they learned from."""
    stream = np.random.default_rng(0).integers(1, D_VOCAB, 200_000)
    tokens = float(steps * PARAMS.batch_size * PARAMS.n_ctx)

    def ours() -> float:
        with tempfile.TemporaryDirectory() as scratch, deterministic(device):
            run = Run(PARAMS, stream, stream[:300], D_VOCAB, Path(scratch), "bench", device)
            for step in range(steps):
                run.step(step)
        return tokens

    def plain() -> float:
        p = PARAMS
        model = Transformer(
            ModelConfig(
                d_vocab=D_VOCAB,
                d_model=p.d_model,
                n_ctx=p.n_ctx,
                n_layers=p.n_layers,
                n_heads=p.n_heads,
                d_head=p.d_head,
            )
        )
        model.initialise(0)
        model.to(device)
        optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
        with deterministic(device):
            for step in range(steps):
                batch = random_windows(stream, p.n_ctx, p.batch_size, 0, step).to(device)
                logits = model(batch[:, :-1])[:, 1:]
                optimiser.zero_grad()
                functional.cross_entropy(logits.flatten(0, 1), batch[:, 2:].flatten()).backward()
                optimiser.step()
        return tokens

    return {"ours": ours, "plain loop": plain}
