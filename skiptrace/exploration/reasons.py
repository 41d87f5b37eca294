"""Why heads attend and why tokens are predicted, at every place of the texts that the page shows."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from skiptrace.circuits.attention import TOKEN, Part, parts, score_terms
from skiptrace.circuits.factored import head_name, heads
from skiptrace.circuits.paths import label, path_count
from skiptrace.exploration.patterns import SHOWN
from skiptrace.exploration.tables import GUESS_PATHS, SCORE_TERMS
from skiptrace.models.transformer import Transformer

KEPT = 3  # terms of a score, and paths of a prediction, that are kept, the largest ones
MOST = 32  # paths into a head whose pairs are looked at; a head that more lead into has no terms here
LISTED = 512  # paths of a prediction that are looked at; a model with more has none here


@torch.no_grad()
def reasons(model: Transformer, texts: list[list[int]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`SCORE_TERMS` and `GUESS_PATHS` on texts, over their last `SHOWN` tokens."""
    scores, guesses = [], []
    for number, ids in enumerate(texts):
        tokens = torch.tensor(ids[: model.n_ctx])
        patterns = model.patterns(tokens[None])
        for layer in range(model.n_layers):
            if path_count(layer, model.n_heads) > MOST:
                break
            written = parts(model, tokens, patterns, layer)
            named = [f"{a.name} × {b.name}" for a in written for b in written]
            for head in (head for head in heads(model) if head[0] == layer):
                which, above = largest_terms(score_terms(model, written, head).flatten(0, 1)[:, -SHOWN:])
                rows = {"text": number, "name": head_name(head), "terms": named, "which": which, "above": above}
                scores.append(rows)
        if path_count(model.n_layers, model.n_heads) <= LISTED:
            guessed = model(tokens[None])[0].argmax(-1)
            written = parts(model, tokens, patterns, model.n_layers, LISTED)
            guesses += [{"text": number} | row for row in _paths(model, written, guessed)]
    return SCORE_TERMS.frame(scores), GUESS_PATHS.frame(guesses)


def largest_terms(
    terms: Float[Tensor, "terms rows ctx"],
) -> tuple[Int[np.ndarray, " cells_by_kept"], Float[np.ndarray, " cells_by_kept"]]:
    """For every cell of the lower triangle, row after row, its `KEPT` terms by |above|, and these.

    The rows are the last destinations; of the sources, those among the same places have a cell.
    """
    _, rows, ctx = terms.shape
    which, values = [], []
    for row in range(rows):
        seen = terms[:, row, : ctx - rows + row + 1]
        above = (seen - seen.mean(1, keepdim=True))[:, ctx - rows :]
        order = above.abs().topk(min(KEPT, len(above)), dim=0).indices
        which.append(order.T.flatten())
        values.append(above.gather(0, order).T.flatten())
    return torch.cat(which).numpy(), torch.cat(values).numpy()


def _paths(model: Transformer, written: list[Part], guessed: Tensor) -> Iterator[dict[str, Any]]:
    """The paths that add most to the likeliest next token at each place: logit less its mean over all tokens."""
    towards = model.W_U[:, guessed].T - model.W_U.mean(1)
    by_source = torch.stack([part.looks * (towards @ part.carried.T) for part in written])
    logits = by_source.sum(-1)
    sources = (by_source * logits.sign()[..., None]).argmax(-1)
    for place in range(len(guessed))[-SHOWN:]:
        order = logits[:, place].abs().topk(min(KEPT, len(written))).indices.tolist()
        yield {
            "position": place,
            "paths": [label(()) if written[i].name == TOKEN else written[i].name for i in order],
            "logits": [logits[i, place].item() for i in order],
            "sources": [int(sources[i, place]) for i in order],
        }
