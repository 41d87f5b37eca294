"""What DVC's own commands show of a run."""

import json
import re
import shlex

from tests.pipeline.conftest import ROOT


def test_metrics_shown_are_few_and_named_as_in_the_file_of_all(reproduced):
    shown = json.loads(reproduced.dvc("metrics", "show", "--json"))
    (path,) = shown[""]["data"]
    assert path == "reports/headlines.json"
    few = json.loads((reproduced.path / path).read_text())
    every = json.loads((reproduced.path / "reports" / "metrics.json").read_text())
    assert list(every["models"]) == list(few["models"]) == ["zero", "one", "two"]
    assert {"valid_loss", "unigram_loss", "bigram_loss"} <= every["models"]["zero"].keys()
    assert "copying_heads" not in every["models"]["zero"]
    assert {"copying_heads", "previous_token_max", "prefix_matching_max"} <= every["models"]["two"].keys()

    def leaves(numbers, *path):
        if not isinstance(numbers, dict):
            return {path: numbers}
        return {k: v for name, each in numbers.items() for k, v in leaves(each, *path, name).items()}

    few, every = leaves(few), leaves(every)
    assert few.items() <= every.items() and ("models", "one", "evidence", "survives") in few
    assert len(few) <= 12 * 4 < len(every)


def test_plots_draw_every_models_loss(reproduced, tmp_path):
    reproduced.dvc("plots", "show", "--out", str(tmp_path))
    page = (tmp_path / "index.html").read_text()
    for name in ("zero", "one", "two"):
        assert f"reports_plots_loss_{name}_csv" in page
    assert "nats per token" in page


def test_an_experiment_in_a_folder_of_its_own_changes_one_parameter_and_can_be_compared(project, ask):
    """As docs/comparing.md gives it: with what neither git nor DVC carries."""
    (command,) = re.findall(r"^dvc (exp run --temp[^#\n]*)", (ROOT / "docs" / "comparing.md").read_text(), re.MULTILINE)
    for part, own in (("models.one.n_heads=8", "dictionaries.one.steps=6"), ("data/raw/mine", "data/raw/notes")):
        assert part in command
        command = command.replace(part, own)
    project.dvc(*shlex.split(command), "--name", "wide", "summarise")
    assert project.params()["dictionaries"]["one"]["steps"] == 5  # the workspace is as it was
    assert "dictionaries.one.steps" in project.dvc("params", "diff", "HEAD", "wide")
    assert "dictionary.one.loss_recovered" in project.dvc("metrics", "diff", "HEAD", "wide")
    shown = project.dvc("exp", "show", "--csv")
    assert "wide" in shown
    assert "dictionaries.one.steps" in shown
    told = ask(project, "compare", "HEAD", "wide", "--json")
    assert told.code == 0, told.error
    found = json.loads(told.out)
    assert found["parameters"] == [{"key": "dictionaries.one.steps", "a": 5, "b": 6}] and found["notes"] == []
    changed = {m["key"].rpartition(".")[2] for m in found["metrics"] if m["difference"]}
    assert "loss_recovered" in changed and "valid_loss" not in changed


def test_the_report_is_one_page_that_fetches_nothing(reproduced):
    page = (reproduced.path / "reports" / "index.html").read_text()
    assert "default-src 'none'" in page and "<script src" not in page
    for fetching in ('src="http', "url(http", "<link", "@import"):
        assert fetching not in page
    for name in ("zero: bigrams", "one: skip-trigrams", "two: heads", "Provenance"):
        assert name in page
    markdown = (reproduced.path / "reports" / "report.md").read_text()
    shown = re.findall(r"\(figures/([^)]+)\)", markdown)  # one model's of each question
    assert shown and all((reproduced.path / "reports" / "figures" / name).is_file() for name in shown)
    assert str(reproduced.path) not in page + markdown
