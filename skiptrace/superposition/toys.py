"""Toy models, many at once: x′ = f(WᵀWx + b), with variants (Toy Models of Superposition, "Demonstrating")."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from skiptrace.progress import progress
from skiptrace.superposition.features import Draw, Features, draw, empty_share, inputs

# Numbers held per intermediate tensor: a megabyte, so that a step runs in the processor's cache.
CHUNK = 2**18
CHECK = 8192  # inputs on which trained models are compared


@dataclass(frozen=True)
class Kind:
    """What distinguishes the experiments: where ReLUs stand, whether the decoder is Wᵀ, and what is asked for.

    An `absolute` model is asked for |x|, the others for x itself. `activation_penalty` is the weight of ‖h‖₁ in what is
    minimised, beside the loss.
    """

    features: Features
    hidden_relu: bool = False
    output_relu: bool = True
    tied: bool = True
    absolute: bool = False
    activation_penalty: float = 0.0


@dataclass(frozen=True)
class Toys:
    """Models side by side: h = g(Wx), x′ = f(Dh + b), where D = Wᵀ unless a decoder of its own is there."""

    kind: Kind
    W: Float[Tensor, "inst m n"]
    decoder: Float[Tensor, "inst n m"] | None
    b: Float[Tensor, "inst n"]

    @property
    def D(self) -> Float[Tensor, "inst n m"]:
        """The decoder."""
        return self.W.mT if self.decoder is None else self.decoder

    def __getitem__(self, part: slice) -> "Toys":
        """Some of the models."""
        decoder = None if self.decoder is None else self.decoder[part]
        return Toys(self.kind, self.W[part], decoder, self.b[part])

    def hidden(self, x: Float[Tensor, "inst n batch"]) -> Float[Tensor, "inst m batch"]:
        """H = Wx, or ReLU(Wx)."""
        h = torch.bmm(self.W, x)
        return h.relu_() if self.kind.hidden_relu else h

    def outputs(self, h: Float[Tensor, "inst m batch"]) -> Float[Tensor, "inst n batch"]:
        """x′ = ReLU(Dh + b), or Dh + b."""
        y = torch.baddbmm(self.b[:, :, None], self.D, h)
        return y.relu_() if self.kind.output_relu else y

    def target(self, x: Float[Tensor, "inst n batch"]) -> Float[Tensor, "inst n batch"]:
        """What the outputs should be."""
        return x.abs() if self.kind.absolute else x

    def losses(
        self, x: Float[Tensor, "inst n batch"], importance: Float[Tensor, "inst n"], density: Float[Tensor, " inst"]
    ) -> Float[Tensor, " inst"]:
        """L = E Σ_i I_i (x_i − x′_i)²; `x` holds inputs that are not empty, empty ones are added exactly."""
        error = (self.outputs(self.hidden(x)) - self.target(x)).square_().mean(2)
        empty = empty_share(self.kind.features, density)
        return (1 - empty) * (importance * error).sum(1) + empty * self.empty_loss(importance)

    def empty_loss(self, importance: Float[Tensor, "inst n"]) -> Float[Tensor, " inst"]:
        """Σ_i I_i f(b_i)²: the loss on an input without features."""
        b = self.b.relu() if self.kind.output_relu else self.b
        return (importance * b.square()).sum(1)

    def gradients(
        self, x: Float[Tensor, "inst n batch"], importance: Float[Tensor, "inst n"], density: Float[Tensor, " inst"]
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """∂/∂W, ∂/∂decoder (none when tied) and ∂/∂b of the losses and the penalty on activations, by hand.

        Five times as fast as recording these small products for automatic differentiation.
        """
        empty = empty_share(self.kind.features, density)[:, None]
        h = self.hidden(x)
        y = self.outputs(h)
        g = y - self.target(x)
        g *= ((1 - empty) * importance * (2 / x.shape[2]))[:, :, None]
        if self.kind.output_relu:
            g *= y > 0
        b = self.b.relu() if self.kind.output_relu else self.b
        on_b = g.sum(2) + 2 * empty * importance * b
        on_h = torch.bmm(self.D.mT, g)
        if self.kind.activation_penalty:
            on_h += h.sign() * ((1 - empty) * (self.kind.activation_penalty / x.shape[2]))[:, :, None]
        if self.kind.hidden_relu:
            on_h *= h > 0
        on_W, on_D = torch.bmm(on_h, x.mT), torch.bmm(g, h.mT)
        return (on_W + on_D.mT, None, on_b) if self.decoder is None else (on_W, on_D, on_b)


class Plan(NamedTuple):
    """How a set of toy models is trained: one row of `importance` and one `density` per model."""

    n_hidden: int
    importance: Float[Tensor, "inst n"]
    density: Float[Tensor, " inst"]
    seed: int
    steps: int
    batch_size: int
    learning_rate: float
    widths: Float[Tensor, " inst"] | None = None


class Trained(NamedTuple):
    """Trained models and the loss of each on inputs that are the same for all."""

    toys: Toys
    losses: Float[Tensor, " inst"]


def initial(kind: Kind, plan: Plan, generator: torch.Generator) -> Toys:
    """Weights of variance 2/(m + n) (Xavier), zero bias.

    Where `widths` are given, the rows of W beyond a model's width are zero. They stay so: with a tied
    decoder their gradient is zero, so models of several widths train as one tensor.
    """
    (count, n), m = plan.importance.shape, plan.n_hidden
    scale = math.sqrt(2 / (m + n))
    W = torch.randn(count, m, n, generator=generator) * scale
    if plan.widths is not None:
        W *= torch.arange(m)[None, :, None] < plan.widths[:, None, None]
    decoder = None if kind.tied else torch.randn(count, n, m, generator=generator) * scale
    return Toys(kind, W, decoder, torch.zeros(count, n))


def train(kind: Kind, plan: Plan, name: str) -> Trained:
    """Train all models of a plan at once with AdamW, the learning rate falling to zero along half a cosine.

    All models see the same random numbers, thresholded by their density; they differ in their
    initial weights. The result is the same to the bit from run to run.
    """
    generator = torch.Generator().manual_seed(plan.seed)
    toys = initial(kind, plan, generator)
    learned = [toys.W, toys.b] if toys.decoder is None else [toys.W, toys.b, toys.decoder]
    for weight in learned:
        weight.grad = torch.empty_like(weight)
    optimiser = torch.optim.AdamW(learned, lr=plan.learning_rate, weight_decay=0.0, fused=True)
    parts = _parts(plan, plan.batch_size)
    for step in progress(range(plan.steps), f"training {name}"):
        optimiser.param_groups[0]["lr"] = plan.learning_rate * 0.5 * (1 + math.cos(math.pi * step / plan.steps))
        drawn = draw(kind.features, plan.batch_size, generator)
        for part in parts:
            _fill(toys, part, drawn, plan)
        optimiser.step()
    for weight in learned:
        weight.grad = None
    drawn = draw(kind.features, CHECK, generator)
    return Trained(toys, evaluate(toys, plan, drawn))


def evaluate(toys: Toys, plan: Plan, drawn: Draw) -> Float[Tensor, " inst"]:
    """The loss of every model on the same inputs."""
    losses = []
    for part in _parts(plan, drawn.first.shape[0]):
        x = _inputs(toys.kind, drawn, plan.density[part])
        losses.append(toys[part].losses(x, plan.importance[part], plan.density[part]))
    return torch.cat(losses)


def _parts(plan: Plan, batch: int) -> list[slice]:
    count, n = plan.importance.shape
    size = max(1, CHUNK // (n * batch))
    return [slice(start, start + size) for start in range(0, count, size)]


def _inputs(kind: Kind, drawn: Draw, density: Float[Tensor, " inst"]) -> Float[Tensor, "inst n batch"]:
    """Those of every model: made once for neighbours of one density, which is most of the work on small models."""
    each, which = density.unique_consecutive(return_inverse=True)
    made = inputs(kind.features, drawn, each)
    return made if len(each) == len(density) else made[which]


def _fill(toys: Toys, part: slice, drawn: Draw, plan: Plan) -> None:
    x = _inputs(toys.kind, drawn, plan.density[part])
    found = toys[part].gradients(x, plan.importance[part], plan.density[part])
    for weight, gradient in zip((toys.W, toys.decoder, toys.b), found, strict=True):
        if weight is not None and gradient is not None and weight.grad is not None:
            weight.grad[part] = gradient
