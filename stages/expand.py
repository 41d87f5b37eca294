"""Expand the circuits of a model to Parquet, part by part, continuing where an interrupted expansion stopped.

Reads   params.yaml  expansion
        data/models/<m>/
Writes  data/circuits/<m>/circuit=<direct|ov|qk>/layer=<l>/head=<h>/part-*.parquet
        data/circuits/<m>/circuit=qk_at_<distance>/layer=<l>/head=<h>/part-*.parquet   of rotary positions
        data/circuits/<m>/circuit=<virtual_ov|k_composition>/layer=<l1>-<l2>/head=<h1>-<h2>/part-*.parquet
            token_id, row_min, row_max, values (half precision, one per column token)
        data/circuits/<m>/_circuits.json   which circuits there are, whether stored or not
"""

import os
import shutil
from pathlib import Path

from skiptrace.circuits.factored import Name, chosen, names
from skiptrace.config.base import load
from skiptrace.config.expansion import ExpansionParams
from skiptrace.devices import device
from skiptrace.expansion.writer import Stored, parts, refuse_too_much, write
from skiptrace.files import atomic_folder, write_json
from skiptrace.layout import CIRCUITS, MODELS, PARAMS, SCRATCH
from skiptrace.models import checkpoint
from skiptrace.workers import at_once
from stages import needs
from stages.common import asked_for, run, wrote

BOUNDED_BY = "expansion.row_group_rows"


def main() -> None:
    """Expand one model."""
    name = asked_for("model", __doc__)
    params = load(ExpansionParams, "expansion", PARAMS)
    model = checkpoint.load(MODELS / name)
    found = chosen(names(model, params.virtual_heads, params.offsets), params.kinds, params.only)
    scratch = SCRATCH / "expand" / name
    with atomic_folder(CIRCUITS / name) as folder:
        content = {"store": params.store, "circuits": [n._asdict() for n in found]}
        write_json(folder / "_circuits.json", content, sealed=True)
        if params.store == "full":
            refuse_too_much(len(found), model.d_vocab, params, scratch)
            needed = needs.of_expansion(model, at_once(len(found)), params.row_group_rows)
            needs.state(f"expand {name}", needed, BOUNDED_BY)
            stored = [Stored(str((MODELS / name).resolve()), circuit, device()) for circuit in found]
            write(stored, model.d_vocab, str(scratch.resolve()), params, model.config.readings)
            link_parts(found, model.d_vocab, params, scratch, folder)
    shutil.rmtree(scratch, ignore_errors=True)
    wrote(CIRCUITS / name, f"{len(found)} circuits {'stored' if params.store == 'full' else 'listed, none stored'}")


def link_parts(found: list[Name], d_vocab: int, params: ExpansionParams, scratch: Path, folder: Path) -> None:
    """Link the finished parts, and nothing else that lies there, into the folder."""
    for path in [part.path for circuit in found for part in parts(circuit, d_vocab, params)]:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(scratch / path, folder / path)
        except OSError:  # a file system without hard links
            shutil.copyfile(scratch / path, folder / path)


if __name__ == "__main__":
    run(main, BOUNDED_BY)
