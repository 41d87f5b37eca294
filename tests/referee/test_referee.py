"""The headlines of a small run, recomputed without the library; and that a wrong one is noticed."""

import ast
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.pipeline.conftest import python, reproduced  # noqa: F401  fixtures
from tests.referee import referee


def test_it_imports_nothing_of_the_project():
    tree = ast.parse(Path(referee.__file__).read_text())
    imported = [n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
    imported += [alias.name for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names]
    assert not [name for name in imported if name.split(".")[0] in ("skiptrace", "stages", "torch")]


@pytest.mark.parametrize("model", ["zero", "one", "two"])
def test_every_claim_of_a_small_run_is_found_again(reproduced, model):  # noqa: F811
    found = list(referee.claims(reproduced.path, model))
    assert len(found) >= (2 if model == "zero" else 25)
    assert [claim for claim in found if not claim.agrees] == []


def test_the_control_of_a_small_run_is_found_again(reproduced):  # noqa: F811
    found = list(referee.control(reproduced.path))
    assert {claim.what.split(": ")[0] for claim in found} >= {"grammar 0, weights", "grammar 1, counts", "one"}
    assert [claim for claim in found if not claim.agrees] == []


def test_a_falsified_place_or_headline_of_the_control_is_noticed(reproduced, tmp_path):  # noqa: F811
    (tmp_path / "reports").mkdir()
    shutil.copy(reproduced.path / "reports/metrics.json", tmp_path / "reports")
    shutil.copytree(reproduced.path / "data/control", tmp_path / "data/control")
    for name, column in (("rules", "counts"), ("accepted", "found")):
        file = tmp_path / f"data/control/{name}.parquet"
        table = pd.read_parquet(file)
        file.unlink()
        table.assign(**{column: table[column] + 1}).to_parquet(file)
        assert [claim for claim in referee.control(tmp_path) if not claim.agrees]
        table.to_parquet(file)
        assert [claim for claim in referee.control(tmp_path) if not claim.agrees] == []


@pytest.mark.parametrize(
    ("chances", "rate", "wanted"),
    [
        ([0.01, 0.02, 0.9], 0.05, [True, True, False]),
        ([0.04, 0.9, 0.9], 0.05, [False] * 3),
        ([0.2] * 4, 0.2, [True] * 4),
    ],
)
def test_discoveries_are_those_of_benjamini_and_hochberg(chances, rate, wanted):
    assert referee.discovered(np.array(chances), rate).tolist() == wanted


@pytest.fixture
def falsified(reproduced, tmp_path):  # noqa: F811
    """A copy of what the referee reads of the run."""
    for name in ("params.yaml", "reports/metrics.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(reproduced.path / name, tmp_path / name)
    for name in ("models/two", "tables/two", "evidence/two", "compose/two", "tokens/notes"):
        shutil.copytree(reproduced.path / "data" / name, tmp_path / "data" / name)
    return tmp_path


@pytest.mark.parametrize(
    ("path", "column", "check"),
    [
        ("tables/two/heads", "copying", referee.scores),
        ("tables/two/heads", "previous_token", referee.scores),
        ("tables/two/skip_trigrams", "ov", referee.mined),
        ("evidence/two/skip_trigrams", "corpus_count", referee.corpus_counts),
        ("evidence/two/skip_trigrams", "effect_nats", referee.effects),
        ("evidence/two/funnel", "rows", referee.tests_passed),
        ("compose/two/composition", "score", referee.composition),
        ("evidence/two/costs", "nats", referee.bound_of_all),
    ],
)
def test_a_falsified_column_is_noticed(falsified, path, column, check):
    file = falsified / "data" / f"{path}.parquet"
    table = pd.read_parquet(file)
    table[column] += 5
    file.unlink()
    table.to_parquet(file)
    assert [claim for claim in check(referee.Run(falsified, "two")) if not claim.agrees]


@pytest.mark.parametrize(
    ("key", "check"),
    [
        (("copying_heads",), referee.scores),
        (("evidence", "survives"), referee.tests_passed),
        (("term_nats", "heads"), referee.terms),
        (("valid_loss",), referee.loss),
    ],
)
def test_a_falsified_headline_is_noticed(falsified, key, check):
    file = falsified / "reports/metrics.json"
    numbers = json.loads(file.read_text())
    place = numbers["models"]["two"]
    for name in key[:-1]:
        place = place[name]
    place[key[-1]] += 1
    file.unlink()
    file.write_text(json.dumps(numbers))
    assert [claim for claim in check(referee.Run(falsified, "two")) if not claim.agrees]


def test_a_claim_agrees_within_its_tolerance_alone():
    assert referee.Claim("x", 1.0, 1.05, 0.1).agrees and not referee.Claim("x", 1.0, 1.2, 0.1).agrees
    assert referee.Claim("x", float("nan"), float("nan"), 0).agrees
    assert not referee.Claim("x", float("nan"), 1.0, 10).agrees
