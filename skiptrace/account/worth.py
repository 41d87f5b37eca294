"""What given skip-trigrams save on text, each at the places where it stands."""

from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor

from skiptrace.account.entries import Entries, Running, Split, by_token
from skiptrace.account.rows import saved_by
from skiptrace.account.threads import threads

IDS = ["layer", "head", "source_id", "destination_id", "out_id"]


class Worth(NamedTuple):
    """Of every row: places of the text, and nats per 1,000 tokens with their standard error over contexts."""

    n: Integer[np.ndarray, " rows"]
    nats: Float[np.ndarray, " rows"]
    se: Float[np.ndarray, " rows"]


@torch.no_grad()
def worth(split: Split, rows: pd.DataFrame, windows: Int[Tensor, "batch width"]) -> Worth:
    """By how much the loss rises when OV[source, out] of a head is taken away at the places of the destination.

    `rows.savings` has the equation; here rows are given (`head`, `source_id`, `destination_id`, `out_id`), and only
    their places are looked at: those of the destination with the source before them, or at them, in their context.
    """
    running = Running(split, split.qk, split.ov)
    head, source, destination, out = (torch.from_numpy(rows[name].to_numpy().astype(np.int64)) for name in IDS[1:])
    value = torch.from_numpy(Entries.at(split.ov, *(each.numpy() for each in (head, source, out))).value)

    @torch.no_grad()
    def of_context(window: Tensor) -> tuple[np.ndarray, np.ndarray]:
        tokens, targets = window[:-1], window[1:]
        pattern = running.pattern(tokens)
        logits = running.logits(tokens, pattern)
        total = logits.logsumexp(-1)
        held, at = tokens.unique(return_inverse=True)
        attended = by_token(pattern, at, len(held))
        seen = torch.zeros(len(tokens), len(held), dtype=torch.bool)
        seen[torch.arange(len(tokens)), at] = True
        begins = seen.clone()
        begins[0] = False  # nothing is predicted from the token that begins a context
        seen = seen.cumsum(0) > 0
        local = torch.full((split.d_vocab,), -1)
        local[held] = torch.arange(len(held))
        here = ((local[source] >= 0) & (local[destination] >= 0)).nonzero()[:, 0]
        stands = begins[:, local[destination[here]]] & seen[:, local[source[here]]]
        place, which = stands.nonzero(as_tuple=True)
        row = here[which]
        delta = attended[head[row], place, local[source[row]]] * value[row]
        p = (logits[place, out[row]] - total[place]).exp()
        rise = saved_by(delta, p, targets[place] == out[row]).double().numpy()
        counted = np.bincount(row.numpy(), minlength=len(rows)).astype(np.float64)
        return counted, np.bincount(row.numpy(), rise, minlength=len(rows))

    with threads() as each:
        places, saved = (np.stack(found, 1) for found in zip(*each(of_context, windows), strict=True))
    per = 1000 / (windows.shape[1] - 2)
    spread = saved.std(1, ddof=1) / len(windows) ** 0.5 if len(windows) > 1 else np.full(len(rows), np.nan)
    return Worth(places.sum(1).astype(np.int64), per * saved.mean(1), per * spread)
