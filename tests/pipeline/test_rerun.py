"""Only what changed is recomputed: real DVC on real files."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo

from skiptrace.command import closure
from tests.pipeline.conftest import ZERO, Project, create, restored
from tests.pipeline.test_graph import STAGES

KEYS = {
    "corpora": ("code", "notes", "planted"),
    "models": ("zero", "one", "two"),
    "dictionaries": ("toy", "one"),
    "features.models": ("two",),
    "rules.models": ("two",),
}


def instances(stage: str) -> set[str]:
    """The names of a stage after `foreach`."""
    over = STAGES[stage].get("foreach")
    return {f"{stage}@{key}" for key in KEYS[over.strip("${}")]} if over else {stage}


def changed(project) -> set[str]:
    """The stages that DVC holds for changed by themselves, before any of them runs."""
    with Repo(str(project.path)) as repo:
        return {name.rpartition(":")[2] for name in repo.status()}


ALWAYS = {"check", "document"}  # both look at all of params.yaml


@pytest.mark.parametrize(
    ("key", "value", "stages"),
    [
        ("corpora.code.valid_share", 0.25, {"corpus@code", "summarise"}),
        ("corpora.notes.include", ["**/*.txt"], {"corpus@notes", "summarise"}),
        ("tokenizers.notes.vocab_size", 280, {"tokens@notes", "summarise"}),
        ("models.one.steps", 13, {"train@one", "summarise"}),
        ("models.zero.lr_embedding", 0.5, {"train@zero", "summarise"}),
        ("scoring.null_draws", 6, {f"{s}@{m}" for s in ("score", "compose") for m in ("zero", "one", "two")}),
        ("composition.examples", 1, {"compose@zero", "compose@one", "compose@two"}),
        ("expansion.chunk_rows", 100, {"expand@zero", "expand@one", "expand@two"}),
        ("expansion.store", "none", {"expand@zero", "expand@one", "expand@two"}),
        ("expansion.heads", ["L0H1"], {f"{s}@{m}" for s in ("expand", "mine") for m in KEYS["models"]}),
        ("expansion.offsets", [3], {f"{s}@{m}" for s in ("expand", "mine", "verify") for m in KEYS["models"]}),
        ("expansion.virtual_heads", 1, {f"{s}@{m}" for s in ("expand", "mine", "compose") for m in KEYS["models"]}),
        (
            "mining.outs",
            2,
            {f"{s}@{m}" for s in ("mine", "verify", "account", "explore") for m in KEYS["models"]} | {"features@two"},
        ),
        (
            "verification.contexts",
            5,
            {f"{s}@{m}" for s in ("verify", "account") for m in KEYS["models"]} | {"features@two", "summarise"},
        ),
        ("superposition.five.steps", 6, {"superposition"}),
        ("superposition.sensing.seed", 3, {"superposition"}),  # a key that params.yaml had left to its default
        ("dictionaries.one.steps", 6, {"dictionary@one", "summarise"}),
        ("dictionaries.toy.shown", 2.0, {"dictionary@toy", "summarise"}),
        ("account.contexts", 4, {"account@zero", "account@one", "account@two", "features@two"}),
        ("features.k", 3, {"features@two"}),
        ("rules.window", 3, {"rules@two"}),
        ("directions.gap", 0.1, {"directions@zero", "directions@one", "directions@two"}),
        ("exploration.corner", 5, {"explore@zero", "explore@one", "explore@two"}),
        ("report.bigrams", 5, set()),
    ],
)
def test_a_parameter_changes_its_stages_and_no_other(shared, key, value, stages):
    with restored(shared.path / "params.yaml"):
        shared.set(key, value)
        assert changed(shared) == stages | ALWAYS


@pytest.mark.parametrize("module", ["circuits/factored.py", "superposition/toys.py"])
def test_touching_a_module_changes_the_stages_that_import_it_and_no_other(project, module):
    path = project.path / "skiptrace" / module
    path.write_text(path.read_text() + "\n# touched\n")
    assert changed(project) == {"check"}
    due = json.loads(project.call("python", "-m", "skiptrace", "doctor", "--json").stdout)["stages"]
    importing = [s for s in STAGES if s != "check" and Path("skiptrace", module) in closure.closure(project.path, s)]
    expected = set().union(*map(instances, importing))
    assert {d["stage"] for d in due if d["why"] == f"changed: skiptrace/{module}"} == expected
    assert project.repro("check") == {"check"}
    assert changed(project) == expected
    path.write_text(path.read_text().removesuffix("\n# touched\n"))
    assert project.repro("check") <= {"check"}
    assert changed(project) == set()


def test_touching_a_users_file_changes_its_corpus(project):
    assert changed(project) == set()
    (project.path / "data" / "raw" / "notes" / "new.txt").write_text("one more note")
    assert changed(project) == {"corpus@notes"}


def test_a_change_runs_what_is_downstream_and_going_back_or_removing_runs_nothing(project):
    seed = project.params()["superposition"]["seed"]
    project.set("superposition.seed", 7)
    assert project.repro("summarise") == {"check", "superposition", "dictionary@toy", "summarise"}
    assert project.repro("summarise") == set()
    project.set("superposition.seed", seed)
    assert project.repro("summarise") <= {"check", "summarise"}
    params = project.params()
    del params["dictionaries"]["one"]
    project.write_params(params)
    assert project.repro("summarise") == {"check", "summarise"}
    assert not (project.path / "data" / "dictionary" / "one").exists()
    assert (project.path / "data" / "dictionary" / "toy").exists()


def test_a_deleted_output_comes_back_from_the_cache(project):
    weights = project.path / "data" / "models" / "two" / "model.safetensors"
    content = weights.read_bytes()
    shutil.rmtree(project.path / "data" / "models" / "two")
    shutil.rmtree(project.path / "data" / "circuits")
    assert project.repro() == set()
    assert weights.read_bytes() == content


def test_adding_a_model_runs_its_chain_alone_and_removing_it_forgets_it(project):
    metrics = project.path / "reports" / "metrics.json"
    before = metrics.read_text()
    params = project.params()
    params["models"]["extra"] = ZERO | {"seed": 5}
    project.write_params(params)
    chain = {
        f"{stage}@extra"
        for stage in ("train", "score", "expand", "mine", "verify", "compose", "account", "directions", "explore")
    }
    assert project.repro("summarise", "expand@extra") == chain | {"check", "summarise"}
    assert changed(project) == {"document"}
    assert "extra" in json.loads(metrics.read_text())["models"]
    del params["models"]["extra"]
    project.write_params(params)
    project.repro("summarise")
    assert not (project.path / "data" / "tables" / "extra").exists()
    assert metrics.read_text() == before


def test_a_study_that_is_asked_of_no_model_leaves_a_folder_that_others_can_depend_on(project):
    params = project.params()
    for study in ("features", "rules"):
        params[study]["models"] = {}
        shutil.rmtree(project.path / "data" / study)
    project.write_params(params)
    project.repro("summarise")
    found = json.loads((project.path / "reports" / "metrics.json").read_text())["models"]["two"]
    assert not found.keys() & {"features", "rules"}


def test_a_second_run_elsewhere_gives_the_same_hashes(request, python, tmp_path):
    """Every kind of stage once, one after the other; the first half of them by the plain interpreter.

    The first run is made in two lanes, and not by the plain interpreter (forks.py).
    `summarise`, `document` and `report` read all others; test_failures.py runs them again.
    """
    other = create(tmp_path / "somewhere" / "else", python)
    Project(other.path).repro("expand@two", "mine@two")
    other.repro(
        *(f"{stage}@two" for stage in ("account", "directions", "explore", "features", "rules")),
        "dictionary@toy",
        "control",
    )
    # Asked for only now, so that two test processes reproduce at the same time.
    reproduced = request.getfixturevalue("reproduced")
    first, second = (yaml.safe_load((p.path / "dvc.lock").read_text())["stages"] for p in (reproduced, other))
    kinds = {name.partition("@")[0] for name in second}
    assert kinds == STAGES.keys() - {"summarise", "document", "report"}
    assert second == {name: first[name] for name in second}
