"""Read small models of grammars in which counting is not enough, and count in their texts, side by side.

Reads   params.yaml  control
Writes  data/control/rules.parquet      rules and decoys, what the models do with them, and their places in the rankings
        data/control/rankings.parquet   rankings by weights and by counts; what was chosen on the first grammar
        data/control/curve.parquet      precision and recall along the best of either
        data/control/accepted.parquet   rows that are accepted as rules, and what the false ones are
"""

import shutil

from skiptrace.config.base import load
from skiptrace.config.control import ControlParams
from skiptrace.control import tables
from skiptrace.control.study import WINDOWS, study
from skiptrace.files import atomic_folder
from skiptrace.layout import CONTROL, PARAMS, SCRATCH
from skiptrace.tables import write_all
from skiptrace.workers import at_once
from stages import needs, needs_of_studies
from stages.common import run, wrote

BOUNDED_BY = "control.words, documents and length"


def main() -> None:
    """Read all grammars."""
    params = load(ControlParams, "control", PARAMS)
    needed = needs_of_studies.of_control(params, at_once(1 + params.grammars), len(WINDOWS))
    needs.state("control", needed, BOUNDED_BY, "SKIPTRACE_WORKERS=1")
    scratch = SCRATCH / "control"
    shutil.rmtree(scratch, ignore_errors=True)  # of an interrupted run, perhaps with other parameters
    found = study(params, scratch)
    with atomic_folder(CONTROL) as folder:
        write_all(folder, tables, found)
    shutil.rmtree(scratch, ignore_errors=True)
    wrote(CONTROL, f"{params.grammars} grammars reported, one chosen on")


if __name__ == "__main__":
    run(main, BOUNDED_BY)
