"""What recurs in a model of another seed."""

import numpy as np
import pandas as pd
import pytest
import torch

from skiptrace.account import study
from skiptrace.account.replaced import averages
from skiptrace.account.study import Text
from skiptrace.account.twins import headlines, matched_chance, overlaps
from skiptrace.config.account import AccountParams
from skiptrace.models.windows import random_windows, spread_windows

PARAMS = AccountParams(contexts=4, selection=3, entries=[2], rows=2, shown_rows=2)


@pytest.fixture(scope="module")
def text():
    stream = np.random.default_rng(0).integers(1, 23, 300).astype(np.uint16)
    return Text(stream, stream[:100], torch.full((23,), 1 / 23), pd.Series(["t"] * 23))


def mined(*sources: int) -> pd.DataFrame:
    """Rows of these sources, best first by the published rule and last by expected gain."""
    order = np.arange(1, len(sources) + 1)
    rows = pd.DataFrame({"layer": 0, "head": 0, "source_id": sources, "destination_id": 7, "out_id": 8})
    return rows.assign(rank_published=order, rank_expected=order[::-1])


def test_rows_recur_whatever_their_head_and_chance_is_that_of_random_orders(make_model, text, monkeypatch):
    monkeypatch.setattr("skiptrace.account.twins.FIRST", 2)
    ours, theirs = mined(1, 2, 3, 4), mined(2, 5, 6, 3).assign(head=1)
    two = make_model(2).float()
    found = overlaps(two, ours, [(two, theirs)], text, 0).set_index("ranking")
    assert found["overlap"].to_dict() == {"published": 0.5, "expected": 0.5}  # 2 of (1, 2), 3 of (4, 3)
    assert found["chance"].tolist() == [2 * 2 / (4 * 4)] * 2 and found["rows"].tolist() == [2, 2]
    one = make_model(1).float()
    same = overlaps(one, ours, [(one, ours)], text, 0).set_index("ranking")
    assert same["overlap"].to_dict() == {"published": 1, "expected": 1, "nats": 1}
    assert overlaps(one, ours, [], text, 0).empty


def test_an_order_by_frequency_alone_shares_no_more_than_the_matched_chance():
    """Against shuffles within groups of like frequency; by size alone chance would be far lower."""
    generator = np.random.default_rng(0)
    frequency = np.arange(1, 91) / 4095
    every = np.stack(np.meshgrid(*[np.arange(0, 90, 10)] * 3, indexing="ij"), -1).reshape(-1, 3)

    def order() -> pd.MultiIndex:
        worth = (every // 30).sum(1) + generator.random(len(every))
        return pd.MultiIndex.from_arrays(every[np.argsort(-worth)].T)

    shares = []
    for _ in range(200):
        a, b = order(), order()
        shares.append((len(a[:60].intersection(b[:60])) / 60, matched_chance(a[:60], b, frequency)))
    found, chance = np.mean(shares, axis=0)
    assert chance == pytest.approx(found, abs=0.02) and chance > 3 * 60 / len(every)
    assert matched_chance(a[:60], a, frequency) < 1


def test_headlines_spread_over_a_model_and_its_twins(make_model, text):
    model, twin = make_model(1).float(), make_model(1, seed=3).float()
    held_out = spread_windows(text.valid, model.n_ctx, PARAMS.contexts)
    seen = random_windows(text.train, model.n_ctx, PARAMS.selection, PARAMS.seed, 0)
    ladders = [study.ladder(m, held_out, averages(m, seen, text.frequency), text) for m in (model, twin)]
    found = headlines(ladders[0], [twin], text, PARAMS).set_index("name")
    whole = [each.query("rung == 'whole model'")["loss"].item() for each in ladders]
    assert found.loc["account.whole", ["value", "twins"]].tolist() == pytest.approx(whole)
    assert found.loc["account.whole", "spread"] == pytest.approx(abs(whole[0] - whole[1]) / 2**0.5)
    assert set(found.index) == {f"account.{n}" for n in ("direct", "positional", "salience", "whole", "competition")}
    assert headlines(ladders[0], [], text, PARAMS).empty
