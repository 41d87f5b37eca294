import pandas as pd
import pytest

from skiptrace.circuits.seeds import numbers, spreads
from skiptrace.circuits.tables import HEADS, SPREADS

LOSSES = pd.DataFrame({"position": [1, 2], "loss": [4.0, 3.0]})


def heads(copies, previous):
    rows = {"copies": copies, "positional": [False] * len(copies), "previous_token": previous}
    return pd.DataFrame(rows | {"prefix_matching": [0.1] * len(copies)})


def test_numbers_are_those_of_the_tables():
    found = numbers(heads([True, False, True], [0.2, 0.7, 0.1]), LOSSES)
    assert found == {
        "valid_loss": 3.5, "copying_heads": 2, "positional_heads": 0, "previous_token_max": 0.7,
        "prefix_matching_max": 0.1,
    }  # fmt: skip
    assert numbers(HEADS.frame(), LOSSES) == {"valid_loss": 3.5}


def test_spread_is_the_standard_deviation_over_a_model_and_its_twins():
    found = spreads({"valid_loss": 3.5}, [{"valid_loss": 3.6}, {"valid_loss": 3.4}]).iloc[0]
    assert (found["name"], found["value"]) == ("valid_loss", 3.5)
    assert found["twins"] == pytest.approx(3.5) and found["spread"] == pytest.approx(0.1)
    assert spreads({"valid_loss": 3.5}, []).columns.tolist() == SPREADS.names
