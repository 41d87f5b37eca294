"""The README's first table against the run that it describes, whose parameters and metrics docs/measured keeps.

A run of one's own rewrites reports/metrics.json; what the README says of its own run stays true.
"""

import json
import re
from pathlib import Path

import pytest
import yaml

from benchmarks import scaling

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MEASURED = json.loads((ROOT / "docs/measured/metrics.json").read_text(encoding="utf-8"))
PARAMS = yaml.safe_load((ROOT / "docs/measured/params.yaml").read_text(encoding="utf-8"))
ROW = r"^\| \[[^]]+\]\(docs/measured/report\.md#([\w-]+)\) \|[^|]*\|([^|]*)\|([^|]*)\|$"
TABLE = re.findall(ROW, README, re.MULTILINE)


def expected() -> dict[str, list[str]]:
    """The numbers of each row, in the order in which they are read."""
    zero, one, two, planted = (MEASURED["models"][name] for name in ("zero", "one", "two", "planted"))
    heads = {name: str(PARAMS["models"][name]["n_heads"]) for name in ("one", "two")}
    kept = MEASURED["dictionary"]["one"]
    terms = [f"{v:.2f}" for v in two["term_nats"].values()] + [f"{v:.2f}" for v in one["term_nats"].values()]
    found, account = planted["skip_trigrams"], one["account"]
    left = (account["direct"] - account["salience"]) / (account["direct"] - account["whole"])
    return {
        "zero-bigrams": [f"{zero['valid_loss']:.3f}", f"{zero['bigram_loss']:.3f}"],
        "one-heads": [str(one["copying_heads"]), heads["one"]],
        "one-positional": [str(one["positional_heads"]), heads["one"]],
        "one-evidence": [
            f"{100 * one['evidence'][n]:.1f}" for n in ("survives", "consistent", "used", "supported", "matched_null")
        ],
        "one-account": [
            f"{100 * left:.0f}", "200", f"{100 * account['table_rows']:.1f}", "10,000",
            f"{100 * account['recovered']['10000']:.0f}",
        ],
        "one-bugs": [f"{abs(one['crossing_cost_nats']):.3f}", f"{one['bug_cost_contradicted_nats']:.3f}"],
        "planted-control": [f"{found['recall']:.2f}", f"{found['best_baseline']:.2f}"],
        "two-induction": [
            str(two["induction_heads"]), heads["two"],
            f"{two['prefix_matching_max']:.2f}", f"{one['prefix_matching_max']:.2f}",
        ],
        "two-terms": terms,
        "two-rules": [f"{100 * two['rules'][name]:.0f}" for name in ("closest", "closest_null")],
        "superposition-phase": [f"{100 * MEASURED['superposition']['phase_agreement']:.1f}"],
        "dictionary-one": [
            f"{100 * kept['loss_recovered']:.0f}", f"{kept['l0']:.1f}", f"{100 * kept['token_mean_null']:.0f}",
        ],
    }  # fmt: skip


@pytest.mark.parametrize("entries", ["3000", "10000"])
def test_rounds_recover_a_quarter_more_than_integrated_gradients(entries):
    account = MEASURED["models"]["one"]["account"]
    assert account["recovered"][entries] >= 1.25 * account["recovered_attribution"][entries]


def test_every_row_of_the_table_is_checked():
    assert [anchor for anchor, *_ in TABLE] == list(expected())


@pytest.mark.parametrize(("anchor", "run", "beside"), TABLE, ids=[anchor for anchor, *_ in TABLE])
def test_the_numbers_are_those_of_its_run(anchor, run, beside):
    assert re.findall(r"\d+(?:[.,]\d+)?", f"{run} {beside}") == expected()[anchor]


def test_every_link_into_the_report_leads_to_what_is_committed():
    report = (ROOT / "docs/measured/report.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(docs/measured/report\.md#([^)]+)\)", README)
    assert links and all(f'id="{anchor}"' in report for anchor in links)
    figures = re.findall(r"\]\((figures/[^)]+)\)", report)
    assert figures and all((ROOT / "docs/measured" / figure).is_file() for figure in figures)


def test_every_picture_is_there():
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", README)
    assert pictures and all((ROOT / picture).is_file() for picture in pictures)


def test_the_page_on_scaling_is_what_was_measured():
    measured = json.loads((ROOT / "benchmarks" / "results.json").read_text())
    assert scaling.page(measured) == (ROOT / "docs" / "scaling.md").read_text()


def test_every_installed_file_is_known_by_its_hash():
    for path in ROOT.glob("requirements*.lock"):
        packages = re.split(r"\n(?=[a-zA-Z])", re.sub(r"^#.*\n", "", path.read_text(), flags=re.MULTILINE))
        for package in packages:
            assert re.match(r"[\w.-]+==[\w.]+", package), package
            assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", package), package
    makefile = (ROOT / "Makefile").read_text()
    for line in re.findall(r"^\t.*(?:pip install|\$\(INSTALL\)).*$", makefile, re.MULTILINE):
        assert "--require-hashes" in line or "--no-deps -e ." in line, line
