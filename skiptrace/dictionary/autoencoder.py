"""Sparse autoencoders, several at once: with an L1 penalty, or with a TopK or a BatchTopK activation.

L1: Towards Monosemanticity (2023), "Sparse Autoencoder Training". TopK: Gao et al. (2024), "Scaling and Evaluating
Sparse Autoencoders". BatchTopK: Bussmann et al. (2024), "BatchTopK Sparse Autoencoders". Both without their auxiliary
loss: entries that are never active start anew in all kinds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize

BORN = 0.2  # norm of the encoder row of a resampled entry, relative to the mean of the living


class Gradients(NamedTuple):
    """Derivatives of the loss of every autoencoder with respect to its own weights."""

    encoder: Float[Tensor, "inst entries d"]
    encoder_bias: Float[Tensor, "inst entries"]
    decoder: Float[Tensor, "inst d entries"]
    decoder_bias: Float[Tensor, "inst d"]


@dataclass(frozen=True)
class Autoencoders:
    """f = TopK(ReLU(W_e(x − b_d) + b_e)), x̂ = W_d f + b_d: untied weights, unit columns of W_d.

    TopK keeps the `k` largest activations of each input, or, of those `by_batch`, k times as many as there are inputs
    among all of them; with k = entries it is a plain ReLU. Activations have to be above `floor`, if there is one
    (JumpReLU).
    """

    encoder: Float[Tensor, "inst entries d"]
    encoder_bias: Float[Tensor, "inst entries"]
    decoder: Float[Tensor, "inst d entries"]
    decoder_bias: Float[Tensor, "inst d"]
    k: tuple[int, ...]
    by_batch: tuple[bool, ...] | None = None
    floor: Float[Tensor, "inst entries"] | None = None

    @property
    def weights(self) -> list[Tensor]:
        """All that is learned, in the order of `Gradients`."""
        return [self.encoder, self.encoder_bias, self.decoder, self.decoder_bias]

    def named(self) -> dict[str, Tensor]:
        """All that encodes and decodes, by name."""
        learned = dict(zip(("encoder", "encoder_bias", "decoder", "decoder_bias"), self.weights, strict=True))
        return learned if self.floor is None else learned | {"floor": self.floor}

    def __getitem__(self, part: slice) -> "Autoencoders":
        """Some of the autoencoders."""
        encoder, encoder_bias, decoder, decoder_bias = (w[part] for w in self.weights)
        by_batch = None if self.by_batch is None else self.by_batch[part]
        floor = None if self.floor is None else self.floor[part]
        return Autoencoders(encoder, encoder_bias, decoder, decoder_bias, self.k[part], by_batch, floor)

    def features(self, x: Float[Tensor, "inst d batch"]) -> Float[Tensor, "inst entries batch"]:
        """Activations of the entries, f = TopK(ReLU(W_e(x − b_d) + b_e))."""
        centred = x - self.decoder_bias[:, :, None]
        f = torch.baddbmm(self.encoder_bias[:, :, None], self.encoder, centred).relu_()
        for one, k, by_batch in zip(f, self.k, self.by_batch or (False,) * len(f), strict=True):
            if k < len(one):
                one.copy_(largest_of_all(one, k * one.shape[1]) if by_batch else largest(one, k))
        return f if self.floor is None else f.mul_(f > self.floor[:, :, None])

    def decode(self, f: Float[Tensor, "inst entries batch"]) -> Float[Tensor, "inst d batch"]:
        """x̂ = W_d f + b_d."""
        return torch.baddbmm(self.decoder_bias[:, :, None], self.decoder, f)

    def loss(self, x: Float[Tensor, "inst d batch"], penalty: Float[Tensor, " inst"]) -> Float[Tensor, " inst"]:
        """Mean over inputs of ‖x − x̂‖² + λ‖f‖₁."""
        f = self.features(x)
        return (self.decode(f) - x).square().sum(1).mean(1) + penalty * f.sum(1).mean(1)

    def gradients(
        self, x: Float[Tensor, "inst d batch"], penalty: Float[Tensor, " inst"]
    ) -> tuple[Gradients, Bool[Tensor, "inst entries"]]:
        """The gradients of `loss` by hand, and which entries were active.

        From the decoder's, the part along its columns is removed, since their norm is fixed: what is left
        is the gradient on the sphere.
        """
        f = self.features(x)
        g = self.decode(f).sub_(x).mul_(2 / x.shape[2])
        on_decoder = torch.bmm(g, f.mT)
        along = (on_decoder * self.decoder).sum(1, keepdim=True)
        on_f = torch.bmm(self.decoder.mT, g)
        on_f += (penalty / x.shape[2])[:, None, None]
        on_f *= f.sign()  # of activations, which are not negative
        on_bias = on_f.sum(2)
        on_encoder = torch.bmm(on_f, x.mT) - on_bias[:, :, None] * self.decoder_bias[:, None]
        through = torch.bmm(self.encoder.mT, on_bias[:, :, None])[:, :, 0]
        found = Gradients(on_encoder, on_bias, on_decoder - along * self.decoder, g.sum(2) - through)
        return found, f.amax(2) > 0


def largest(f: Float[Tensor, "entries batch"], k: int) -> Float[Tensor, "entries batch"]:
    """The k largest activations of every input, zero in place of the others."""
    by_input = f.T.contiguous()  # topk is fast along the last axis alone
    values, places = by_input.topk(k, dim=1, sorted=False)
    return torch.zeros_like(by_input).scatter_(1, places, values).T


def largest_of_all(f: Float[Tensor, "entries batch"], count: int) -> Float[Tensor, "entries batch"]:
    """The `count` largest activations of all inputs together, zero in place of the others."""
    flat = f.flatten()
    least = flat.kthvalue(len(flat) - count + 1).values
    return f * (f >= least)


def initial(d: int, entries: int, k: tuple[int, ...], generator: torch.Generator) -> Autoencoders:
    """Random unit columns, the encoder their transpose, zero biases; the same for every k."""
    count = len(k)
    decoder = normalize(torch.randn(d, entries, generator=generator), dim=0).expand(count, d, entries)
    return Autoencoders(
        decoder.mT.contiguous(), torch.zeros(count, entries), decoder.contiguous(), torch.zeros(count, d), k
    )


class Trainer:
    """Adam on the sphere of unit columns, with resampling of entries that are never active."""

    def __init__(
        self, autoencoders: Autoencoders, penalties: Float[Tensor, " inst"], learning_rate: float, steps: int
    ) -> None:
        self.autoencoders, self.penalties = autoencoders, penalties
        self.learning_rate, self.steps, self.done = learning_rate, steps, 0
        for weight in autoencoders.weights:
            weight.grad = torch.empty_like(weight)
        self.optimiser = torch.optim.Adam(autoencoders.weights, lr=learning_rate, fused=True)
        self.active = torch.zeros(autoencoders.encoder_bias.shape, dtype=torch.bool)

    def step(self, x: Float[Tensor, "inst d batch"]) -> None:
        """One step on a batch for every autoencoder, one after the other: each then stays in the cache.

        λ rises over the first tenth of the steps, so that entries are not silenced before they mean something;
        the learning rate falls to zero over the last half.
        """
        progress = self.done / self.steps
        self.optimiser.param_groups[0]["lr"] = self.learning_rate * min(1.0, 2 * (1 - progress))
        penalties = self.penalties * min(1.0, 10 * progress)
        for index in range(len(x)):
            part = slice(index, index + 1)
            found, active = self.autoencoders[part].gradients(x[part], penalties[part])
            self.active[part] |= active
            for weight, gradient in zip(self.autoencoders.weights, found, strict=True):
                if weight.grad is not None:
                    weight.grad[part] = gradient
        self.optimiser.step()
        decoder = self.autoencoders.decoder
        decoder /= decoder.norm(dim=1, keepdim=True)
        self.done += 1

    def resample(self, x: Float[Tensor, "inst d batch"], generator: torch.Generator) -> None:
        """Give entries that were not active since the last call a new direction.

        It is that of an input, drawn in proportion to the square of the loss on it; the state of the optimiser is
        forgotten for these entries ("Neuron Resampling").
        """
        a = self.autoencoders
        errors = (a.decode(a.features(x)) - x).square().sum(1)
        for index, dead in enumerate(~self.active):
            count = int(dead.sum())
            if count == 0:
                continue
            chosen = torch.multinomial(errors[index].square(), count, replacement=True, generator=generator)
            directions = normalize(x[index][:, chosen] - a.decoder_bias[index, :, None], dim=0)
            living = a.encoder[index][~dead].norm(dim=1)
            a.decoder[index][:, dead] = directions
            a.encoder[index][dead] = directions.T * BORN * (living.mean() if len(living) else 1.0)
            a.encoder_bias[index][dead] = 0.0
            for weight in (a.encoder, a.encoder_bias):
                self._forget(weight, (index, dead))
            self._forget(a.decoder, (index, slice(None), dead))
        self.active.zero_()

    def _forget(self, weight: Tensor, place: tuple[int | slice | Tensor, ...]) -> None:
        state = self.optimiser.state[weight]
        for moment in ("exp_avg", "exp_avg_sq"):
            state[moment][place] = 0.0

    def finish(self) -> Autoencoders:
        """The trained autoencoders, without their gradients."""
        for weight in self.autoencoders.weights:
            weight.grad = None
        return self.autoencoders


def join(parts: Sequence[Autoencoders]) -> Autoencoders:
    """Trained autoencoders, none of them by batch, side by side."""
    encoder, encoder_bias, decoder, decoder_bias = map(torch.cat, zip(*(part.weights for part in parts), strict=True))
    floors = [torch.zeros_like(part.encoder_bias) if part.floor is None else part.floor for part in parts]
    floor = None if all(part.floor is None for part in parts) else torch.cat(floors)
    k = tuple(k for part in parts for k in part.k)
    return Autoencoders(encoder, encoder_bias, decoder, decoder_bias, k, floor=floor)


def scale_of(x: Float[Tensor, "d batch"]) -> float:
    """The factor that gives inputs a mean squared norm of d, so that one λ means the same everywhere."""
    return math.sqrt(x.shape[0] / float(x.square().sum(0).mean()))
