"""Attention patterns of every head on short texts, for the page to draw."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Integer

from skiptrace.models.transformer import Transformer
from skiptrace.models.windows import BOS_ID

LENGTH = 48  # tokens of the text that validation begins with
GUESSES = 3  # next tokens named at each place


@dataclass(frozen=True)
class Text:
    """A text and what the model does on it.

    `patterns`: per head the lower triangle, row after row, in percent; row i is the destination.
    `guesses` and `chances`: the likeliest next tokens at each place, and their probabilities in percent.
    """

    ids: list[int]
    patterns: list[list[int]]
    guesses: list[list[int]]
    chances: list[list[int]]


def texts(model: Transformer, examples: pd.DataFrame, stream: Integer[np.ndarray, " n"]) -> list[Text]:
    """The texts of data/compose/<m>/example_texts, each led by BOS, then the beginning of the validation text."""
    chosen = [group["token_id"].tolist() for _, group in examples.groupby("example")]
    chosen.append(stream[:LENGTH].tolist())
    return [_text(model, ids) for ids in chosen]


@torch.no_grad()
def _text(model: Transformer, ids: list[int]) -> Text:
    ids = ids if ids[0] == BOS_ID else [BOS_ID, *ids]
    tokens = torch.tensor([ids[: model.n_ctx]])
    below = torch.ones(tokens.shape[1], tokens.shape[1]).tril().bool()
    percent = [(head[below] * 100).round().int().tolist() for layer in model.patterns(tokens) for head in layer[0]]
    top = model(tokens)[0].softmax(-1).topk(min(GUESSES, model.d_vocab))
    return Text(tokens[0].tolist(), percent, top.indices.tolist(), (top.values * 100).round().int().tolist())
