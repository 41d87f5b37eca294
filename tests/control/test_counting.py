import math

import numpy as np
import pytest

from skiptrace.config.control import ControlParams
from skiptrace.control import counting, grammars
from skiptrace.control.grammars import NOBODY, Kind
from tests.control.test_grammars import alone

WORDS = 7


@pytest.fixture(scope="module")
def places():
    generator = np.random.default_rng(3)
    return generator.random((400, WORDS)) < 0.4, generator.integers(1, WORDS, 400), generator.integers(1, WORDS, 400)


def test_measures_are_those_of_a_loop_over_places(places):
    seen, here, after = places
    counts = counting.count(seen, here, after, WORDS)
    for a, b, c in [(2, 3, 4), (5, 1, 6)]:
        of_b = here == b
        n, m = (seen[:, a] & of_b).sum(), of_b.sum()
        k, n_bc = (seen[:, a] & of_b & (after == c)).sum(), (of_b & (after == c)).sum()
        table = np.array([[k, n - k], [n_bc - k, m - n - n_bc + k]], dtype=float)
        expected = table.sum(1, keepdims=True) * table.sum(0) / m
        anywhere = (seen[:, a] & (after == c)).sum() / seen[:, a].sum() - (after == c).mean()
        half = table + 0.5
        odds = math.log(half[0, 0] * half[1, 1] / half[0, 1] / half[1, 0])
        g = 2 * (table * np.log(table / expected)).sum() if k / n > n_bc / m else 0.0
        wanted = {
            "lift": (k / n) / (n_bc / m),
            "share difference": k / n - n_bc / m,
            "PMI": math.log(k / n / (after == c).mean()),
            "G²": g,
            "log-odds": odds,
            "log-odds, z": odds / math.sqrt((1 / half).sum()),
            "interaction": k / n - n_bc / m - anywhere,
        }
        assert counts.together[b, a, c] == k
        for name, value in wanted.items():
            assert counts.scores[name][b, a, c].item() == pytest.approx(value, rel=2e-3, abs=2e-4), name


def test_the_regression_is_least_squares(places, monkeypatch):
    monkeypatch.setattr(counting, "RIDGE", 1e-9)
    seen, here, after = places
    slope = counting.count(seen, here, after, WORDS).scores["regression"]
    b, c = 3, 4
    design = np.column_stack([seen[here == b].astype(float), np.ones((here == b).sum())])
    solved = np.linalg.lstsq(design, (after[here == b] == c).astype(float), rcond=None)[0]
    assert slope[b, :, c].tolist() == pytest.approx(solved[:-1].tolist(), abs=1e-4)


def test_regression_alone_tells_a_source_from_its_companion():
    drawn = alone((Kind.SKIP_TRIGRAM, 2, NOBODY, 3, 4, 0.9), (Kind.COMPANION, 6, 2, 3, 4, 0.0))
    params = ControlParams(words=9, length=40, reach=4, n_ctx=8, follow_share=0.1)
    counts = counting.count(*grammars.presence(grammars.text(params, drawn, 0, 1500), 10, 4), 10)
    share, slope = counts.scores["share difference"], counts.scores["regression"]
    assert share[3, 6, 4] > 0.2 * share[3, 2, 4]
    assert slope[3, 6, 4] < 0.1 * slope[3, 2, 4]
    assert counting.ranked(counts, "regression", 5, 10)[0][0] == (2, 3, 4)


def test_rankings_leave_out_rare_triples_and_have_their_scores(places):
    counts = counting.count(*places, WORDS)
    rows, scores = counting.ranked(counts, "share difference", 8, 50)
    assert rows and (np.diff(scores) <= 0).all() and (scores > 0).all()
    for (a, b, c), score in zip(rows, scores, strict=True):
        assert counts.together[b, a, c] >= 8
        assert counts.scores["share difference"][b, a, c].item() == pytest.approx(score)


def test_what_a_source_takes_away_is_found_and_a_measure_without_sign_has_none():
    drawn = alone((Kind.NEGATIVE, 2, NOBODY, 3, 4, 0.0), follow=4)
    params = ControlParams(words=9, length=40, reach=4, n_ctx=8, follow_share=0.1)
    counts = counting.count(*grammars.presence(grammars.text(params, drawn, 0, 1000), 10, 4), 10)
    found = counting.lowered(counts, "log-odds", 5)
    assert found is not None and found[0][0] == (2, 3, 4)
    assert counting.lowered(counts, "G²", 5) is None
