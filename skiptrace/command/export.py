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
    found = checkpoint.load(made(MODELS / model))
    to_transformer_lens(found, out, standard=to is Format.transformer_lens_4)
    typer.echo(f"{out}: {to.value}, {found.n_layers} layers, {found.d_vocab} tokens")
