import itertools

import numpy as np
import pytest
import torch

from skiptrace.config.dictionaries import ToyDictionaryParams
from skiptrace.dictionary.toy import Hosts, decompose, match, mmcs


def test_a_dictionary_of_the_features_themselves_has_mmcs_one():
    true = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    shuffled = 3 * true[:, [4, 0, 5, 2, 1, 3]]
    assert mmcs(true, shuffled) == pytest.approx(1)
    assert match(true, shuffled)[:3] == pytest.approx((1.0, 1.0, 6))
    assert mmcs(true, -shuffled) < 0.9  # an opposite direction is no entry


def test_twins_and_gaps_are_seen():
    true = torch.eye(3)
    twins = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.1, 1.0], [0.0, 0.0, 0.0]])
    found = match(true, twins)
    assert found.mmcs == pytest.approx(2 / 3, abs=0.01)
    assert found.one_entry == 1  # the first feature has two entries, the last none
    assert match(true, torch.zeros(3, 0)) == (0.0, 0.0, 0, 3)


def test_the_best_matching_by_trying_all():
    generator = torch.Generator().manual_seed(1)
    true, found = torch.randn(3, 4, generator=generator), torch.randn(3, 4, generator=generator)
    cosine = torch.nn.functional.normalize(true, dim=0).T @ torch.nn.functional.normalize(found, dim=0)
    slow = max(sum(float(cosine[i, p[i]]) for i in range(4)) / 4 for p in itertools.permutations(range(4)))
    assert match(true, found).matched == pytest.approx(slow, rel=1e-5)


def test_the_features_of_orthogonal_hosts_are_found():
    params = ToyDictionaryParams(
        kind="toy", source="x", data="y", seed=0, entries=5, sizes=(2, 5), penalties=(0.2, 0.4), shown=0.4, steps=500,
        batch_size=64, learning_rate=0.02, resample_every=100,
    )  # fmt: skip
    W = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(0))).Q[None].repeat(2, 1, 1)
    sweep, best, found = decompose(Hosts(W, np.array([0.8, 0.8]), np.array([0, 1])), params)
    assert sweep["entries"].tolist() == [5, 5, 5, 5, 2, 2] and len(best) == 24
    assert found[5].decoder.shape == (4, 4, 5) and found[2].decoder.shape == (2, 4, 2)
    assert (sweep.loc[(sweep["penalty"] == 0.4) & (sweep["entries"] == 5), "mmcs"] > 0.95).all()
    assert (sweep.loc[sweep["entries"] == 2, "one_entry"] <= 2).all()  # of four features
    assert (sweep["random_mmcs"] < 0.9).all()
