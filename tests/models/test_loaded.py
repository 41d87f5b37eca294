import torch

from skiptrace.circuits.factored import names
from skiptrace.expansion.writer import Stored
from skiptrace.models import checkpoint
from skiptrace.models.loaded import loaded


def test_a_worker_that_stays_alive_reads_the_model_that_is_there_now(make_model, tmp_path):
    """Of the same shape, and so as many bytes."""
    found = []
    for seed in (1, 2):
        model = make_model(1, seed).float()
        checkpoint.save(model, tmp_path)
        assert torch.equal(loaded(tmp_path).W_E, model.W_E)
        found.append(Stored(str(tmp_path), names(model, 0)[0]).load()[1])
    assert loaded(tmp_path) is loaded(tmp_path)
    assert found[0] != found[1]
