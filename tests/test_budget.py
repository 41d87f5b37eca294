"""A budget leaves out what does not fit it, by estimate alone; the default leaves nothing out of small models."""

import time
from pathlib import Path

import pandas as pd
import pytest

from skiptrace import budget, costs
from skiptrace.config.account import AccountParams
from skiptrace.config.budget import BudgetParams
from skiptrace.config.directions import DirectionsParams
from skiptrace.config.expansion import ExpansionParams
from skiptrace.config.exploration import ExplorationParams
from skiptrace.config.mining import MiningParams
from skiptrace.config.scoring import ScoringParams
from skiptrace.config.verification import VerificationParams
from skiptrace.models.config import ModelConfig
from stages import needs

SMALL = ModelConfig(n_layers=2, n_heads=4, d_model=128, d_head=32, n_ctx=256, d_vocab=2048)
GPT2 = ModelConfig(
    n_layers=12, n_heads=12, d_model=769, d_head=64, n_ctx=256, d_vocab=50_257, attn_only=False, d_mlp=3072,
    act_fn="gelu_new", normalization_type="RMSPre", eps=1e-5, d_normed=768, positional_embedding_type="standard",
)  # fmt: skip
HEADS = [(layer, head) for layer in range(12) for head in range(12)]
COUNTS = pd.Series([100] * 2000 + [10] * 20_000 + [0] * 28_257)


def asked(minutes: float, **expansion: object) -> budget.Asked:
    return budget.Asked(
        BudgetParams(minutes=minutes),
        ScoringParams(),
        MiningParams(),
        ExpansionParams(**expansion),
        VerificationParams(),
        AccountParams(),
        DirectionsParams(),
        ExplorationParams(),
    )


def cuts(config: ModelConfig, counts: pd.Series, params: budget.Asked, twins: int = 0) -> list[budget.Cut]:
    return [cut for plan in budget.plans(config, counts, params, twins).values() for cut in plan.cuts]


def test_nothing_is_left_out_of_a_small_model_by_default():
    assert cuts(SMALL, pd.Series([100] * 2048), asked(BudgetParams().minutes), twins=1) == []


def test_of_gpt2_all_heads_are_mined_and_the_rest_is_a_sample():
    found = {(cut.study, cut.size): cut for cut in cuts(GPT2, COUNTS, asked(25.0))}
    assert ("mine", "heads") not in found
    assert found["mine", "bins"].kept == 0
    assert found["verify", "heads"].kept < found["verify", "heads"].asked == 144
    assert all(budget.LEAST[cut.study].get(cut.size, 1) <= cut.kept < cut.asked for cut in found.values())


@pytest.mark.parametrize("study", budget.SHARES)
def test_estimates_stay_within_the_share_or_at_the_least(study, monkeypatch):
    seen = {}
    fit = budget.fit

    def noted(name, most, sizes, operations):
        seen[name] = (plan := fit(name, most, sizes, operations)), operations
        return plan

    monkeypatch.setattr(budget, "fit", noted)
    cuts(GPT2, COUNTS, asked(60.0))
    plan, operations = seen[study]
    share = 60 * 60 * budget.SHARES[study] * costs.RATE / budget.MEASURED[study]
    assert operations(plan.sizes) <= share or all(
        plan.sizes[name] <= least for name, least in budget.LEAST[study].items()
    )
    # And no more is left out than has to be: one more of what was lowered last does not fit.
    if plan.cuts and operations(plan.sizes) <= share:
        last = list(budget.LEAST[study])[max(list(budget.LEAST[study]).index(cut.size) for cut in plan.cuts)]
        assert operations(plan.sizes | {last: plan.sizes[last] + 1}) > share


def test_a_larger_budget_leaves_out_less_and_the_least_is_never_undercut():
    for before, after in ((1.0, 25.0), (25.0, 400.0)):
        small, large = ({(c.study, c.size): c.kept for c in cuts(GPT2, COUNTS, asked(m))} for m in (before, after))
        assert all(small.get(key, kept) <= kept for key, kept in large.items())
    assert cuts(GPT2, COUNTS, asked(1e9))[0].study == "explore", "a page has its size, whatever the time"


@pytest.mark.parametrize("config", [SMALL, GPT2], ids=["small", "gpt2"])
@pytest.mark.parametrize("minutes", [0.01, 1.0, 25.0])
def test_a_study_fits_its_share_or_looks_at_the_least_and_says_so(config, minutes, capsys):
    counts = pd.Series([100] * 2000 + [0] * (config.d_vocab - 2000))
    for study, plan in budget.plans(config, counts, asked(minutes)).items():
        needs.within(study, plan)
        told = capsys.readouterr().err
        assert ("so that it fits budget.minutes" in told) == bool(plan.cuts)
        if plan.operations <= plan.share:
            assert plan.over() == "" and "at the least" not in told
            continue
        least = {name: min(least, plan.sizes[name]) for name, least in budget.LEAST[study].items()}
        assert plan.sizes == least
        assert f"{study}: {plan.over()} of budget.minutes of params.yaml\n" in told
        assert plan.share == pytest.approx(60 * minutes * budget.SHARES[study] * costs.RATE)


def test_all_studies_of_gpt2_together_fit_the_budget_that_is_the_default():
    total = sum(plan.operations for plan in budget.plans(GPT2, COUNTS, asked(25.0)).values())
    assert total < 0.95 * 25 * 60 * costs.RATE  # the rest is for import, summary and report


def test_plans_depend_on_no_clock(monkeypatch):
    first = cuts(GPT2, COUNTS, asked(25.0))
    monkeypatch.setattr(time, "perf_counter", lambda: 1e9)
    monkeypatch.setattr(time, "monotonic", lambda: 1e9)
    assert cuts(GPT2, COUNTS, asked(25.0)) == first
    assert "import time" not in Path(budget.__file__).read_text()


def test_heads_are_a_sample_that_is_always_the_same():
    few, more = (budget.Plan({"heads": n}, ()).heads(HEADS) for n in (6, 24))
    assert len(few) == 6 and set(few) < set(more) and more == sorted(more)
    assert len({layer for layer, _ in more}) > 6
    assert budget.Plan({"heads": 200}, ()).heads(reversed(HEADS)) == HEADS


def test_heads_that_are_named_are_counted():
    found = cuts(GPT2, COUNTS, asked(0.01, heads=["L0H1", "L3H2"]))
    assert next(cut for cut in found if (cut.study, cut.size) == ("mine", "heads")).asked == 2


def test_parameters_take_the_sizes_of_the_plan():
    plan = budget.Plan({"rows": 5, "heads": 3}, (budget.Cut("verify", "rows", 2000, 5),))
    assert plan.of(VerificationParams()) == VerificationParams(rows=5)
    assert plan.said() == "5 of 2,000 rows"
