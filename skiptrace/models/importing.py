"""Importing: a checkpoint made elsewhere becomes a model whose circuits can be read."""

from dataclasses import replace
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from skiptrace.errors import InputError
from skiptrace.models import formats
from skiptrace.models.original import Original, fold
from skiptrace.models.transformer import Transformer


def import_model(path: Path, n_ctx: int | None, bos_id: int) -> Transformer:
    """Read a checkpoint, fold it and give its start-of-document token the id 0; `config` says where it came from.

    `n_ctx` shortens the context; `bos_id` is that token's id in the checkpoint, which token 0 takes in exchange.

    Raises:
        InputError: the checkpoint cannot be read or imported, its context is shorter, or it has no such token.
    """
    original, kind = formats.read(path)
    if n_ctx is not None:
        if n_ctx > len(original.W_pos):
            raise InputError(f"{path}: has positions for {len(original.W_pos)} tokens, not for n_ctx = {n_ctx}")
        original.W_pos = original.W_pos[:n_ctx].clone()
    if bos_id >= len(original.W_E):
        raise InputError(f"{path}: has {len(original.W_E)} tokens, none with the id {bos_id} of the tokenizer's bos")
    _exchange(original, bos_id)
    d_model = original.W_E.shape[1]
    model, processing, approximate = fold(original)
    model.config = replace(
        model.config,
        imported_from=kind,
        d_model_imported=d_model,
        processing=processing,
        approximate=approximate,
    )
    return model


def _exchange(original: Original, bos_id: int) -> None:
    def exchange(rows: Float[Tensor, "d_vocab ..."]) -> None:
        rows[[0, bos_id]] = rows[[bos_id, 0]]

    if bos_id:
        exchange(original.W_E)
        exchange(original.W_U.T)
        exchange(original.b_U)
