"""Train a model, continuing where an interrupted training stopped.

Reads   params.yaml  models.<m>
        data/tokens/<corpus of m>/train.npy, valid.npy, vocab.parquet
Writes  data/models/<m>/model.safetensors, config.json
        data/models/<m>/curve.csv   step, tokens, train_loss, valid_loss (nats per token)
        data/models/<m>/checkpoints/step-*/   the same two files on the way there, half precision
"""

import shutil
from pathlib import Path

import torch

import skiptrace.models
from skiptrace.config.base import load
from skiptrace.config.models import ModelParams
from skiptrace.files import atomic_folder, fingerprint, read_array, read_table, write_text
from skiptrace.models import checkpoint
from skiptrace.models.training import train
from stages.common import MODELS, PARAMS, SCRATCH, TOKENS, asked_for, run


def main() -> None:
    """Train one model."""
    name = asked_for("model", __doc__)
    params = load(ModelParams, f"models.{name}", PARAMS)
    source = TOKENS / params.corpus
    inputs = [source / "train.npy", source / "valid.npy"]
    code = sorted(Path(skiptrace.models.__path__[0]).glob("*.py"))
    setting = [params.model_dump(), torch.__version__, torch.get_num_threads()]
    scratch = SCRATCH / "train" / name
    d_vocab = len(read_table(source / "vocab.parquet", ["token_id"]))
    streams = [read_array(path) for path in inputs]
    state = scratch / fingerprint(setting, [*inputs, *code])
    model, curve = train(params, streams[0], streams[1], d_vocab, state, name)
    checkpoint.save(model, MODELS / name)
    if params.checkpoints:
        with atomic_folder(MODELS / name / "checkpoints") as kept:
            # A killed run may have left hidden temporary files beside them.
            shutil.copytree(state / "checkpoints", kept, ignore=shutil.ignore_patterns(".*"), dirs_exist_ok=True)
    write_text(MODELS / name / "curve.csv", curve.to_csv(index=False))
    shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    run(main)
