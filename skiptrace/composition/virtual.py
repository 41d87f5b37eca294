"""Scores of virtual heads: two heads in turn, with pattern A^h₂A^h₁ and OV matrix W_E W_OV^h₁ W_OV^h₂ W_U.

"A Mathematical Framework", section "Virtual Attention Heads".
"""

import pandas as pd
import torch

from skiptrace.circuits.factored import k_composition, strongest_pairs, virtual_ov
from skiptrace.circuits.paths import label
from skiptrace.circuits.scores import copying, own_row
from skiptrace.composition.induction import eigenvalue_nulls
from skiptrace.composition.tables import VIRTUAL_HEADS
from skiptrace.config.scoring import ScoringParams
from skiptrace.models.transformer import Transformer


@torch.no_grad()
def virtual_heads(model: Transformer, params: ScoringParams, most: int | None = None) -> pd.DataFrame:
    """Copying of virtual heads and eigenvalues of K-composition circuits, of the `most` strongest pairs or of all.

    Beside random heads between this model's embeddings. `own_top1`, `k_own_top1`: how often a token is first in its
    own row.
    """
    rows = []
    if model.n_layers > 1:
        ov_null, k_null = eigenvalue_nulls(model, 2, params)
    for pair in strongest_pairs(model, most):
        ov, k = virtual_ov(model, *pair), k_composition(model, *pair)
        score, own = copying(ov), own_row([ov])
        rows.append(
            {
                "name": label(pair),
                "copying": score,
                "copying_null_mean": ov_null.mean,
                "copying_null_sd": ov_null.sd,
                "copies": score > ov_null.mean + params.null_sd * ov_null.sd,
                "own_top1": own.top1,
                "own_top5": own.top5,
                "k_eigenvalues": copying(k),
                "k_null_mean": k_null.mean,
                "k_null_sd": k_null.sd,
                "k_own_top1": own_row([k]).top1,
                "chance_top1": 1 / model.d_vocab,
            }
        )
    return VIRTUAL_HEADS.frame(rows)
