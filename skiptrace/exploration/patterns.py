"""Attention patterns of every head, and the likeliest next tokens, on short texts."""

import math
from collections.abc import Iterable
from itertools import islice

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int, Integer
from torch import Tensor

from skiptrace.circuits.factored import head_name, heads
from skiptrace.composition.terms import frozen_runs
from skiptrace.exploration.tables import PATTERNS, TEXTS
from skiptrace.models.transformer import Transformer
from skiptrace.models.windows import BOS_ID

LENGTH = 48  # tokens of the text that validation begins with
SHOWN = 48  # tokens of a text whose attention is kept, its last ones; the model reads all of it
GUESSES = 3  # next tokens named at each place


def chosen(examples: pd.DataFrame, stream: Integer[np.ndarray, " n"]) -> list[list[int]]:
    """The texts of data/compose/<m>/example_texts, then the beginning of the validation text, each led by BOS."""
    found = [group["token_id"].tolist() for _, group in examples.groupby("example")]
    found.append(stream[:LENGTH].tolist())
    return [ids if ids[0] == BOS_ID else [BOS_ID, *ids] for ids in found]


@torch.no_grad()
def token_losses_of(model: Transformer, tokens: Int[Tensor, "1 ctx"]) -> tuple[list[float], list[float]]:
    """The loss on every token of a text: of the model, and of the model without its deepest paths (nats).

    These are the paths through as many heads as there are layers: in a model of one layer all that attention does. The
    others run with its attention frozen, as in `composition.terms`. As everywhere, nothing is predicted from BOS alone.
    NaN for the first two tokens, and where the paths do not add up to the model.
    """
    found = []
    runs = frozen_runs(model, tokens, model.patterns(tokens)) if model.linear else None
    shallow = None if runs is None else next(islice(runs, max(0, model.n_layers - 1), None))
    for stream in (model.residual(tokens), shallow):
        if stream is None:
            found.append([math.nan] * tokens.shape[1])
        else:
            last = model.normalise(stream)[0, 1:-1]
            found.append([math.nan] * min(2, tokens.shape[1]) + model.losses(last, tokens[0, 2:]).tolist())
    return found[0], found[1]


@torch.no_grad()
def patterns(model: Transformer, texts: Iterable[list[int]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What a model does on texts, cut at its context (`TEXTS`), and its patterns there (`PATTERNS`).

    A pattern is its lower triangle row after row over the last `SHOWN` tokens, row i for the destination at the i-th
    of them; what is missing from 1 in a row is attention to tokens before them.
    """
    read, seen = [], []
    for number, ids in enumerate(texts):
        tokens = torch.tensor([ids[: model.n_ctx]])
        size = min(SHOWN, tokens.shape[1])
        below = torch.ones(size, size).tril().bool()
        every = [head for layer in model.patterns(tokens) for head in layer[0]]
        for head, pattern in zip(heads(model), every, strict=True):
            seen.append({"text": number, "name": head_name(head), "attention": pattern[-size:, -size:][below].numpy()})
        loss, shallow = token_losses_of(model, tokens)
        top = model(tokens)[0].softmax(-1).topk(min(GUESSES, model.d_vocab))
        for position, token in enumerate(tokens[0].tolist()):
            guesses = {"guess_ids": top.indices[position].numpy(), "probabilities": top.values[position].numpy()}
            losses = {"loss": loss[position], "shallow_loss": shallow[position]}
            read.append({"text": number, "position": position, "token_id": token} | guesses | losses)
    return TEXTS.frame(read), PATTERNS.frame(seen)
