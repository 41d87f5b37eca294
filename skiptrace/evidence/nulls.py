"""Stand-ins for the heads of a model, whose rows are mined and checked in the same way: the null of the selection.

A mined row is the largest entry of a product, so a check that reruns the product finds an effect whatever the weights
are. What a check shows is how much more often the model's own rows pass it than rows of such stand-ins.
"""

from enum import StrEnum

import torch
from jaxtyping import Float
from torch import Tensor

from skiptrace.arithmetic import on_one_thread
from skiptrace.models.transformer import Transformer


class StandIn(StrEnum):
    """What the heads are replaced by.

    `rotated`: each of W_Q, W_K, W_V, W_O turned by a random rotation of the residual stream, so that W_QK and W_OV keep
    their spectra and lose their directions. `gaussian`: independent entries, of the norm of each weight.
    """

    ROTATED = "rotated"
    GAUSSIAN = "gaussian"


@torch.no_grad()
def stand_in(model: Transformer, kind: StandIn, seed: int) -> Transformer:
    """A model with every head replaced; it shares embeddings, positions and all else with the one that is given."""
    made = model.with_own_heads()
    generator = torch.Generator().manual_seed(seed)
    for layer in made.blocks:
        for weight in (layer.W_Q, layer.W_K, layer.W_V):  # views of the layer's parameters, head by head
            for head in weight:
                head.copy_(_replaced(head, kind, generator))
        for head in layer.W_O:
            head.copy_(_replaced(head.T, kind, generator).T)
    return made


def _replaced(
    weight: Float[Tensor, "d_model d_head"], kind: StandIn, generator: torch.Generator
) -> Float[Tensor, "d_model d_head"]:
    if kind is StandIn.GAUSSIAN:
        drawn = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
        return (drawn * (weight.double().norm() / drawn.norm())).to(weight.dtype)
    square = torch.randn(len(weight), len(weight), generator=generator, dtype=torch.float64)
    rotation, triangle = on_one_thread(torch.linalg.qr, square)
    # Signs by the triangle's diagonal make it uniform over all rotations (Mezzadri 2007).
    return ((rotation * triangle.diagonal().sign()) @ weight.double()).to(weight.dtype)
