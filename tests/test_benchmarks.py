import torch

from benchmarks import gpu, training, ways
from benchmarks.measure import in_turns
from skiptrace.devices import CPU


def test_what_is_measured_on_an_accelerator_runs_on_the_processor_too(monkeypatch):
    monkeypatch.setattr(training, "PARAMS", training.PARAMS.model_copy(update={"batch_size": 2, "n_ctx": 16}))
    top = {(300, 5): in_turns(gpu.mining(300, 5, 9000, CPU), rounds=1)}
    trained = in_turns(training.ways(CPU, steps=2), rounds=1)
    text = gpu.page("a processor", top, trained)
    assert "| 300 | 5 |" in text and "tokens/s" in text
    assert all(rate > 0 for rates in (*top.values(), trained) for rate in rates.values())


def test_the_fastest_of_some_ways_is_chosen():
    slow, fast = (lambda: sum(range(200_000))), (lambda: 1.0)
    assert ways.fastest([slow, fast, slow]) is fast


def test_the_bare_product_covers_every_entry():
    c = ways.circuit(1500, 3)
    assert ways.product(c) == 1500**2
    assert torch.get_num_threads() >= 1
