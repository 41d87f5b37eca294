import pytest
import torch

from benchmarks import cluster, gpu, seals, training, ways
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


def test_a_check_inside_a_check_is_counted_once():
    counted = seals.Counted()
    inside = counted.of(lambda: sum(range(100_000)))
    assert counted.of(lambda: inside() + inside())() == 2 * sum(range(100_000))
    assert counted.count == 1 and counted.seconds > 0
    inside()
    assert counted.count == 2


ALIKE = cluster.Assumptions(workers=4, spread=0.0, stragglers=0.0, lost_after=float("inf"))


def test_a_simulated_cluster_takes_what_can_be_counted_by_hand():
    """Twelve tasks of ten seconds on four workers: three each; two seconds of the scheduler before every one."""
    assert cluster.simulate(12, 10.0, 0.0, ALIKE, seed=0) == 30
    assert cluster.simulate(12, 10.0, 2.0, ALIKE, seed=0) == 42  # the fourth worker begins at 8, 20 and 32
    assert cluster.simulate(13, 10.0, 0.0, ALIKE, seed=0) == 40
    slow = ALIKE._replace(workers=1, stragglers=1.0, slowdown=5.0)
    assert cluster.simulate(3, 10.0, 0.0, slow, seed=0) == 150


def test_a_straggler_holds_up_its_share_and_no_more_than_a_task_otherwise():
    for seed in range(20):
        some = ALIKE._replace(stragglers=0.3, slowdown=4.0)
        shared = cluster.simulate(400, 1.0, 0.0, some._replace(split=True), seed)
        taken = cluster.simulate(400, 1.0, 0.0, some, seed)
        assert shared in (100, 400)
        # Of n slow workers, 400 tasks take 400 / (4 - n + n / 4) seconds, and the last one no more than its own time.
        slow = round((4 - 400 / taken) / 0.75)
        assert (shared == 100) == (slow == 0) and 400 / (4 - 0.75 * slow) <= taken <= 400 / (4 - 0.75 * slow) + 4


def test_what_a_lost_worker_was_doing_is_done_again():
    lost = ALIKE._replace(lost_after=20.0, back_after=5.0)
    taken = [cluster.simulate(40, 10.0, 0.0, lost, seed) for seed in range(200)]
    # A task is lost with probability 1 - e^(-1/2), after 20 - 10 / (e^(1/2) - 1) seconds on average; then 5 pass.
    again = 1 - 2.718281828**-0.5
    each = 10 + again / (1 - again) * (20 - 10 / (2.718281828**0.5 - 1) + 5)
    assert sum(taken) / len(taken) == pytest.approx(10 * each, rel=0.15) and min(taken) >= 100
