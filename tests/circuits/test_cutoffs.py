import numpy as np
import pandas as pd
import pytest
import torch

from skiptrace.circuits import cutoffs, scores
from skiptrace.circuits.factored import Circuit


def test_the_interval_of_a_share_by_hand():
    # Wilson's interval of 1 in 10, as tables have it.
    assert cutoffs.wilson(0.1, 10) == pytest.approx((0.0179, 0.4042), abs=1e-4)
    low, high = cutoffs.wilson(0.0, 50)
    assert low == 0 and 0.06 < high < 0.08


def test_a_head_that_copies_few_tokens_is_found_by_its_own_tokens_and_missed_by_its_eigenvalues():
    """Twenty of 512 tokens raise themselves, as planted copies do; all others lower themselves a little."""
    diagonal = torch.full((512,), -0.5)
    diagonal[:20] = 4.0
    circuit = Circuit("ov", "0", "0", torch.diag(diagonal), torch.eye(512))
    assert scores.copying(circuit) == pytest.approx((80 - 246) / (80 + 246), abs=1e-5)
    own = scores.own_row([circuit])
    # Every other token lowers only itself, so that it is last in its own row.
    assert own.top1 == pytest.approx(20 / 512)
    table = pd.DataFrame({"name": ["L0H0"], "own_top1": [own.top1]})
    assert cutoffs.own_first(table, 512)["beyond_chance"].tolist() == [True]


def test_a_share_whose_interval_reaches_chance_is_no_copying():
    # One and four of 2,048 tokens (the interval of four begins at 1.6 times chance), and a head that surely copies.
    table = pd.DataFrame({"name": ["a", "b", "c"], "own_top1": [1 / 2048, 4 / 2048, 0.6]})
    assert cutoffs.own_first(table, 2048)["beyond_chance"].tolist() == [False, True, True]


def test_counts_fall_with_the_cutoff_and_include_it():
    found = cutoffs.counted(np.array([0.2, 0.5, 0.5]), np.array([0.0, 0.2, 0.3, 0.5, 0.6]))
    assert found.tolist() == [3, 3, 2, 2, 0]
