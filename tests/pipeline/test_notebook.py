"""The notebook of docs/, on the run of the tiny pipeline."""

import json

import matplotlib
import pandas as pd

from tests.pipeline.conftest import ROOT


def test_the_notebook_draws_three_figures_from_the_tables(reproduced, monkeypatch):
    # Its cells, without the kernel that Jupyter would start: that takes a dozen packages more.
    notebook = json.loads((ROOT / "docs" / "figures.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] for cell in notebook["cells"] if cell["cell_type"] == "code")
    matplotlib.use("Agg")
    monkeypatch.chdir(reproduced.path / "data")  # a folder of the repository, as docs/ is
    space = {}
    for number, cell in enumerate(cells):
        exec(compile(cell, f"cell {number}", "exec"), space)
    tables, evidence = (reproduced.path / "data" / room / "one" for room in ("tables", "evidence"))
    heads = pd.read_parquet(tables / "heads.parquet")
    assert [bar.get_width() for bar in space["copying"].containers[0]] == heads["copying"].tolist()
    checked = pd.read_parquet(evidence / "skip_trigrams.parquet")
    drawn = sum(len(points.get_offsets()) for points in space["lift"].collections)
    assert drawn == (checked["corpus_lift"] > 0).sum()
    assert len(space["distance"].lines) == len(heads) + 1
    space["plt"].close("all")
