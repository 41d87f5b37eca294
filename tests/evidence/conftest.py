import pytest
import torch

from skiptrace.models.config import ModelConfig
from skiptrace.models.transformer import Transformer

SOURCE, DESTINATION, OUT = 3, 5, 7


def wire(model: Transformer, source: int, destinations: list[int], outs: list[int]) -> None:
    """Let the only head attend from the destinations to the source and raise the outs for it."""
    layer = model.blocks[0]
    layer.W_Q[0, destinations, 0] = 9
    layer.W_K[0, source, 0] = 9
    layer.W_V[0, source, 1] = 2
    layer.W_O[0, 1, outs] = 2


@pytest.fixture
def blank_head() -> Transformer:
    """One head over one-hot embeddings that does nothing yet."""
    d = 12
    model = Transformer(ModelConfig(d_vocab=d, d_model=d, n_ctx=16, n_layers=1, n_heads=1, d_head=2))
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        model.W_E.copy_(torch.eye(d))
        model.W_U.copy_(torch.eye(d))
        model.W_pos.zero_()
    return model.requires_grad_(False)


@pytest.fixture
def wired_head(blank_head: Transformer) -> tuple[Transformer, int, int, int]:
    """A head wired to do one skip-trigram."""
    wire(blank_head, SOURCE, [DESTINATION], [OUT])
    return blank_head, SOURCE, DESTINATION, OUT
