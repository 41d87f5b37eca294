"""The guide's code runs, in its order."""

import re

import pytest

from tests.pipeline.conftest import ROOT


def test_every_block_of_the_guide_runs(reproduced, monkeypatch, capsys):
    text = (ROOT / "docs" / "guide.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 6
    # The tiny project's model of two layers reads another corpus.
    blocks[0] = blocks[0].replace('"two", "code"', '"two", "notes"')
    monkeypatch.chdir(reproduced.path)
    space: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "guide.md", "exec"), space)
        assert capsys.readouterr().out.strip(), block
    assert space["model"].d_vocab == 270
    largest = space["best"]
    circuit = space["circuit"]
    for value, source, out in sorted(largest, reverse=True)[:5]:
        row = circuit.left[source] @ circuit.right
        assert value == pytest.approx((row[out] - row.mean()).item(), rel=1e-2, abs=1e-3)
