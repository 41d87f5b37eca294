"""Train a model, continuing where an interrupted training stopped, or import one that was trained elsewhere.

Reads   params.yaml  models.<m>
        data/tokens/<corpus of m>/train.npy, valid.npy, vocab.parquet, origin.json
        imports/, the checkpoint that models.<m>.import names
Writes  data/models/<m>/model.safetensors, config.json
        data/models/<m>/curve.parquet   step, tokens, train_loss, valid_loss (nats per token); no rows for an import
        data/models/<m>/checkpoints/step-*/   the same two files on the way there, half precision
"""

import shutil
from pathlib import Path

import torch

import skiptrace.models
from skiptrace import arithmetic
from skiptrace.config.models import ImportedModel, ModelParams, load_model
from skiptrace.devices import device
from skiptrace.errors import InputError
from skiptrace.files import atomic_folder, fingerprint, read_json, read_tokens
from skiptrace.layout import IMPORTS, MODELS, PARAMS, SCRATCH, TOKENS
from skiptrace.models import checkpoint
from skiptrace.models.importing import import_model, read_as
from skiptrace.models.loss import ROWS
from skiptrace.models.tables import CURVE
from skiptrace.models.training import config, train
from skiptrace.models.transformer import Transformer
from skiptrace.models.windows import require_context, spread_windows
from skiptrace.tokens.tables import VOCAB
from stages import needs
from stages.common import asked_for, run, wrote

BOUNDED_BY = "batch_size, n_ctx and d_model of the model"
NORM_TOKENS = 16_384  # of validation text, over which 1/std of layer norm is averaged


def main() -> None:
    """Train or import one model."""
    name = asked_for("model", __doc__)
    params = load_model(name, PARAMS)
    d_vocab = len(VOCAB.read(TOKENS / params.corpus, ["token_id"]))
    if isinstance(params, ImportedModel):
        import_one(name, params, d_vocab)
    else:
        train_one(name, params, d_vocab)


def import_one(name: str, params: ImportedModel, d_vocab: int) -> None:
    """Import one model.

    Raises:
        InputError: the checkpoint cannot be imported, or does not fit the tokenizer or the length of its corpus.
    """
    origin = TOKENS / params.corpus / "origin.json"
    bos_id = read_json(origin)["bos_id"] if origin.exists() else 0
    source, place = params.source, params.source.place(IMPORTS)
    model = import_model(place, params.n_ctx, bos_id, source.config, source.ignored, d_vocab, params.padding)
    if model.d_vocab < d_vocab:
        raise InputError(
            f"models.{name}.import: {source.path} has {model.d_vocab} tokens, but the tokenizer of corpus "
            f"{params.corpus} has {d_vocab}; set tokenizers.{params.corpus} to the one it was trained with"
        )
    splits = {"training": "train", "validation": "valid"}
    streams = {split: read_tokens(TOKENS / params.corpus / f"{file}.npy", d_vocab) for split, file in splits.items()}
    require_context(streams, model.n_ctx, params.corpus, name)
    texts = spread_windows(streams["validation"], model.n_ctx, max(1, NORM_TOKENS // model.n_ctx))[:, :-1]
    try:
        model = read_as(model, params.embedding, params.layer_norm, texts)
    except InputError as error:
        raise InputError(f"models.{name}.{error}") from None
    shutil.rmtree(MODELS / name / "checkpoints", ignore_errors=True)
    checkpoint.save(model, MODELS / name)
    CURVE.write(MODELS / name, CURVE.frame())
    wrote(MODELS / name, f"{model.n_layers} layers imported from {source.path} ({model.config.imported_from})")


def train_one(name: str, params: ModelParams, d_vocab: int) -> None:
    """Train one model."""
    inputs = [TOKENS / params.corpus / "train.npy", TOKENS / params.corpus / "valid.npy"]
    code = sorted(Path(skiptrace.models.__path__[0]).glob("*.py"))
    where = device()
    setting = [params.model_dump(), torch.__version__, arithmetic.kernels(), where.type]
    scratch = SCRATCH / "train" / name
    streams = [read_tokens(path, d_vocab) for path in inputs]
    with torch.device("meta"):
        size = Transformer(config(params, d_vocab))
    needs.state(f"train {name}", needs.of_training(size, params, ROWS), BOUNDED_BY)
    state = scratch / fingerprint(setting, [*inputs, *code])
    model, curve = train(params, streams[0], streams[1], d_vocab, state, name, where)
    shutil.rmtree(MODELS / name / "twins", ignore_errors=True)
    checkpoint.save(model, MODELS / name)
    for twin in range(1, params.twins + 1):
        other = params.model_copy(update={"seed": params.seed + twin, "checkpoints": 0})
        of_twin = state / f"twin-{twin}", f"{name}, twin {twin}"
        # Nobody looks at a twin's curve, whose points would be a twentieth of its training.
        found, _ = train(other, streams[0], streams[1], d_vocab, *of_twin, where, points=0)
        checkpoint.save(found, MODELS / name / "twins" / str(twin))
    if params.checkpoints:
        with atomic_folder(MODELS / name / "checkpoints") as kept:
            shutil.copytree(state / "checkpoints", kept, dirs_exist_ok=True)
    CURVE.write(MODELS / name, curve)
    shutil.rmtree(scratch, ignore_errors=True)
    wrote(MODELS / name, f"{params.steps} steps, validation loss {curve['valid_loss'].iloc[-1]:.3f} nats")


if __name__ == "__main__":
    run(main, BOUNDED_BY)
