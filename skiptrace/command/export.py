"""`skiptrace export`: a model of the pipeline in the format of another library.

Reads   data/models/<m>/
Writes  model.safetensors and config.json into the folder asked for
"""

from pathlib import Path

import typer

from skiptrace.command.models import in_pipeline, made
from skiptrace.command.questions import Format
from skiptrace.config.models import load_model
from skiptrace.errors import InputError
from skiptrace.layout import MODELS, PARAMS
from skiptrace.models import checkpoint
from skiptrace.models.export import to_transformer_lens


def answer(model: str, to: Format, out: Path) -> None:
    """Write a model into a new folder.

    Raises:
        InputError: there is no such model, or the folder exists.
    """
    in_pipeline()
    load_model(model, PARAMS)
    if out.exists():
        raise InputError(f"export: {out} exists; name a folder that does not")
    config = checkpoint.read_config(made(MODELS / model) / "config.json")
    to_transformer_lens(checkpoint.load(MODELS / model), config, out)
    typer.echo(f"{out}: {to.value}, {config.n_layers} layers, {config.d_vocab} tokens")
