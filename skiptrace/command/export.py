"""`skiptrace export`: a model of the pipeline in the format of another library.

Reads   data/models/<m>/, data/tokens/<corpus of m>/tokenizer.json
Writes  model.safetensors and config.json into the folder asked for, and the tokenizer for transformers
"""

from pathlib import Path

import typer

from skiptrace.command.models import in_pipeline, made, open_model
from skiptrace.command.questions import Format
from skiptrace.config.models import load_model
from skiptrace.errors import InputError
from skiptrace.layout import MODELS, PARAMS
from skiptrace.models import checkpoint
from skiptrace.models.export import to_transformer_lens
from skiptrace.models.export_transformers import to_transformers


def answer(model: str, to: Format, out: Path) -> None:
    """Write a model into a new folder.

    Raises:
        InputError: there is no such model, or the folder exists.
    """
    in_pipeline()
    load_model(model, PARAMS)
    if out.exists():
        raise InputError(f"export: {out} exists; name a folder that does not")
    said = to.value
    if to is Format.transformers:
        studied = open_model(model)
        found = studied.model
        said = f"{said}, {to_transformers(found, out, studied.tokenizer)}"
    else:
        found = checkpoint.load(made(MODELS / model))
        to_transformer_lens(found, out, standard=to is Format.transformer_lens_4)
    typer.echo(f"{out}: {said}, {found.n_layers} layers, {found.d_vocab} tokens")
