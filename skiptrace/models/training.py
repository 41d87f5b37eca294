"""Training: Muon for the attention matrices, AdamW for the embeddings, and resuming after a kill."""

import contextlib
import copy
import io
import math
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int, Integer
from safetensors import SafetensorError
from torch import Tensor

from skiptrace.config.models import ModelParams
from skiptrace.devices import CPU
from skiptrace.errors import InputError, one_line
from skiptrace.files import atomic
from skiptrace.models import checkpoint
from skiptrace.models.config import ModelConfig
from skiptrace.models.evaluation import mean_loss
from skiptrace.models.loss import cross_entropy
from skiptrace.models.muon import Muon
from skiptrace.models.tables import CURVE
from skiptrace.models.transformer import Transformer
from skiptrace.models.windows import random_windows, require_context, spread_windows
from skiptrace.progress import progress
from skiptrace.seals import UNSEALED, intact

POINTS = 50  # points of the loss curve
EARLIEST = 64  # the first checkpoint is kept after this fraction of the steps
CHECK_WINDOWS = 64  # contexts, spread over the validation stream, that each point is measured on


def train(
    params: ModelParams,
    train_stream: Integer[np.ndarray, " n"],
    valid_stream: Integer[np.ndarray, " m"],
    d_vocab: int,
    scratch: Path,
    name: str,
    device: torch.device = CPU,
    points: int = POINTS,
) -> tuple[Transformer, pd.DataFrame]:
    """Train one model on a device; return it and its loss curve (`CURVE`) of so many points, 0 for none.

    State is saved to `scratch` every few seconds (`SKIPTRACE_CHECKPOINT_SECONDS`, default 20) and
    found there again, so that a killed training ends with the bytes of an undisturbed one.
    The model on its way, at `checkpoint_steps`, is left in `scratch/checkpoints/step-<n>` in half precision.

    Raises:
        InputError: a stream is shorter than one context, or the loss is no longer finite.
    """
    require_context({"training": train_stream, "validation": valid_stream}, params.n_ctx, params.corpus, name)
    with deterministic(device):
        return Run(params, train_stream, valid_stream, d_vocab, scratch, name, device, points).finish()


def config(params: ModelParams, d_vocab: int) -> ModelConfig:
    """The sizes of the model that is trained."""
    names = ("n_layers", "n_heads", "d_model", "d_head", "n_ctx")
    return ModelConfig(d_vocab=d_vocab, **{name: getattr(params, name) for name in names})


def checkpoint_steps(params: ModelParams) -> list[int]:
    """The steps at which the model is kept: evenly on a logarithmic scale, the last one included."""
    first = max(1.0, params.steps / EARLIEST)
    return sorted({round(s) for s in np.geomspace(params.steps, first, params.checkpoints)})


def schedule(step: int, params: ModelParams) -> float:
    """The factor on both learning rates: linear warm-up, then half a cosine down to zero."""
    warm_up = min(1.0, (step + 1) / (params.warmup_steps + 1))
    return warm_up * 0.5 * (1 + math.cos(math.pi * step / params.steps))


@contextlib.contextmanager
def deterministic(device: torch.device = CPU) -> Iterator[None]:
    """Refuse kernels whose result depends on the order in which threads finish; elsewhere than on the CPU, warn.

    On an accelerator the weights agree with those of the CPU as far as
    two trainings with other roundings do, not bit for bit.
    """
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=device.type != "cpu")
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


class Run:
    """One training: everything that a checkpoint has to bring back."""

    def __init__(
        self,
        params: ModelParams,
        train_stream: np.ndarray,
        valid_stream: np.ndarray,
        d_vocab: int,
        scratch: Path,
        name: str,
        device: torch.device = CPU,
        points: int = POINTS,
    ) -> None:
        p = params
        self.params, self.name, self.stream, self.points = params, name, train_stream, points
        self.device = device
        self.check = spread_windows(valid_stream, p.n_ctx, CHECK_WINDOWS).to(self.device)
        self.model = Transformer(config(params, d_vocab))
        self.model.initialise(p.seed)
        self.model.to(self.device)  # after the initial weights, which are the same everywhere
        self.optimisers = _optimisers(self.model, params)
        self.rates = [[group["lr"] for group in o.param_groups] for o in self.optimisers]
        self.losses: list[float] = []
        self.curve: list[tuple[int, int, float, float]] = []
        self.state_file = scratch / "state.pt"
        self.checkpoints = scratch / "checkpoints"
        self.kept = set(checkpoint_steps(params))
        self.unwritten: dict[int, Transformer] = {}  # of those, what the disk had no room for
        self.every = _seconds_between_checkpoints()

    def finish(self) -> tuple[Transformer, pd.DataFrame]:
        """Resume if there is a state to resume from, and train to the last step."""
        self._restore()
        saved = time.monotonic()
        steps = range(len(self.losses), self.params.steps)
        bar = progress(steps, f"training {self.name}", self.params.steps, initial=len(self.losses))
        for step in bar:
            self.step(step)
            bar.set_postfix(loss=f"{self.losses[-1]:.3f}", refresh=False)
            if time.monotonic() - saved >= self.every:
                self._save()
                saved = time.monotonic()
        if error := self._write():
            path = self._checkpoint(min(self.unwritten))
            raise InputError(
                f"models.{self.name}: {path} could not be written ({one_line(error)}); make room and run the same "
                "command again, which continues from the last state that was saved"
            )
        return self.model.cpu().requires_grad_(False).eval(), CURVE.frame(self.curve)

    def step(self, step: int) -> None:
        """Learn from one batch, and measure the losses where the curve has a point."""
        p = self.params
        for optimiser, rates in zip(self.optimisers, self.rates, strict=True):
            for group, rate in zip(optimiser.param_groups, rates, strict=True):
                group["lr"] = rate * schedule(step, p)
            optimiser.zero_grad()
        tokens = random_windows(self.stream, p.n_ctx, p.batch_size, p.seed, step).to(self.device)
        loss = self._loss(tokens)
        loss.backward()
        for optimiser in self.optimisers:
            optimiser.step()
        self.losses.append(loss.item())
        if step + 1 in self.kept:
            self._keep(step + 1)
        interval = max(1, p.steps // max(1, self.points))
        if self.points and ((step + 1) % interval == 0 or step + 1 == p.steps):
            recent = float(np.mean(self.losses[-interval:]))
            seen = (step + 1) * p.batch_size * (p.n_ctx - 1)
            self.curve.append((step + 1, seen, recent, mean_loss(self.model, [self.check])))
        if not math.isfinite(self.losses[-1]) or not math.isfinite(self.curve[-1][-1] if self.curve else 0.0):
            raise InputError(
                f"models.{self.name}: the loss is not finite after {step + 1} steps; lower lr_attention or lr_embedding"
            )

    def _loss(self, tokens: Int[Tensor, "batch width"]) -> Tensor:
        targets = tokens[:, 2:].flatten()
        if self.model.n_layers == 0:  # what follows a token is predicted from it alone: once for all its places
            current, rows = tokens[:, 1:-1].unique(return_inverse=True)
            return cross_entropy(self.model.residual(current[:, None])[:, 0], self.model.W_U, targets, rows.flatten())
        x = self.model.residual(tokens[:, :-1])[:, 1:]
        return cross_entropy(x.flatten(0, 1), self.model.W_U, targets)

    def _keep(self, step: int) -> None:
        """Write the model on its way; one that cannot be written stays in memory until it can."""
        self.unwritten[step] = self.model
        if error := self._write():
            self.unwritten[step] = copy.deepcopy(self.model)
            print(
                f"models.{self.name}: {self._checkpoint(step)} could not be written ({one_line(error)}); the training "
                "goes on, tries again, and saves no state until then",
                file=sys.stderr,
            )

    def _write(self) -> Exception | None:
        """Write the models that have to be kept; the error of the first that cannot be."""
        for step in sorted(self.unwritten):
            try:
                checkpoint.save(self.unwritten[step], self._checkpoint(step), torch.float16)
            except (OSError, SafetensorError) as error:
                return error
            del self.unwritten[step]
        return None

    def _save(self) -> None:
        # A training that continued behind a model that was never written would end without it.
        if self._write():
            return
        state = {
            "model": self.model.state_dict(),
            "optimisers": [o.state_dict() for o in self.optimisers],
            "losses": self.losses,
            "curve": self.curve,
        }
        try:
            with atomic(self.state_file, sealed=True) as temporary, temporary.open("wb") as file:
                torch.save(state, file)
                file.write(UNSEALED)
        except (OSError, RuntimeError) as error:  # torch's writer hides the number of the error
            print(
                f"models.{self.name}: {self.state_file} could not be saved ({one_line(error)}); the training goes on, "
                "and begins again from the last state that was saved if it is interrupted",
                file=sys.stderr,
            )

    def _restore(self) -> None:
        if not self.state_file.exists():
            return
        content = self.state_file.read_bytes()
        if not intact(content):
            self._start_over(self.state_file)
            return
        state = torch.load(io.BytesIO(content[: -len(UNSEALED)]), map_location=self.device, weights_only=True)
        for step in (step for step in self.kept if step <= len(state["losses"])):
            try:
                checkpoint.load(self._checkpoint(step))
            except InputError:
                self._start_over(self._checkpoint(step))
                return
        self.model.load_state_dict(state["model"])
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        self.losses, self.curve = state["losses"], state["curve"]

    def _checkpoint(self, step: int) -> Path:
        return self.checkpoints / f"step-{step:06d}"

    def _start_over(self, path: Path) -> None:
        print(f"models.{self.name}: {path} is damaged; the training starts over", file=sys.stderr)


def _seconds_between_checkpoints() -> float:
    given = os.environ.get("SKIPTRACE_CHECKPOINT_SECONDS", "20")
    try:
        return float(given)
    except ValueError:
        raise InputError(f"SKIPTRACE_CHECKPOINT_SECONDS: expected a number of seconds, got {given!r}") from None


def _optimisers(model: Transformer, params: ModelParams) -> list[torch.optim.Optimizer]:
    embeddings = [model.W_E, model.W_U]
    attention = [w for layer in model.blocks for w in layer.parameters()]
    decay: dict[str, Any] = {"weight_decay": params.weight_decay}
    adam = torch.optim.AdamW(embeddings, lr=params.lr_embedding, betas=(0.9, 0.98), fused=True, **decay)
    if not attention:
        return [adam]
    return [adam, Muon(attention, lr=params.lr_attention, **decay)]
