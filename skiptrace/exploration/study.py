"""Every table of what the page looks up in one model."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Integer

from skiptrace.config.exploration import ExplorationParams
from skiptrace.exploration import circuits, patterns
from skiptrace.exploration.neighbours import entries
from skiptrace.exploration.reasons import reasons
from skiptrace.mining.vocabulary import Vocabulary
from skiptrace.models.transformer import Transformer


@dataclass(frozen=True)
class Known:
    """What is known of a model: its head scores, mined rows, frequent tokens (`agreement`), and example texts."""

    heads: pd.DataFrame
    skip_trigrams: pd.DataFrame
    agreement: pd.DataFrame
    example_texts: pd.DataFrame


@dataclass(frozen=True)
class Text:
    """Validation tokens, and the bigram counts (`token_id, next_id, count`) of the training text."""

    valid: Integer[np.ndarray, " n"]
    bigrams: pd.DataFrame


def explore(
    model: Transformer, known: Known, vocabulary: Vocabulary, text: Text, min_count: int, params: ExplorationParams
) -> dict[str, pd.DataFrame]:
    """The tables by their names; of a model without heads, those on heads and texts have no rows."""
    shown = torch.tensor(vocabulary.most_frequent(params.tokens))
    texts = patterns.chosen(known.example_texts, text.valid) if len(known.heads) else []
    read, seen = patterns.patterns(model, texts)
    terms, paths = reasons(model, texts)
    frequent = known.agreement["token_id"].tolist() if model.n_layers == 0 else []
    side = min(params.corner, model.d_vocab)
    return {
        "entries": entries(model, shown, vocabulary.eligible(min_count), vocabulary.probability, params.entries),
        "texts": read,
        "patterns": seen,
        "score_terms": terms,
        "guess_paths": paths,
        "corners": circuits.corners(model, known.skip_trigrams, vocabulary, side),
        "layers": circuits.layers(model),
        "direct": circuits.direct_against_corpus(model, frequent, text.bigrams),
    }
