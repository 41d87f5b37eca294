"""How rows form: a row that is built into a model, at checkpoints before and after."""

import copy

import numpy as np
import pandas as pd
import pytest

from skiptrace.account.formed import FIRST, IDS, RANDOM, formed
from skiptrace.account.tables import ROWS
from skiptrace.config.verification import VerificationParams
from skiptrace.evidence.verification import Streams, verify
from skiptrace.mining.tables import SKIP_TRIGRAMS

PARAMS = VerificationParams(seed=3, rows=20, contexts=16, context_tokens=7, null_rows=10, fdr=0.5)


@pytest.fixture(scope="module")
def streams():
    stream = np.random.default_rng(0).integers(1, 23, 500)
    return Streams(stream, stream[:300], np.bincount(stream, minlength=23))


def listed(count):
    """Rows of head 2 of the last layer, of which the first is the built one, and its copy in another head."""
    ids = [(2, 5, 7, 9), (1, 5, 7, 9), *((n % 3, 1 + n, 2 + n, 3 + n) for n in range(count))]
    rows = pd.DataFrame(ids, columns=["head", *IDS]).assign(layer=1, rank=range(1, 1 + len(ids)))
    texts = {name.removesuffix("_id"): "t" + rows[name].astype(str) for name in IDS}
    return ROWS.frame(
        rows.assign(
            **texts, mined=True, readable=True, consistent=True, use="", support="", p_out=0.1, corpus_count=1,
            corpus_lift=1.0, corpus_nats=0.0, n=0, nats=0.0, nats_se=0.0, chosen_nats=0.0, chosen_se=0.0,
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def built(make_model):
    """Head L1H2 attends from 7 to 5 alone and raises 9 there."""
    model = make_model(2, d_model=12).float()
    for weight in model.parameters():
        weight.data.mul_(0.05)
    model.W_pos.zero_()
    model.W_E.data[5], model.W_E.data[7] = 0, 0
    model.W_E.data[5, 0] = model.W_E.data[7, 1] = 1
    last = model.blocks[1]
    last.W_Q[2, 1, 0], last.W_K[2, 0, 0], last.W_V[2, 0, 2], last.W_O[2, 2, 5] = 12.0, 1.0, 1.0, 1.0
    model.W_U.data[5] = 0
    model.W_U.data[5, 9] = 4
    return model


def test_a_built_row_rises_and_random_ones_do_not(built, streams):
    before = copy.deepcopy(built)
    before.blocks[1].v.data.zero_()
    table = formed([(2, before), (8, built)], listed(9), streams, PARAMS)
    assert table.groupby("step").size().tolist() == [FIRST, FIRST] and 2 not in table["rank"].tolist()
    row = table[table["rank"] == 1].set_index("step")
    assert row.loc[2, "effect_nats"] == pytest.approx(0, abs=1e-6)
    assert row.loc[8, "effect_nats"] > 1 and row.loc[8, "effect_se"] < 0.3
    others = table[(table["rank"] > 1) & (table["step"] == 8)]
    assert others["effect_nats"].abs().max() < 0.3
    assert table.groupby("step")["null_mean"].nunique().tolist() == [1, 1]
    assert table["null_mean"].abs().max() < 0.2 and RANDOM * FIRST > 10


def test_the_effect_is_what_verification_measures(built, streams):
    """Of a single row, whose contexts are then drawn alike."""
    row = listed(0).head(1)
    asked = SKIP_TRIGRAMS.frame(row.assign(**{name: 1.0 for name in SKIP_TRIGRAMS.names if name not in row}))
    params = PARAMS.model_copy(update={"contexts": 200})
    effect = verify(built, asked, streams, params)
    found = formed([(8, built)], row, streams, params)
    assert found["effect_nats"].item() == pytest.approx(effect["effect_nats"].item(), abs=0.15)


def test_without_checkpoints_or_rows_there_is_nothing(built, streams):
    assert formed([], listed(3), streams, PARAMS).empty
    assert formed([(1, built)], listed(3).head(0), streams, PARAMS).empty
