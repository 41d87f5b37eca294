"""How heads form: scores at checkpoints, and when a score has risen, against curves with known answers."""

import numpy as np
import pytest

from skiptrace.circuits.scores import score_heads
from skiptrace.composition.formation import formation, rise
from skiptrace.composition.heads import composition, strongest_keys
from skiptrace.models.evaluation import window_losses
from skiptrace.models.windows import spread_windows
from tests.composition.conftest import CTX, V

STREAM = np.random.default_rng(0).integers(1, V, 400).astype(np.uint16)
STEP = np.array([1, 2, 4, 8, 16, 32])
NONE = np.zeros(6)


def test_formation_follows_the_checkpoints(wired, make_model, params):
    composed = composition(wired, params)
    pair = strongest_keys(composed)
    table = formation([(1, make_model(2, d_vocab=V, n_ctx=CTX)), (7, wired)], STREAM, params, pair)
    by_step = table.set_index(["step", "name", "score"])
    value = by_step["value"]
    assert value[7, "L0H0", "previous_token"] == pytest.approx(1)
    assert value[7, "L1H0", "prefix_matching"] == pytest.approx(1)
    assert value[1, "L1H0", "prefix_matching"] < 0.5
    losses = window_losses(wired, spread_windows(STREAM, CTX, params.sequences))
    assert value[7, "model", "loss"] == pytest.approx(losses.mean().item())
    assert by_step["se"][7, "model", "loss"] == pytest.approx(losses.mean(1).std().item() / len(losses) ** 0.5)
    assert (1, "L0H2", "previous_token") in value
    strongest = composed[composed["kind"] == "K"].nlargest(1, "score").iloc[0]
    assert pair == ((0, 0), (1, 0)) and value[7, "L0H0 → L1H0", "k_composition"] == pytest.approx(strongest["score"])
    scored, _ = score_heads(wired, spread_windows(STREAM, CTX, params.sequences)[:, :-1], params)
    known = scored.set_index("name")
    for head in known.index:
        for score, chance in (
            ("previous_token", "previous_token_uniform"),
            ("prefix_matching", "prefix_matching_uniform"),
        ):
            assert value[7, head, score] == pytest.approx(known.loc[head, score])
            assert by_step["chance"][7, head, score] == pytest.approx(known.loc[head, chance])
        assert value[7, head, "copying"] == pytest.approx(known.loc[head, "copying"])


def test_a_score_has_risen_where_it_stays_above_half():
    value = np.array([0.0, 0.0, 0.4, 0.2, 0.8, 1.0])
    found = rise(STEP, value, NONE, NONE, 0.5)
    assert found == pytest.approx((np.sqrt(8 * 16), 8, 16))
    above = rise(STEP, 0.1 + 0.3 * value, NONE, NONE + 0.1, 0.5)
    assert above == pytest.approx(found)  # neither the unit nor the level of chance matters
    early, late = (rise(STEP, value, NONE, NONE, share).step for share in (0.25, 0.75))
    assert early < found.step < late


def test_errors_widen_the_range_of_a_rise():
    value = np.array([0.0, 0.1, 0.45, 0.55, 0.9, 1.0])
    exact, noisy = (rise(STEP, value, NONE + se, NONE, 0.5) for se in (1e-9, 0.15))
    assert exact.step == noisy.step and noisy.low < exact.low and noisy.high > exact.high
    # Of a curve that rises evenly in log step, 95 % of such ranges hold the true step.
    truth, even = np.sqrt(32), np.linspace(0, 1, 6)
    generator = np.random.default_rng(1)
    held = [
        found.low <= truth <= found.high
        for _ in range(60)
        if (found := rise(STEP, even + 0.1 * generator.standard_normal(6), NONE + 0.1, NONE, 0.5))
    ]
    assert len(held) == 60 and np.mean(held) > 0.9


def test_what_does_not_end_above_chance_or_was_there_from_the_start_has_not_risen():
    assert rise(STEP, NONE + 0.2, NONE + 0.1, NONE, 0.5) is None
    assert rise(STEP, np.linspace(0, 1, 6), NONE, NONE, 0.5, chance_sd=0.4) is None
    assert rise(STEP, -np.linspace(0, 1, 6), NONE, NONE, 0.5) is None
    assert rise(STEP, NONE + 1, NONE, NONE, 0.5) is None
    assert rise(STEP[:1], NONE[:1] + 1, NONE[:1], NONE[:1], 0.5) is None
