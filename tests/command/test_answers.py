"""The `skiptrace` command on a real project."""

import csv
import io
import json
import math
import re

import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from skiptrace.circuits.factored import ov
from skiptrace.command.output import inert
from skiptrace.command.top import chosen
from skiptrace.models import checkpoint
from tests.pipeline.conftest import assert_one_line

PARTS = ("position", "token")  # what a head of the first layer reads


def test_explain_takes_a_prediction_apart(ask, reproduced):
    told = ask(reproduced, "explain", "--model", "two", "--json", "the moon of noom")
    assert told.code == 0, told.error
    found = json.loads(told.out)
    assert len(found["paths"]) == 9
    logits = [path["logit"] for path in found["paths"]]
    assert sum(logits) == pytest.approx(found["logit"], abs=1e-5)
    assert logits == sorted(logits, reverse=True)
    shown = ask(reproduced, "explain", "--model", "two", "the moon", "--next", "id:5")
    assert shown.code == 0 and "direct" in shown.out and "add up to" in shown.out
    rows = list(csv.DictReader(io.StringIO(ask(reproduced, "explain", "--model", "two", "--csv", "the moon").out)))
    assert len(rows) == 9 and float(rows[0]["logit"]) >= float(rows[1]["logit"])

    against = json.loads(ask(reproduced, "explain", "--model", "two", "--json", "the moon", "--against", "id:5").out)
    lead = json.loads(ask(reproduced, "explain", "--model", "two", "--json", "the moon", "--next", "id:5").out)
    best = json.loads(ask(reproduced, "explain", "--model", "two", "--json", "the moon").out)
    assert against["logit"] == pytest.approx(best["logit"] - lead["logit"], abs=1e-5)


def test_explain_says_why_a_head_attends(ask, reproduced):
    told = ask(reproduced, "explain", "--model", "two", "--why", "L1H0", "--json", "the moon of noom", "--back", "2")
    assert told.code == 0, told.error
    found = json.loads(told.out)
    assert found["destination"] - found["source"] == 2
    assert "".join(found["tokens"]).endswith("the moon of noom")
    assert sum(term["score"] for term in found["terms"]) == pytest.approx(found["score"], abs=1e-5)
    above = sum(term["above"] for term in found["terms"])
    assert math.exp(above - found["normaliser"]) == pytest.approx(found["attention"], abs=1e-5)
    shown = ask(reproduced, "explain", "--model", "two", "--why", "L1H0", "the moon of noom").out
    assert "L1H0 attends from " in shown and "token × L0H" in shown and "normaliser" in shown
    rows = list(
        csv.DictReader(io.StringIO(ask(reproduced, "explain", "--model", "two", "--why", "L0H1", "--csv", "x").out))
    )
    assert {(row["destination"], row["source"]) for row in rows} == {(a, b) for a in PARTS for b in PARTS}
    assert ask(reproduced, "explain", "--model", "two", "--back", "1", "the moon").code == 2
    assert ask(reproduced, "explain", "--model", "two", "--why", "L1H0", "--next", "id:5", "the moon").code == 2


def test_the_best_rows_are_those_of_the_evidence_in_its_order(ask, reproduced):
    evidence = pq.read_table(reproduced.path / "data/evidence/one/skip_trigrams.parquet").to_pandas()
    told = ask(reproduced, "top", "--model", "one", "--by-evidence", "--most", "3", "--json")
    assert told.code == 0, told.error
    found = json.loads(told.out)
    best = evidence.sort_values("rank_evidence").head(3)
    assert found["found"] == len(evidence) > 3
    for name in ("source", "destination", "out", "effect_nats", "corpus_count", "survives"):
        assert [row[name] for row in found["rows"]] == best[name].tolist()
    assert [row["head"] for row in found["rows"]] == [f"L{r.layer}H{r.head}" for r in best.itertuples()]
    shown = ask(reproduced, "top", "--model", "one", "--by-evidence", "--most", "3").out
    assert all(best.iloc[i]["source"].strip() in shown for i in range(3)) and f"3 of {len(evidence)} rows" in shown
    of_head = ask(reproduced, "top", "--model", "one", "--head", "L0H1", "--csv").out
    assert {row["head"] for row in csv.DictReader(io.StringIO(of_head))} == {"L0H1"}


def test_rows_come_in_the_order_of_the_account_with_what_they_save(ask, reproduced):
    account = pq.read_table(reproduced.path / "data/account/one/rows.parquet").to_pandas().query("mined")
    rows = json.loads(ask(reproduced, "top", "--model", "one", "--most", "9", "--json").out)["rows"]
    assert len(rows) == 9 and [row["rank"] for row in rows] == [*range(1, 10)]
    for name in ("source", "destination", "out", "nats", "support"):
        assert [row[name] for row in rows] == account[name].head(9).tolist()
    deep = json.loads(ask(reproduced, "top", "--model", "two", "--most", "1", "--json").out)["rows"]
    assert deep[0]["nats"] is None  # not the sum of its circuits


def test_rows_by_what_they_save_are_those_of_the_account(ask, reproduced):
    account = pq.read_table(reproduced.path / "data/account/one/skip_trigrams.parquet").to_pandas()
    told = ask(reproduced, "top", "--model", "one", "--saves", "--json")
    assert told.code == 0, told.error
    rows = json.loads(told.out)["rows"]
    assert len(rows) == len(account) > 2
    for name in ("rank", "source", "destination", "out", "n", "nats", "nats_destination_se"):
        assert [row[name] for row in rows] == account.sort_values("rank")[name].tolist()
    shown = ask(reproduced, "top", "--model", "one", "--saves", "--most", "2").out
    assert "nats per 1,000 tokens" in shown and f"2 of {len(account)} rows" in shown
    assert ask(reproduced, "top", "--model", "one", "--saves", "--supported").code == 2


def test_rows_come_with_a_sentence_in_which_they_stand(ask, reproduced):
    rows = json.loads(ask(reproduced, "top", "--model", "one", "--most", "9", "--text", "--json").out)["rows"]
    spoken = [row for row in rows if row["text"]]
    assert spoken
    for row in spoken:
        marked = re.findall("‹([^›]*)›", row["text"])
        assert marked == [row[name].strip(" ") for name in ("source", "destination", "out")]
    shown = ask(reproduced, "top", "--model", "one", "--most", "9", "--text").out
    assert all(row["text"] in shown for row in spoken)
    saving = ask(reproduced, "top", "--model", "one", "--saves", "--most", "2", "--text", "--csv").out
    assert all("text" in row for row in csv.DictReader(io.StringIO(saving)))


def test_rows_are_chosen_by_head_support_and_words():
    rows = pd.DataFrame(
        [
            ("L0H0", " the", "cat", " sat", "supported"),
            ("L0H0", " the", "(", " sat", "supported"),  # no word
            ("L0H0", " a", "cat", " sat", "supported"),  # of one letter
            ("L0H0", " the", "cat", " sat", "too rare to say"),
            ("L0H0", " the", "cat", " sat", "contradicted"),
            ("L0H1", " the", "cat", " sat", "supported"),
            ("L0H1", " the", "cat", " sat", "too rare to say"),
        ],
        columns=["head", "source", "destination", "out", "support"],
    )
    assert chosen(rows, [], False, False).all()
    assert rows.index[chosen(rows, ["L0H0"], False, False)].tolist() == [0, 1, 2, 3, 4]
    assert rows.index[chosen(rows, [], True, False)].tolist() == [0, 1, 2, 5]
    assert rows.index[chosen(rows, ["L0H0"], True, True)].tolist() == [0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("top", "--model", "two", "--saves"), "two: rows by what they save are made for models of one layer"),
        (("top", "--model", "nope"), "models.nope: no such key; there is zero, one, two"),
        (("top", "--model", "two", "--head", "L5H0"), "--head L5H0: model two has L0H0, L0H1, L1H0, L1H1"),
        (("top", "--model", "zero", "--head", "L0H0"), "--head L0H0: model zero has none"),
        (("explain", "--model", "nope", "x"), "models.nope: no such key; there is zero, one, two"),
        (("explain", "--model", "two", ""), "the text is empty"),
        (("explain", "--model", "two", "moon " * 50), "models.two.n_ctx = 16 holds 15"),
        (("explain", "--model", "two", "x", "--why", "L7H0"), "model two has L0H0"),
        (("explain", "--model", "two", "x", "--why", "L1H0", "--at", "9"), "places within the 2 tokens of the text"),
        (("explain", "--model", "two", "x", "--next", "moon of"), "not a single token; it is"),
        (("lookup", "--model", "nope", "x"), "models.nope: no such key; there is zero, one, two"),
        (("lookup", "--model", "two", "moon river"), "'moon river': not a single token; it is"),
        (("lookup", "--model", "two", "id:270"), "id:270: no such token; the ids of notes run to 269"),
        (("lookup", "--model", "one", "nosuchword"), "'nosuchword': the vocabulary of this model has no token for it"),
        (("directions", "--model", "two", "--head", "L5H0"), "L5H0: model two has L0H0, L0H1, L1H0, L1H1"),
        (("lookup", "--model", "two", "--head", "L5H0", "id:3"), "L5H0: model two has direct, L0H0, L0H1, L1H0, L1H1"),
        (("lookup", "--model", "two", "--min-count", "999999", "id:3"), "no token occurs 999999 times"),
        (("compare", "nope"), "nope: unknown Git revision 'nope'; give a commit, branch, tag or experiment"),
    ],
    ids=lambda v: " ".join(v)[:40] if isinstance(v, tuple) else None,
)  # fmt: skip
def test_wrong_questions_are_answered_in_one_line(ask, reproduced, arguments, message):
    assert_one_line(ask(reproduced, *arguments), message)


def test_directions_are_those_of_the_tables_with_their_tokens(ask, reproduced):
    told = ask(reproduced, "directions", "--model", "two", "--head", "L1H0", "--circuit", "ov", "--most", "2", "--json")
    assert told.code == 0, told.error
    found = json.loads(told.out)["directions"]
    groups = pd.read_parquet(reproduced.path / "data/directions/two/groups.parquet")
    mine = groups[(groups["name"] == "L1H0") & (groups["circuit"] == "ov") & (groups["group"] <= 2)]
    assert {row["share"] for row in found} == set(mine["share"])
    vocabulary = pd.read_parquet(reproduced.path / "data/tokens/notes/vocab.parquet")["token"]
    assert all(row["token"] == vocabulary[row["token_id"]] for row in found)
    shown = ask(reproduced, "directions", "--model", "two").out
    assert "ov L0H1" in shown and "qk L1H1" in shown and "loss without it" in shown


def test_a_looked_up_row_is_that_of_the_model(ask, reproduced):
    told = ask(reproduced, "lookup", ":", "--model", "two", "--head", "L1H0", "--as", "source", "--min-count", "0",
               "--most", "5", "--json")  # fmt: skip
    assert told.code == 0, told.error
    found = json.loads(told.out)
    circuit = ov(checkpoint.load(reproduced.path / "data/models/two"), 1, 0)
    row = circuit.left[found["token_id"]] @ circuit.right
    centred = row - row.mean()
    centred[0] = -torch.inf
    outs = [entry for entry in found["entries"] if entry["circuit"] == "ov"]
    assert [entry["centred"] for entry in outs] == pytest.approx(centred.topk(5).values.tolist(), rel=1e-2, abs=1e-3)
    assert {entry["role"] for entry in found["entries"]} == {"source"} and found["token"] == ":"


def test_a_lookup_as_csv_and_as_tables(ask, reproduced):
    question = ("lookup", "id:40", "--model", "two", "--min-count", "0", "--most", "3")
    rows = list(csv.DictReader(io.StringIO(ask(reproduced, *question, "--csv").out)))
    views = [(r["role"], r["circuit"], r["head"]) for r in rows]
    # Two roles of the direct path, four views of each of four heads.
    assert len(rows) == 3 * (2 + 4 * 4) and len(set(views)) == 18
    shown = ask(reproduced, *question).out
    for heading in ("as source: outs by ov", "as destination: sources by qk", "as out: present tokens by direct"):
        assert heading in shown


@pytest.mark.parametrize(
    ("value", "written"),
    [("=1+1", "'=1+1"), ("@x", "'@x"), ("-", "'-"), ("+", "'+"), ("\t=x", "'\t=x"), ("＝x", "'＝x"), ("a=b", "a=b"),
     (-1.5, -1.5), (None, None)],
)  # fmt: skip
def test_text_in_csv_is_no_formula_and_numbers_stay_numbers(value, written):
    assert inert(value) == written


def test_doctor_tells_what_is_fit_and_what_would_run(ask, project):
    told = ask(project, "doctor", "--json")
    assert told.code == 0, told.error
    found = json.loads(told.out)
    checks = {check["name"]: check for check in found["checks"]}
    assert checks["parameters"]["found"] == "3 corpora, 3 models: zero, one, two"
    assert checks["remote cache"]["state"] == "note" and checks["pipeline"]["found"] == "up to date"
    assert found["stages"] == []

    project.set("verification.fdr", 0.5)
    due = {stage["stage"]: stage for stage in json.loads(ask(project, "doctor", "--json").out)["stages"]}
    assert {"verify@one", "summarise", "document", "report"} <= due.keys() and "train@one" not in due
    assert due["verify@one"]["why"] == "changed: verification"
    assert due["verify@one"]["seconds"] > 0  # noted when the project was reproduced
    assert "last time" in ask(project, "doctor").out
    assert "verify@two" in ask(project, "doctor", "--csv").out

    project.set("models.one.steps", "many")
    told = ask(project, "doctor")
    assert told.code == 1 and "models.one.steps" in told.out


def test_doctor_explains_a_stage_that_never_ran_as_new_and_shows_no_password_of_a_remote(ask, project):
    for name, url in (("web", "https://me:secret@host:8443/x?token=secret"), ("box", "ssh://me:secret@host/path")):
        project.dvc("remote", "add", name, url)
    params = project.params()
    params["models"]["new"] = params["models"]["one"]
    project.write_params(params)
    told = ask(project, "doctor", "--json")
    assert told.code == 0 and "secret" not in told.out + told.error
    found = json.loads(told.out)
    checks = {check["name"]: check for check in found["checks"]}
    assert checks["remote cache"]["found"] == "web: https://host:8443/x?…, box: ssh://host/path"
    due = {stage["stage"]: stage for stage in found["stages"]}
    assert due["train@new"]["why"] == "new: it has not run yet" == due["verify@new"]["why"]
    assert due["summarise"]["why"].startswith("changed: ")


def test_doctor_outside_of_a_pipeline_says_so(ask, tmp_path, project):
    told = ask(type(project)(tmp_path), "doctor")
    assert told.code == 1 and "no pipeline here" in told.out and "Traceback" not in told.error


def test_noting_times_leaves_no_trace_in_the_outputs(reproduced):
    noted = sorted(p.stem for p in (reproduced.path / "data" / "scratch" / "times").iterdir())
    assert {"check", "train@one", "corpus@notes", "dictionary@toy", "report"} <= set(noted)
    assert "scratch" not in (reproduced.path / "dvc.lock").read_text()


def test_circuit_parts_keep_their_layout(reproduced):
    part = reproduced.path / "data/circuits/two/circuit=ov/layer=1/head=0/part-00000.parquet"
    assert pq.read_schema(part).names == ["token_id", "row_min", "row_max", "values"]
