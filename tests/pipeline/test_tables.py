"""Every Parquet file of a pipeline is what was declared, and answers the questions of docs/guide.md."""

import re
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from skiptrace import catalogue
from skiptrace.circuits.factored import heads, ov
from skiptrace.expansion.tables import PART
from skiptrace.models import checkpoint
from tests.pipeline.conftest import ROOT


def test_every_file_agrees_with_its_declaration_and_every_declaration_has_a_file(reproduced):
    data, met = reproduced.path / "data", set()
    files = [p for p in sorted(data.rglob("*.parquet")) if p.relative_to(data).parts[0] not in ("raw", "scratch")]
    for path in files:
        found, possible = pq.read_schema(path), catalogue.of(path.relative_to(data))
        assert possible, f"{path} is not declared: add it to the tables.py of its room"
        if possible == [PART]:
            # Its lists are of fixed length, and its bytes are the project's own: they hold no sentences.
            assert found.names == PART.names
            table = PART
        else:
            table = next((t for t in possible if found.equals(t.schema)), None)
            assert table is not None, f"{path}: {found} is not {possible[0].schema}"
            assert found.metadata[b"description"].decode() == table.meaning
            assert [f.metadata[b"description"].decode() for f in found] == [c.meaning for c in table.columns]
            assert len(table.read_file(path)) == pq.read_metadata(path).num_rows
        met.add(table)
    assert {t.place for t in catalogue.TABLES} - {t.place for t in met} == set()
    assert len(met) == len(catalogue.TABLES)


@pytest.fixture
def answers(reproduced, monkeypatch) -> list[pd.DataFrame]:
    """What the statements of the guide answer in the tiny project, whose model of two layers reads another corpus."""
    monkeypatch.chdir(reproduced.path)
    text = (ROOT / "docs" / "guide.md").read_text()
    statements = re.findall(r"^```sql\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(statements) == 5
    return [duckdb.sql(statement.replace("tokens/code", "tokens/notes")).df() for statement in statements]


def test_the_statements_of_the_guide_find_what_the_factors_hold(answers):
    model, token = checkpoint.load(Path("data/models/two")), pd.read_parquet("data/tokens/notes/vocab.parquet")["token"]
    circuit = ov(model, 1, 1)
    dense = (circuit.left @ circuit.right).half().float()

    def best(values: torch.Tensor) -> tuple[list[float], torch.Tensor]:
        top = values.topk(5)
        return top.values.tolist(), top.indices

    row, column, whole, each, survivors = answers
    for found, entries in ((row, dense[26]), (column, dense[:, 26])):
        values, ids = best(entries)
        assert found["value"].tolist() == pytest.approx(values, abs=1e-3)
        assert found["token"][0] == token[int(ids[0])]
    values, ids = best(dense.flatten())
    assert whole["value"].tolist() == pytest.approx(values, abs=1e-3)
    assert (whole["source"][0], whole["output"][0]) == tuple(token[int(i)] for i in divmod(int(ids[0]), len(token)))

    assert list(zip(each["layer"], each["head"], strict=True)) == heads(model)
    for found in each.itertuples():
        of_head = ov(model, found.layer, found.head)
        entries = of_head.left @ of_head.right
        assert found.largest == pytest.approx(entries.max().item(), abs=1e-2)
        assert entries[found.token_id].max().item() == pytest.approx(found.largest, abs=1e-2)

    evidence = pd.read_parquet("data/evidence/two/skip_trigrams.parquet")
    kept = evidence[evidence["survives"]].sort_values("rank_evidence").head(5)
    assert np.array_equal(survivors["source"], kept["source"])
