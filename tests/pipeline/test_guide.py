"""The guide's code runs, in its order, and its answers are those of the circuits."""

import re

import numpy as np
import pandas as pd
import pytest

from skiptrace.models import checkpoint
from tests.pipeline.conftest import ROOT


def test_every_block_of_the_guide_runs(reproduced, monkeypatch, capsys):
    text = (ROOT / "docs" / "guide.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 9
    # The tiny project's model of two layers reads another corpus.
    blocks[1] = blocks[1].replace('"two", "code"', '"two", "notes"')
    monkeypatch.chdir(reproduced.path)
    space: dict[str, object] = {
        "model": checkpoint.load(reproduced.path / "data/models/two"),
        "texts": pd.read_parquet("data/tokens/notes/vocab.parquet")["token"],
        "stream": np.load("data/tokens/notes/train.npy"),
    }
    for block in blocks:
        exec(compile(block, "guide.md", "exec"), space)
        assert capsys.readouterr().out.strip() or block is blocks[0], block
    assert space["model"].d_vocab == 270
    circuit, best = space["circuit"], space["best"]
    for entry in best.itertuples():
        row = circuit.left[entry.row_id] @ circuit.right
        assert entry.value == pytest.approx(row[entry.column_id].item(), abs=1e-5)
        assert entry.centred == pytest.approx((row[entry.column_id] - row.mean()).item(), abs=1e-5)
    mined = pd.read_parquet("data/tables/two/skip_trigrams.parquet")
    again = space["skiptrace"].mine_skip_trigrams(
        space["model"], space["vocabulary"], sources=5, min_count=3, min_pairs=2
    )
    pd.testing.assert_frame_equal(again, mined)
