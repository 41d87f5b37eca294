"""Attention patterns of every head, and the likeliest next tokens, on short texts."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
import torch
from jaxtyping import Integer

from skiptrace.circuits.factored import head_name, heads
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
        top = model(tokens)[0].softmax(-1).topk(min(GUESSES, model.d_vocab))
        for position, token in enumerate(tokens[0].tolist()):
            guesses = {"guess_ids": top.indices[position].numpy(), "probabilities": top.values[position].numpy()}
            read.append({"text": number, "position": position, "token_id": token} | guesses)
    return TEXTS.frame(read), PATTERNS.frame(seen)
