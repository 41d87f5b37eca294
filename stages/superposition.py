"""Train the toy models, and do the mathematics around them.

Reads   params.yaml  superposition
Writes  data/superposition/<table>.parquet      one per experiment; what its rows are, the experiment says
        data/superposition/weights.safetensors  <experiment>.<variant>.W and .b, one model after the other
"""

from skiptrace.config.base import load
from skiptrace.config.superposition import SuperpositionParams
from skiptrace.files import atomic_folder, write_tensors
from skiptrace.layout import PARAMS, SUPERPOSITION
from skiptrace.superposition import experiments, tables
from skiptrace.tables import write_all
from stages.common import run, wrote


def main() -> None:
    """Run all experiments."""
    outcome = experiments.run(load(SuperpositionParams, "superposition", PARAMS))
    with atomic_folder(SUPERPOSITION) as folder:
        write_all(folder, tables, outcome.tables)
        write_tensors(folder / "weights.safetensors", outcome.weights)
    wrote(SUPERPOSITION, f"{len(outcome.tables)} tables of toy models")


if __name__ == "__main__":
    run(main)
