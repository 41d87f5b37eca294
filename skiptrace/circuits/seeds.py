"""The few numbers of a model's loss and heads that stand first, and how far they vary with the seed of its training."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from skiptrace.circuits.tables import SPREADS

KINDS = {"copying": "copies", "positional": "positional"}


def numbers(heads: pd.DataFrame, losses: pd.DataFrame) -> dict[str, float]:
    """The validation loss (nats per token), heads that copy or are positional, and the best scores of any head.

    `heads` and `losses` are the tables of `score` (`HEADS`, `LOSSES`); of a model without heads, the loss alone.
    """
    found = {"valid_loss": float(losses["loss"].mean())}
    if len(heads):
        found |= {f"{kind}_heads": int(heads[column].sum()) for kind, column in KINDS.items()}
        found |= {f"{score}_max": float(heads[score].max()) for score in ("previous_token", "prefix_matching")}
    return found


def spreads(own: Mapping[str, float], twins: Sequence[Mapping[str, float]]) -> pd.DataFrame:
    """Each number in a model, its mean over its twins, and its standard deviation over all of them (`SPREADS`)."""
    rows = []
    for name, value in own.items() if twins else ():
        theirs = [twin[name] for twin in twins]
        rows.append((name, value, np.mean(theirs), np.std([value, *theirs], ddof=1)))
    return SPREADS.frame(rows)
