"""What stages say of the work before them."""

import pytest

from skiptrace.config.base import load
from skiptrace.config.composition import CompositionParams
from skiptrace.config.verification import VerificationParams
from skiptrace.models.transformer import Transformer
from stages import needs
from tests.pipeline.conftest import ROOT

PARAMS = ROOT / "params.yaml"


@pytest.fixture
def wide() -> Transformer:
    """A model of 60,000 tokens in the default size."""
    import torch

    with torch.device("meta"):
        return Transformer(60_000, 128, 256, 2, 4, 32)


def test_a_pass_over_circuits_grows_with_the_square_of_the_vocabulary(make_model):
    one, two = (needs.of_circuits(make_model(1, d_vocab=v), 3) for v in (100, 200))
    assert two == 4 * one
    # 23² entries: direct of rank 10, and QK and OV of one head of rank 4.
    assert needs.of_circuits(make_model(1), 1) == 23**2 * (20 + 115 + 2 * (8 + 115))


def test_a_small_model_says_nothing(make_model, capsys):
    verification = load(VerificationParams, "verification", PARAMS)
    needs.say("verify small", needs.of_verification(make_model(2), 2000, verification), "verification.rows")
    needs.say("mine small", needs.of_circuits(make_model(2), 6), "expansion.heads")
    assert capsys.readouterr().err == ""


def test_a_large_vocabulary_says_how_much_and_which_keys_bound_it(wide, capsys):
    verification, composition = (
        load(VerificationParams, "verification", PARAMS),
        load(CompositionParams, "composition", PARAMS),
    )
    for stage, operations, key in (
        ("mine", needs.of_circuits(wide, 8), "expansion.heads"),
        ("verify", needs.of_verification(wide, 2000, verification), "verification.rows"),
        ("compose", needs.of_composition(wide, 6, composition), "composition.contexts"),
    ):
        needs.say(f"{stage} wide", operations, key)
        line = capsys.readouterr().err
        assert line.startswith(f"{stage} wide: at least ") and f"; {key} in params.yaml" in line
        assert line.count("\n") == 1
