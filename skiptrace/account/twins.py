"""What recurs in models that differ in their seed alone: rows under each ranking, and the losses of the ladder."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from skiptrace.account.entries import applies, split
from skiptrace.account.listing import CHOSEN_ON
from skiptrace.account.replaced import averages
from skiptrace.account.study import ALL, Text, ladder
from skiptrace.account.tables import HEADLINE_RUNGS, HEADLINES, OVERLAPS
from skiptrace.account.worth import worth
from skiptrace.config.account import AccountParams
from skiptrace.models.transformer import Transformer
from skiptrace.models.windows import random_windows, spread_windows

THIRDS = 3  # of the tokens by frequency, in each role: one is rare, one is common
FIRST = 100  # rows of a ranking that are compared
NATS = "nats"
RANKINGS = {"published": "rank_published", "expected": "rank_expected"}  # by weights; `NATS` is by loss
ROW = ["source_id", "destination_id", "out_id"]  # the heads of two models have no order in common


def overlaps(
    model: Transformer, mined: pd.DataFrame, twins: Sequence[tuple[Transformer, pd.DataFrame]], text: Text, seed: int
) -> pd.DataFrame:
    """How many of the first rows of each ranking are among the first of a twin's, whatever the head.

    `mined` and those of the twins are the rows of either with `head`, ids, `rank_published` and `rank_expected`, each
    mined from its own weights. By `NATS` they are ordered by what they save on the same training text (`chosen_nats`,
    as in `account.tables.ROWS`, where it is known), in models that are the sum of their circuits. `chance`: the share
    if both orders of their rows were random, |A ∩ B| n / (|A| |B|) with n the rows compared of A and of B, distinct
    ones. `chance_matched` is `matched_chance`. Columns: `account.tables.OVERLAPS`.
    """
    mine = _orders(model, mined, text, seed)
    found = []
    for number, (twin, rows) in enumerate(twins):
        theirs = _orders(twin, rows, text, seed)
        for ranking in mine:
            a, b = mine[ranking], theirs[ranking]
            n = min(FIRST, len(a), len(b))
            shared = len(a[:n].intersection(b[:n]))
            chance = len(a.intersection(b)) * n / (len(a) * len(b)) if n else np.nan
            matched = matched_chance(a[:n], b, text.frequency.numpy()) if n else np.nan
            found.append((number, ranking, n, shared / n if n else np.nan, chance, matched))
    return OVERLAPS.frame(found)


def matched_chance(first: pd.MultiIndex, order: pd.MultiIndex, frequency: Float[np.ndarray, " d_vocab"]) -> float:
    """The expected share of the first rows of `order` that are among `first`, if frequency alone made the order.

    Rows are put in cells: thirds, by frequency, of the sources, of the destinations and of the outputs of `order`. The
    first n rows have k_c in cell c, which holds s_c rows in all, h_c of them among `first`; drawn at random within
    their cells they would share Σ_c k_c h_c / s_c of the n. Two models that prefer frequent tokens, and no more, do so.
    """
    ids = order.to_frame(index=False).to_numpy()
    ranks = np.argsort(np.argsort(frequency[ids], axis=0, kind="stable"), axis=0, kind="stable")
    cell = (ranks * THIRDS // len(ids)) @ THIRDS ** np.arange(ids.shape[1])
    size, hits = np.bincount(cell), np.bincount(cell, order.isin(first))
    n = len(first)
    return float((hits / np.maximum(size, 1))[cell[:n]].mean())


def _orders(model: Transformer, rows: pd.DataFrame, text: Text, seed: int) -> dict[str, pd.MultiIndex]:
    """The distinct rows in each order, best first."""
    orders = {ranking: rows.sort_values(column, kind="stable") for ranking, column in RANKINGS.items()}
    if applies(model):
        if "chosen_nats" in rows:
            saved = rows["chosen_nats"].to_numpy()
        else:
            windows = random_windows(text.train, model.n_ctx, CHOSEN_ON, seed, 0)
            saved = worth(split(model, text.frequency), rows, windows).nats
        orders[NATS] = rows.iloc[np.argsort(-saved, kind="stable")]
    return {
        ranking: pd.MultiIndex.from_frame(each[ROW].astype("int64").drop_duplicates())
        for ranking, each in orders.items()
    }


def headlines(own: pd.DataFrame, twins: Sequence[Transformer], text: Text, params: AccountParams) -> pd.DataFrame:
    """The ladder's headline numbers of a model, whose ladder is `own`, and of its twins, on the same contexts.

    `spread` is the standard deviation over the model and its twins. Columns: `account.tables.HEADLINES`.
    """
    ladders = [own]
    for twin in twins:
        held_out = spread_windows(text.valid, twin.n_ctx, params.contexts)
        seen = random_windows(text.train, twin.n_ctx, params.selection, params.seed, 0)
        means = averages(twin, seen, text.frequency)
        ladders.append(ladder(twin, held_out, means, text, only={rung for rung, _ in HEADLINE_RUNGS.values()}))
    every = [each[each["layers"] == ALL].set_index("rung") for each in ladders]
    rows = []
    for name, (rung, column) in HEADLINE_RUNGS.items():
        if twins and rung in every[0].index:
            values = np.array([each.loc[rung, column] for each in every])
            rows.append((f"account.{name}", values[0], values[1:].mean(), values.std(ddof=1)))
    return HEADLINES.frame(rows)
