import numpy as np
import pytest
from scipy import stats

from skiptrace.comparison.scalars import Spread, flat, measures, parameters, pooled_noise, twins
from skiptrace.comparison.version import Version


def version(params, metrics=None):
    return Version("v", params, metrics or {}, {})


def test_a_nested_mapping_is_flattened_in_its_order_and_lists_stay_whole():
    assert flat({"b": {"x": 1, "y": [1, 2]}, "a": None}) == {"b.x": 1, "b.y": [1, 2], "a": None}


def test_parameters_that_differ_by_value_or_by_kind():
    a = version({"m": {"x": 1, "y": [1, 2], "z": True, "w": 3}, "gone": {"p": 1, "q": 2}})
    b = version({"m": {"x": 2, "y": [1, 3], "z": 1, "w": 3}, "new": 5})
    assert [tuple(p) for p in parameters(a, b)] == [
        ("m.x", 1, 2),
        ("m.y", [1, 2], [1, 3]),
        ("m.z", True, 1),
        ("gone", {"p": 1, "q": 2}, None),
        ("new", None, 5),
    ]
    assert parameters(a, a) == []


def test_noise_is_the_prediction_interval_of_a_second_value():
    found = pooled_noise([(3.0, 3.2), (5.0, 5.1, 5.3), (7.0,)])
    square = 0.02 + ((np.array([5.0, 5.1, 5.3]) - 15.4 / 3) ** 2).sum()
    assert found is not None and found.seeds == 5
    assert found.difference == pytest.approx(stats.t.ppf(0.975, 3) * np.sqrt(square / 3) * np.sqrt(2))


def test_twins_trained_beside_a_model_say_how_much_its_account_varies():
    params = {"models": {"one": {"seed": 0, "twins": 2}}}
    spread = {"account": {"whole": 0.03}}
    a, b = (
        version(
            params,
            {"models": {"one": {"account": {"whole": loss, "recovered": {"300": 0.2}}, "twin_spread": spread}}},
        )
        for loss in (4.0, 4.2)
    )
    found = {m.key: m for m in measures(a, b)}
    noise = found["models.one.account.whole"].noise
    assert noise is not None and noise.seeds == 3  # the same twins in both
    assert noise.difference == pytest.approx(stats.t.ppf(0.975, 2) * 0.03 * np.sqrt(2))
    assert found["models.one.account.recovered.300"].noise is None
    assert pooled_noise([(3.0, 3.2)]) == pooled_noise([], [Spread(float(np.std([3.0, 3.2], ddof=1)), 2)])


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_mere_noise_is_beyond_the_noise_less_than_once_in_twenty_times(seeds):
    """Two versions that differ in nothing, one run of each compared, judged by all runs of both."""
    generator, beyond, draws = np.random.default_rng(0), 0, 3000
    for _ in range(draws):
        a, b = generator.normal(5, 2, (2, seeds))
        beyond += abs(a[0] - b[0]) > pooled_noise([tuple(a), tuple(b)]).difference
    assert 0.01 < beyond / draws < 0.05


@pytest.mark.parametrize("groups", [[], [(3.0,)], [(3.0,), (4.0,)], [(2.0, 2.0)]])
def test_without_two_different_values_the_noise_is_unknown(groups):
    assert pooled_noise(groups) is None


def test_metrics_beyond_within_and_of_unknown_noise(make_version):
    a, b = make_version("a", 0), make_version("b", 50)
    assert twins(a, "one") == ["one", "twin"] and twins(a, "zero") == ["zero"]
    found = {m.key: m for m in measures(a, b)}
    one = found["models.one.valid_loss"]
    assert one.difference == pytest.approx(0.5) and one.noise.seeds == 4
    assert one.beyond is True  # two seeds differ by 0.02
    assert found["models.zero.valid_loss"].beyond is False  # the same in both
    zero = make_version("b", 50)
    zero.metrics["models"]["zero"]["valid_loss"] = 4.5
    assert {m.key: m.beyond for m in measures(a, zero)}["models.zero.valid_loss"] is None


def test_the_same_runs_twice_are_no_more_seeds(make_version):
    a = make_version("a", 0)
    one = {m.key: m for m in measures(a, make_version("b", 0))}["models.one.valid_loss"]
    assert one.noise.seeds == 2 and one.difference == 0 and one.beyond is False


def test_metrics_of_a_model_that_one_version_lacks_are_left_out_and_others_are_told(make_version):
    a, b = make_version("a", 0), make_version("b", 0)
    del b.params["models"]["zero"]
    del b.metrics["models"]["zero"]
    a.metrics["only"] = {"here": 1}
    found = {m.key: m for m in measures(a, b)}
    assert "models.zero.valid_loss" not in found
    assert (found["only.here"].a, found["only.here"].b, found["only.here"].beyond) == (1, None, None)
