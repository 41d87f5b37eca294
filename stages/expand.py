"""Expand every circuit of a model to Parquet, chunk by chunk.

Reads   params.yaml  expansion
        data/models/<m>/
Writes  data/circuits/<m>/circuit=<direct|ov|qk>/layer=<l>/head=<h>/part-*.parquet
        data/circuits/<m>/circuit=<virtual_ov|k_composition>/layer=<l1>-<l2>/head=<h1>-<h2>/part-*.parquet
            token_id, row_min, row_max, values (half precision, one per column token)
"""

from skiptrace.circuits.factored import all_circuits
from skiptrace.config.base import load
from skiptrace.config.expansion import ExpansionParams
from skiptrace.expansion.writer import write
from skiptrace.files import atomic_folder
from skiptrace.models import checkpoint
from stages.common import CIRCUITS, MODELS, PARAMS, asked_for, run


def main() -> None:
    """Expand one model."""
    name = asked_for("model", __doc__)
    params = load(ExpansionParams, "expansion", PARAMS)
    model = checkpoint.load(MODELS / name)
    with atomic_folder(CIRCUITS / name) as folder:
        write(all_circuits(model, params.virtual_heads), folder, params)


if __name__ == "__main__":
    run(main)
