"""Rows by what they save on text: skip-bigrams (source … → output) and skip-trigrams, where the destination matters."""

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from skiptrace.account.entries import NO_ENTRIES, Entries, Running, Split
from skiptrace.account.threads import threads

KEYS = ["head", "source_id", "destination_id", "out_id"]


@torch.no_grad()
def savings(split: Split, ov: Entries, windows: Int[Tensor, "batch width"]) -> pd.DataFrame:
    """What each entry OV[source, output] saves in each context at each destination, exact for one entry at a time.

    With δ_i = Σ_{j: t_j = source} A_ij OV[source, output] and p_i the model's probability of the output token, taking
    the entry away at destination i changes the loss by

        log(1 + p_i (exp(−δ_i) − 1)) + δ_i [the next token is the output]

    `saved` sums this over the places of a destination; `by_destination` is the same for δ_i − δ'_i, where δ'_i has the
    attention that source salience alone would give: what is saved because this destination looks for this source.
    Columns: `head`, `source_id`, `destination_id`, `out_id`, `context`, `places` (positions where the source stands
    before, or at, the destination), `saved` and `by_destination` (nats).
    """
    whole = Running(split, split.qk, split.ov)
    plain = Running(split, NO_ENTRIES, split.ov)

    @torch.no_grad()
    def of_context(window: Tensor) -> pd.DataFrame:
        tokens, targets = window[:-1], window[1:]
        patterns = whole.pattern(tokens), plain.pattern(tokens)
        probability = whole.logits(tokens, patterns[0]).softmax(-1)
        of_heads: list[tuple[np.ndarray, ...]] = []
        for head in range(split.n_heads):
            mine = np.flatnonzero((ov.head == head) & np.isin(ov.row, tokens.numpy()))
            if not len(mine):
                continue
            source, out = torch.from_numpy(ov.row[mine]), torch.from_numpy(ov.column[mine])
            stands = (tokens[:, None] == source).float()
            value = torch.from_numpy(ov.value[mine])
            delta, additive = ((pattern[head] @ stands) * value for pattern in patterns)
            p, follows = probability[:, out], targets[:, None] == out
            seen = stands.cumsum(0) > 0
            seen[0] = False  # nothing is predicted from the token that begins a context
            place, entry = (each.numpy() for each in seen.nonzero(as_tuple=True))
            sums = (saved_by(each, p, follows).double().numpy()[place, entry] for each in (delta, delta - additive))
            of_heads.append(
                (np.full(len(place), head), ov.row[mine][entry], tokens.numpy()[place], ov.column[mine][entry], *sums)
            )
        if of_heads:
            *ids, saved, by_destination = (np.concatenate(each) for each in zip(*of_heads, strict=True))
            n = split.d_vocab
            rows, row = np.unique(np.ravel_multi_index(ids, (split.n_heads, n, n, n)), return_inverse=True)
            counted = (np.bincount(row, each) for each in (np.ones(len(row)), saved, by_destination))
            named = dict(
                zip([*KEYS, *SUMS], (*np.unravel_index(rows, (split.n_heads, n, n, n)), *counted), strict=True)
            )
            return pd.DataFrame(named).astype(dict.fromkeys([*KEYS, "places"], "int32"))
        return pd.DataFrame(columns=[*KEYS, *SUMS])

    with threads() as each:
        found = [rows.assign(context=number) for number, rows in enumerate(each(of_context, windows)) if len(rows)]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=[*KEYS, "context", *SUMS])


SUMS = ["places", "saved", "by_destination"]


def saved_by(
    delta: Float[Tensor, "*places"], p: Float[Tensor, "*places"], follows: Bool[Tensor, "*places"]
) -> Float[Tensor, "*places"]:
    """By how much the loss rises when `delta` is taken from one logit."""
    # Between 0 and −δ, where p rounds to one or exp(−δ) overflows too.
    least, most = (-delta).clamp(max=0), (-delta).clamp(min=0)
    return torch.log1p(p * torch.expm1(-delta)).clamp(least, most) + delta * follows


def worth(savings: pd.DataFrame, keys: list[str], contexts: int, n_ctx: int) -> pd.DataFrame:
    """Nats per 1,000 tokens of every row, with standard errors over contexts; `n` counts places.

    Columns: `keys`, `n`, `nats`, `nats_se`, `nats_destination`, `nats_destination_se`.
    """
    each = savings.groupby([*keys, "context"], as_index=False)[SUMS].sum()
    rows = each.groupby(keys, as_index=False).agg(n=("places", "sum"))
    per = 1000 / (n_ctx - 1)
    for name, column in (("nats", "saved"), ("nats_destination", "by_destination")):
        squares = each.assign(square=each[column] ** 2).groupby(keys)[[column, "square"]].sum().reset_index(drop=True)
        mean = squares[column] / contexts
        spread = (squares["square"] / contexts - mean**2).clip(lower=0)
        rows[name], rows[f"{name}_se"] = per * mean, per * (spread / max(1, contexts - 1)) ** 0.5
    return rows


def tables(
    split: Split, ov: Entries, selection: Int[Tensor, "chosen width"], held_out: Int[Tensor, "batch width"], rows: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Skip-bigrams and skip-trigrams: the `rows` that save most on `selection`, and what they save on held-out text.

    Skip-bigrams are ranked by what they save, whatever the destination; skip-trigrams by what is saved because of the
    destination. `worth` has the columns; `rank` is the order on `selection`.
    """
    chosen_on, measured_on = (savings(split, ov, windows) for windows in (selection, held_out))
    n_ctx = split.model.n_ctx
    found = []
    for keys, by in ((["head", "source_id", "out_id"], "nats"), (KEYS, "nats_destination")):
        first = worth(chosen_on, keys, len(selection), n_ctx).nlargest(rows, by)[keys]
        first = first.assign(rank=np.arange(1, len(first) + 1, dtype=np.int32))
        measured = worth(measured_on, keys, len(held_out), n_ctx)
        table = first.merge(measured, on=keys, how="left").fillna(
            {"n": 0, "nats": 0.0, "nats_se": 0.0, "nats_destination": 0.0, "nats_destination_se": 0.0}
        )
        found.append(table.astype({"n": "int64"}))
    return found[0], found[1]
