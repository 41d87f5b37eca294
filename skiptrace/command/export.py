"""`skiptrace export`: a model of the pipeline in the format of another library.

Reads   data/models/<m>/
Writes  model.safetensors and config.json into the folder asked for
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from skiptrace.config.models import load_model
from skiptrace.errors import InputError
from skiptrace.layout import MODELS, PARAMS
from skiptrace.models import checkpoint
from skiptrace.models.export import to_transformer_lens


class Format(StrEnum):
    """Libraries that a model can be written for."""

    transformer_lens = "transformer-lens"


def export(
    model: Annotated[str, typer.Option(help="a key of models in params.yaml")],
    to: Annotated[Format, typer.Option(help="the library that shall read it")],
    out: Annotated[Path, typer.Option(help="the folder to write, which must not exist yet")],
) -> None:
    """Write a model for another library; importing it again gives the same logits."""
    load_model(model, PARAMS)
    if out.exists():
        raise InputError(f"export: {out} exists; name a folder that does not")
    config = checkpoint.read_config(MODELS / model / "config.json")
    to_transformer_lens(checkpoint.load(MODELS / model), config, out)
    typer.echo(f"{out}: {to.value}, {config.n_layers} layers, {config.d_vocab} tokens")
