"""Condense all results into the few numbers and curves that git keeps.

Reads   params.yaml
        data/tokens/, data/ngrams/, data/models/, data/tables/, data/evidence/, data/compose/
        data/account/, data/explore/, data/superposition/, data/dictionary/
Writes  reports/metrics.json              for `dvc metrics show` and `dvc metrics diff`
        reports/plots/loss/<m>.csv        for `dvc plots show`: loss against steps
        reports/plots/offsets/<m>.csv     attention by distance, one column per head

This stage and `document` depend on whole folders, so that a new key in params.yaml is all that a new
model needs. What is left in them of keys that are gone is removed here (DVC's cache keeps it). `check` could not do it:
where params.yaml goes back to what it was, DVC takes the outputs of `check` from its cache of runs and does not run it,
while the folders, which hold more than they did, make this stage run.
"""

import shutil
from collections.abc import Collection
from pathlib import Path

from skiptrace.config.base import load
from skiptrace.config.verification import VerificationParams
from skiptrace.files import write_json, write_text
from skiptrace.layout import (
    ACCOUNT,
    CIRCUITS,
    COMPOSE,
    CORPORA,
    DICTIONARY,
    EVIDENCE,
    EXPLORE,
    MODELS,
    NGRAMS,
    PARAMS,
    REPORTS,
    TABLES,
    TOKENS,
)
from skiptrace.report.metrics import attention_by_offset, metrics
from stages.common import run, wrote
from stages.results import read_results


def main() -> None:
    """Summarise the run."""
    results, params = read_results(), load(VerificationParams, "verification", PARAMS)
    for root in (CORPORA, TOKENS, NGRAMS):
        forget(root, results.corpora.keys())
    for root in (MODELS, CIRCUITS, TABLES, EVIDENCE, COMPOSE, ACCOUNT, EXPLORE):
        forget(root, results.models.keys())
    forget(DICTIONARY, results.dictionaries.keys())
    write_json(REPORTS / "metrics.json", metrics(results, params.min_p_out))
    for name, model in results.models.items():
        curve = model.curve.round(4)
        if len(curve):  # an imported model has none
            write_text(REPORTS / "plots" / "loss" / f"{name}.csv", curve.to_csv(index=False))
        if model.params.n_layers > 0:
            table = attention_by_offset(model).round(4)
            write_text(REPORTS / "plots" / "offsets" / f"{name}.csv", table.to_csv(index=False))
    wrote(REPORTS / "metrics.json", f"metrics of {len(results.models)} models")


def forget(root: Path, known: Collection[str]) -> None:
    """Remove the folders under `root` whose name is not `known`."""
    for folder in sorted(root.glob("*/")):
        if folder.name not in known:
            print(f"params.yaml no longer names {folder.name}: removing {folder}")
            shutil.rmtree(folder)


if __name__ == "__main__":
    run(main)
