"""Condense all results into the few numbers and curves that git keeps.

Reads   params.yaml
        data/tokens/, data/ngrams/, data/models/, data/tables/
Writes  reports/metrics.json              for `dvc metrics show` and `dvc metrics diff`
        reports/plots/loss/<m>.csv        for `dvc plots show`: loss against steps
        reports/plots/offsets/<m>.csv     attention by distance, one column per head
"""

from skiptrace.errors import run
from skiptrace.files import write_json, write_text
from skiptrace.report.metrics import attention_by_offset, metrics
from stages.common import REPORTS
from stages.results import read_results


def main() -> None:
    """Summarise the run."""
    results = read_results()
    write_json(REPORTS / "metrics.json", metrics(results))
    for name, model in results.models.items():
        curve = model.curve.round(4)
        write_text(REPORTS / "plots" / "loss" / f"{name}.csv", curve.to_csv(index=False))
        if model.params.n_layers > 0:
            table = attention_by_offset(model).round(4)
            write_text(REPORTS / "plots" / "offsets" / f"{name}.csv", table.to_csv(index=False))


if __name__ == "__main__":
    run(main)
