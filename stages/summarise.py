"""Condense all results into the few numbers and curves that git keeps.

Reads   params.yaml
        data/tokens/, data/ngrams/, data/models/, data/tables/, data/evidence/, data/compose/
        data/account/, data/explore/, data/features/, data/rules/, data/control/, data/superposition/, data/dictionary/
Writes  reports/headlines.json            what the first screen says, for `dvc metrics show` and `dvc metrics diff`
        reports/metrics.json              every number by which runs are compared, for programs and `skiptrace compare`
        reports/plots/loss/<m>.csv        for `dvc plots show`: loss against steps
        reports/plots/offsets/<m>.csv     attention by distance, one column per head

This stage and `document` depend on whole folders, so that a new key in params.yaml is all that a new model needs.
"""

from skiptrace.config.base import load
from skiptrace.config.verification import VerificationParams
from skiptrace.files import write_json, write_text
from skiptrace.layout import PARAMS, REPORTS
from skiptrace.report.metrics import attention_by_offset, headlines, metrics
from stages.common import run, wrote
from stages.results import read_results


def main() -> None:
    """Summarise the run."""
    results, params = read_results(), load(VerificationParams, "verification", PARAMS)
    numbers = metrics(results, params.min_p_out)
    write_json(REPORTS / "metrics.json", numbers)
    write_json(REPORTS / "headlines.json", headlines(numbers))
    for name, model in results.models.items():
        curve = model.curve.round(4)
        if len(curve):  # an imported model has none
            write_text(REPORTS / "plots" / "loss" / f"{name}.csv", curve.to_csv(index=False))
        if model.params.n_layers > 0:
            table = attention_by_offset(model).round(4)
            write_text(REPORTS / "plots" / "offsets" / f"{name}.csv", table.to_csv(index=False))
    wrote(REPORTS / "metrics.json", f"metrics of {len(results.models)} models")


if __name__ == "__main__":
    run(main)
