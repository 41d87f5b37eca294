"""Importing: a checkpoint made elsewhere becomes a model whose circuits can be read."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from jaxtyping import Float, Int
from torch import Tensor, nn

from skiptrace.errors import InputError
from skiptrace.models import formats
from skiptrace.models.config import Embedding
from skiptrace.models.evaluation import norm_scales
from skiptrace.models.foreign import Source
from skiptrace.models.original import WITHOUT_MLPS, WITHOUT_STD, Original, fold
from skiptrace.models.tensors import Tensors
from skiptrace.models.transformer import Transformer


def import_model(
    path: Path,
    n_ctx: int | None,
    bos_id: int,
    config: Mapping[str, Any] | str | None = None,
    ignored: tuple[str, ...] = (),
    d_vocab: int | None = None,
    padding: Literal["drop", "keep"] = "drop",
) -> Transformer:
    """Read a checkpoint, fold it and give its start-of-document token the id 0; its config says where it came from.

    `n_ctx` shortens the context; `bos_id` is that token's id in the checkpoint, which token 0 takes in exchange.
    `config` and `ignored` are as in `formats.read`. `d_vocab` is the number of tokens of its tokenizer, None if nobody
    knows; what becomes of rows beyond them, which are padding, `padding` says.

    Raises:
        InputError: the checkpoint cannot be read or imported, its context is shorter, or it has no such token.
    """
    read = formats.read(path, config, ignored)
    if d_vocab is not None and len(read.original.W_E) > d_vocab:
        _settle_padding(read.original, d_vocab, padding)
    return folded(read, n_ctx, bos_id, path)


def folded(read: formats.Read, n_ctx: int | None, bos_id: int, said: Path | str) -> Transformer:
    """What was read from `said` as a model, its vocabulary as it is.

    Raises:
        InputError: its context is shorter, or it has no such token.
    """
    original = read.original
    if n_ctx is not None:
        if n_ctx > len(original.W_pos):
            raise InputError(f"{said}: has positions for {len(original.W_pos)} tokens, not for n_ctx = {n_ctx}")
        nowhere = original.positions in ("relative", "rotary")
        original.W_pos = original.W_pos[:n_ctx] if nowhere else original.W_pos[:n_ctx].clone()
        original.bias = None if original.bias is None else original.bias[..., :n_ctx].clone()
    if bos_id >= len(original.W_E):
        raise InputError(f"{said}: has {len(original.W_E)} tokens, none with the id {bos_id} of the tokenizer's bos")
    _exchange(original, bos_id)
    d_model = original.W_E.shape[1]
    model, processing, approximate = fold(original)
    model.config = replace(
        model.config,
        imported_from=read.format,
        imported_config=read.config,
        d_model_imported=d_model,
        processing=processing,
        approximate=approximate,
    )
    return model


def read_as(
    model: Transformer, embedding: Embedding, norm: Literal["leave_out", "mean"], tokens: Int[Tensor, "batch ctx"]
) -> Transformer:
    """The same model with circuits that go through the first MLP, or through layer norm at its mean over `tokens`.

    Its config says so. In place; what the model predicts stays.

    Raises:
        InputError: it has no MLP, or no layer norm.
    """
    config = model.config
    left_out = {each: each for each in config.approximate or []}
    scales = None
    if embedding == "effective":
        if config.attn_only:
            raise InputError(
                "embedding: effective needs an MLP in the first layer, and the model has none; leave it out"
            )
        left_out[WITHOUT_MLPS] = (
            "circuits of layers after the first, and of the unembedding, read each token with what the first layer's "
            "MLP makes of it alone, its layer norm exact for that token (embedding: effective); they leave out the "
            "other MLPs, and what heads write into the first"
        )
    if norm == "mean":
        if config.normalization_type is None:
            raise InputError("layer_norm: mean has no meaning, since the model has no layer norm; leave it out")
        scales, spread = norm_scales(model, tokens)
        names = [*(f"layer {index}" for index in range(model.n_layers)), "unembedding"]
        each = ", ".join(f"{n} {m:.3g} ± {sd:.2g}" for n, m, sd in zip(names, scales, spread, strict=True))
        left_out[WITHOUT_STD] = (
            f"circuits have 1/std of layer norm at its mean over {tokens[:, 1:].numel():,} tokens of validation text "
            f"(layer_norm: mean), and leave out how it differs from place to place: {each} (one standard deviation)"
        )
    model.config = replace(config, embedding=embedding, norm_scales=scales, approximate=list(left_out.values()))
    return model


def from_transformer_lens(model: nn.Module, n_ctx: int | None = None, bos_id: int = 0) -> Transformer:
    """A HookedTransformer in memory as a model whose circuits can be read.

    `n_ctx` shortens the context; `bos_id` is the token that starts a document, which changes places with token 0.

    Raises:
        InputError: its config has a key or value that cannot be imported; names it.
    """
    return _in_memory(model, getattr(model, "cfg", None), "a HookedTransformer, with its config as cfg", n_ctx, bos_id)


def from_transformers(model: nn.Module, n_ctx: int | None = None, bos_id: int = 0) -> Transformer:
    """The same of a model of the library transformers, such as a GPT2LMHeadModel.

    Raises:
        InputError: as `from_transformer_lens`.
    """
    return _in_memory(model, getattr(model, "config", None), "a model of transformers, with its config", n_ctx, bos_id)


def _in_memory(model: nn.Module, config: Any, expected: str, n_ctx: int | None, bos_id: int) -> Transformer:
    said = type(model).__name__
    if not hasattr(config, "to_dict"):
        raise InputError(f"{said}: expected {expected}")
    content = formats.plain(config.to_dict())
    read = formats.of_tensors(content, Tensors.of_state(model.state_dict(), said), Source(f"{said}: config"))
    return folded(read, n_ctx, bos_id, said)


def _settle_padding(original: Original, d_vocab: int, padding: Literal["drop", "keep"]) -> None:
    rows = len(original.W_E)
    those = f"{rows - d_vocab} of {rows} rows of the vocabulary, to which the tokenizer gives no token,"
    if padding == "keep":
        original.read_as.append(f"{those} kept: they have their part of the probability, and no table lists them")
        return
    original.W_E = original.W_E[:d_vocab].clone()
    original.W_U = original.W_U[:, :d_vocab].clone()
    original.b_U = original.b_U[:d_vocab].clone()
    original.read_as.append(
        f"{those} dropped: the logits of the tokens stay, and their probabilities add up to one without them"
    )


def _exchange(original: Original, bos_id: int) -> None:
    def exchange(rows: Float[Tensor, "d_vocab ..."]) -> None:
        rows[[0, bos_id]] = rows[[bos_id, 0]]

    if bos_id:
        exchange(original.W_E)
        exchange(original.W_U.T)
        exchange(original.b_U)
