"""Stand-ins for heads, and the tests that rows pass one after the other."""

import numpy as np
import pandas as pd
import pytest
import torch

from skiptrace.circuits.factored import ov, qk
from skiptrace.config.verification import VerificationParams
from skiptrace.evidence.funnel import STEPS, funnel, judged
from skiptrace.evidence.nulls import StandIn, stand_in

PARAMS = VerificationParams(min_p_out=0.2)


def products(model, layer: int, head: int) -> list[torch.Tensor]:
    block = model.blocks[layer]
    return [block.W_Q[head] @ block.W_K[head].T, block.W_V[head] @ block.W_O[head]]


@pytest.mark.parametrize("kind", StandIn)
def test_stand_ins_replace_every_head_and_nothing_else(make_model, kind):
    model = make_model(2)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    made = stand_in(model, kind, 3)
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())
    assert torch.equal(made.W_E, model.W_E) and torch.equal(made.W_U, model.W_U)
    for layer in range(2):
        for head in range(3):
            for mine, theirs in zip(products(made, layer, head), products(model, layer, head), strict=True):
                assert not torch.allclose(mine, theirs, atol=0.1)
                same = torch.allclose(torch.linalg.svdvals(mine), torch.linalg.svdvals(theirs))
                assert same == (kind is StandIn.ROTATED)
            for name in ("W_Q", "W_K", "W_V", "W_O"):
                mine, theirs = (getattr(m.blocks[layer], name)[head] for m in (made, model))
                assert mine.norm() == pytest.approx(theirs.norm().item())
            for circuit in (qk, ov):  # what is mined is of the stand-in
                assert circuit(made, layer, head).left.shape == circuit(model, layer, head).left.shape
    assert torch.equal(stand_in(model, kind, 3).blocks[1].W_V, made.blocks[1].W_V)
    assert not torch.equal(stand_in(model, kind, 4).blocks[1].W_V, made.blocks[1].W_V)


def rows(effect: list[float], p_out: list[float], support: str = "supported") -> pd.DataFrame:
    n = len(effect)
    ids = {name: np.arange(n) + place for place, name in enumerate(("source_id", "destination_id", "out_id"))}
    told = {"effect_nats": effect, "p_out": p_out, "consistent": True, "support": support}
    return pd.DataFrame(ids | told | {"rank_evidence": np.arange(1, n + 1, dtype=np.int32)})


def test_a_row_survives_every_test_or_is_stopped_by_the_first_it_fails():
    null = rows([1.0] * 100, [0.1] * 100)  # adds 0.063 to p(output)
    #             lacks effect; below p(out); contradicted; absent in the twin; fine
    checked = rows([0.01, 5.0, 5.0, 5.0, 5.0], [0.5, 0.15, 0.5, 0.5, 0.5])
    checked.loc[2, "support"] = "contradicted"
    twin = checked.drop(index=3)
    found = judged(checked, null, [twin], PARAMS)
    assert found["beyond_null"].tolist() == [False, True, True, True, True]
    assert found["recurs"].tolist() == [1, 1, 1, 0, 1]
    assert found["survives"].tolist() == [False, False, False, False, True]
    assert found["rank_evidence"].tolist() == [2, 3, 4, 5, 1]
    left = funnel({"trained": found, "null": judged(null, null, [twin], PARAMS)}, PARAMS)
    assert left["step"].tolist() == [*STEPS, *STEPS]
    assert left.loc[left["heads"] == "trained", "rows"].tolist() == [5, 5, 4, 3, 2, 1]
    assert left.loc[left["heads"] == "null", "rows"].tolist()[2:] == [0, 0, 0, 0]
    without = judged(checked, null, [], PARAMS)
    assert without["recurs"].isna().all() and without["survives"].tolist() == [False, False, False, True, True]


def test_of_rows_like_the_null_a_twentieth_is_beyond_it():
    generator = np.random.default_rng(0)
    null, like = (rows(list(generator.exponential(size=400)), [0.5] * 400) for _ in range(2))
    assert judged(like, null, [], PARAMS)["beyond_null"].mean() == pytest.approx(0.05, abs=0.03)


def test_nothing_checked_is_nothing_judged():
    none = rows([], [])
    assert len(judged(none, none, [], PARAMS)) == 0
    assert funnel({"trained": judged(none, none, [], PARAMS)}, PARAMS)["share"].tolist() == [0.0] * len(STEPS)
