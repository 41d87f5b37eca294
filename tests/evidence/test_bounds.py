import numpy as np
import pytest
from scipy.stats import t

from skiptrace.config.verification import VerificationParams
from skiptrace.evidence.bounds import entry_support, of_all_entries
from skiptrace.evidence.intervals import clustered
from skiptrace.evidence.support import Positions, _clustered
from tests.evidence.conftest import wire
from tests.evidence.test_verification import TEXT, streams


def test_a_clustered_mean_by_hand():
    found = clustered(np.array([1.0, 3.0, 8.0]), np.array([5, 5, 9]))
    # Mean 4; residuals -3, -1 and 4 sum to -4 and 4 in the two clusters.
    half = t.ppf(0.975, 1) * np.sqrt(2 * ((4 / 3) ** 2) * 2)
    assert found == pytest.approx((4.0, 4 - half, 4 + half, 3, 2))


def test_groups_count_alike_whatever_their_size():
    found = clustered(np.array([1.0, 1.0, 1.0, 5.0]), np.arange(4), np.array([0, 0, 0, 1]))
    assert found.mean == 3 and found.low == 3 == found.high


def test_one_cluster_says_nothing_of_the_error():
    assert clustered(np.ones(3), np.zeros(3, dtype=int)).high == np.inf
    assert np.isnan(clustered(np.zeros(0), np.zeros(0, dtype=int)).mean)


def test_support_of_all_entries_is_that_of_rows_one_by_one():
    data = streams(*TEXT, [8, 5, 4], [8, 6, 7], ends=1.0)
    positions = Positions(data.train, 12, 11)
    sources, fdr = np.array([3, 8, 2]), 0.05
    more, less = np.ones((2, 3, 12))
    here = positions.of(5)
    follows, documents = positions.stream[here + 1], positions.document(here)
    for i, source in enumerate(sources):
        seen = positions.preceded(int(source), 5)
        _, document = np.unique(documents[seen], return_inverse=True)
        for out in range(12):
            more[i, out], less[i, out] = _clustered((follows == out)[seen], (follows == out).mean(), document)
    found = entry_support(sources, 5, positions, 12, fdr)
    for p, said in zip((more, less), found, strict=True):
        order = np.sort(p.ravel())
        passed = np.flatnonzero(order <= fdr * np.arange(1, p.size + 1) / p.size)
        assert np.array_equal(said, p <= (order[passed[-1]] if len(passed) else -1))
    assert found[0][0, 7] and found[1][0, 4]


def test_crossings_of_a_wired_quartet_are_what_the_text_contradicts(blank_head):
    wire(blank_head, 3, [5, 6], [7, 4])
    data = streams(*TEXT, [8, 5, 4], [8, 6, 7], ends=1.0)
    params = VerificationParams(context_tokens=12, bound_places=400)
    found = of_all_entries(blank_head, Positions(data.train, 12, 11), data, params)
    assert found["contradicted"].low > 0
    assert found["unsupported"].mean >= found["contradicted"].mean
    blank_head.blocks[0].W_O.data.zero_()
    assert of_all_entries(blank_head, Positions(data.train, 12, 11), data, params)["unsupported"].mean == 0
