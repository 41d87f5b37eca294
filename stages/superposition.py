"""Train the toy models, and do the mathematics around them.

Reads   params.yaml  superposition
Writes  data/superposition/<table>.parquet      one per experiment; what its rows are, the experiment says
        data/superposition/weights.safetensors  <experiment>.<variant>.W and .b, one model after the other
"""

import pyarrow as pa

from skiptrace.config.base import load
from skiptrace.config.superposition import SuperpositionParams
from skiptrace.files import atomic_folder, write_table, write_tensors
from skiptrace.layout import PARAMS, SUPERPOSITION
from skiptrace.superposition import experiments
from stages.common import run, wrote


def main() -> None:
    """Run all experiments."""
    outcome = experiments.run(load(SuperpositionParams, "superposition", PARAMS))
    with atomic_folder(SUPERPOSITION) as folder:
        for name, table in outcome.tables.items():
            write_table(folder / f"{name}.parquet", pa.Table.from_pandas(table, preserve_index=False))
        write_tensors(folder / "weights.safetensors", outcome.weights)
    wrote(SUPERPOSITION, f"{len(outcome.tables)} tables of toy models")


if __name__ == "__main__":
    run(main)
