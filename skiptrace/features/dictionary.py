"""Features of what the heads of the last layer read, and random ones of the same norms that stand beside them."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from skiptrace.arithmetic import on_one_thread
from skiptrace.config.features import FeaturesParams
from skiptrace.dictionary.autoencoder import Autoencoders
from skiptrace.dictionary.language import Setting, fit
from skiptrace.dictionary.tables import Kind

APART = 1e-6  # of all their range, below which two activations are those of the same input
SORTED = 64  # random features whose activations are sorted at once
RIDGE = 1e-4  # of the least squares of random features, as a share of the mean square of an activation


@dataclass(frozen=True)
class Features:
    """x̂ = Σ_a (f_a − f̄_a) D_a, where f_0 is 1 everywhere, f̄_0 = 0, and f̄_a is the mean over training text.

    `coder` encodes x and `unit` is what its activations are divided by, so that each is 1 on average where it is above
    zero; D_a is the decoder's column times that, and D_0 what the others leave of the mean of x̂.
    """

    coder: Autoencoders
    unit: Float[Tensor, " entries"]
    mean: Float[Tensor, " features"]
    directions: Float[Tensor, "features d_model"]

    def activations(self, x: Float[Tensor, "places d_model"]) -> Float[Tensor, "places features"]:
        """F at each place."""
        f = self.coder.features(x.T[None].contiguous())[0].T / self.unit
        return torch.cat([torch.ones_like(f[:, :1]), f], 1)

    def centred(self, x: Float[Tensor, "places d_model"]) -> Float[Tensor, "places features"]:
        """F − f̄ at each place."""
        return self.activations(x) - self.mean


def learned(x: Float[Tensor, "places d_model"], params: FeaturesParams, name: str) -> Features:
    """The features of a TopK autoencoder that is trained on x."""
    coder = fit(x.T.contiguous(), params, [Setting(Kind.TOP_K, 0.0, params.k)], name)
    unit, mean = _scales(coder, x)
    columns = coder.decoder[0].T * unit[:, None]
    constant = coder.decoder_bias + mean[None, 1:] @ columns
    return Features(coder, unit, mean, torch.cat([constant, columns]))


def random(x: Float[Tensor, "places d_model"], like: Features, seed: int) -> Features:
    """Features along random directions, each of the norm of one of `like` and active as often, with the best D.

    Encoder rows are drawn evenly over the sphere, without biases, and active above a floor, where it leaves as many
    places of x as that feature of `like` has, or the nearest number there is; D minimises ‖x − x̂‖² on x. What they do
    not have is what an autoencoder learns: which tokens, or contexts, belong together.
    """
    known = like.coder
    generator = torch.Generator().manual_seed(seed)
    drawn = normalize(torch.randn(known.encoder[0].shape, generator=generator), dim=1)
    encoder = drawn * known.encoder[0].norm(dim=1, keepdim=True)
    count = (like.activations(x)[:, 1:] > 0).sum(0).tolist()
    centred = (x - known.decoder_bias).T
    along = (each for rows in encoder.split(SORTED) for each in (rows @ centred).sort(1, descending=True).values)
    floor = torch.stack([_leaving(each, n) for each, n in zip(along, count, strict=True)])
    entries, bias = (len(encoder),), torch.zeros_like(known.encoder_bias)
    coder = Autoencoders(encoder[None], bias, known.decoder, known.decoder_bias, entries, floor=floor[None])
    unit, mean = _scales(coder, x)
    f = Features(coder, unit, mean, like.directions).centred(x).double()
    square = f.T @ f
    square.diagonal().add_(RIDGE * float(square.diagonal().mean()))
    directions = on_one_thread(torch.linalg.solve, square, f.T @ x.double())
    return Features(coder, unit, mean, directions.to(x.dtype))


def _leaving(falling: Float[Tensor, " n"], count: int) -> Float[Tensor, ""]:
    """A value between two of these above which there are about `count`, and none where that is zero.

    Where x is of tokens alone, places of one token are equal but for rounding: they are not parted.
    """
    if count == 0:
        return falling[0] + 1
    gap = falling[:-1] - falling[1:]
    cuts = (gap > APART * (falling[0] - falling[-1])).nonzero()[:, 0]
    if not len(cuts):
        return falling[-1] - 1
    nearest = cuts[(cuts + 1 - count).abs().argmin()]
    return falling[nearest : nearest + 2].mean()


def _scales(
    coder: Autoencoders, x: Float[Tensor, "places d_model"]
) -> tuple[Float[Tensor, " entries"], Float[Tensor, " features"]]:
    """The mean of each activation where it is above zero, 1 where it never is; and its mean anywhere in this unit."""
    f = coder.features(x.T[None].contiguous())[0]
    count = (f > 0).sum(1)
    unit = torch.where(count > 0, f.sum(1) / count.clamp(min=1), 1.0)
    return unit, torch.cat([torch.zeros(1), count / f.shape[1]])
