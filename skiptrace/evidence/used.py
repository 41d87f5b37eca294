"""Is a skip-trigram used on text as it is? Its edge is cut where source … destination stand by themselves."""

from enum import StrEnum

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Integer
from scipy.stats import false_discovery_control, t

from skiptrace.evidence.bounds import ending_at
from skiptrace.evidence.causal import at_once, first_layer, run_to_end, without_edges
from skiptrace.evidence.intervals import clustered
from skiptrace.evidence.support import Positions
from skiptrace.evidence.tables import CHECKED, USED
from skiptrace.models.transformer import Transformer
from skiptrace.progress import progress

LEAST = 5  # documents below which nothing is said


class Use(StrEnum):
    """What cutting the edge does to the loss on held-out text."""

    USED = "used"
    HARMFUL = "harmful"
    NEITHER = "no effect seen"
    RARE = "too rare to say"


def use(
    model: Transformer, rows: pd.DataFrame, valid: Integer[np.ndarray, " n"], context: int, places: int, fdr: float
) -> pd.DataFrame:
    """For rows with `layer`, `head`, `source_id`, `destination_id`, `out_id`: what their edge does on held-out text.

    At up to `places` places of the destination, evenly spread over those with the source before it in its document and
    in the `context` tokens before, the edge is cut as in `causal.check`, with nothing written into the text. Added
    columns: `used_places`, `used_nats` (mean rise of the loss on the true next token, nats), `used_se` (clustered by
    document), `used_p` (mean fall of p(output)), and `use`: used or harmful where the rise differs from zero (t-test,
    one degree of freedom less than documents, false-discovery rate `fdr` over the table), or that it was not seen, or
    that fewer than five documents have it.
    """
    positions = Positions(valid, model.d_vocab, context - 2)
    parts = [
        _head(model, int(layer), int(head), each, positions, context, places)
        for (layer, head), each in progress(list(rows.groupby(["layer", "head"])), "edges on text", leave=False)
    ]
    if not parts:
        return pd.DataFrame({c.name: pd.Series(dtype=CHECKED.dtypes[c.name]) for c in USED}, index=rows.index)
    return judged(pd.concat(parts).sort_index(), fdr)


def judged(found: pd.DataFrame, fdr: float) -> pd.DataFrame:
    """Rows of `measured` with their `use`, by a t-test over documents at false-discovery rate `fdr` over the table."""
    told = np.full(len(found), Use.RARE, dtype=object)
    tested = (found["documents"] >= LEAST).to_numpy()
    if tested.any():
        some = found[tested]
        size = (some["used_nats"] / some["used_se"].clip(lower=1e-12)).to_numpy()
        p = 2 * t.sf(np.abs(size), some["documents"] - 1)
        word = np.where(size > 0, Use.USED, Use.HARMFUL)
        told[tested] = np.where(false_discovery_control(p) <= fdr, word, Use.NEITHER)
    return found.drop(columns="documents").assign(use=told.astype(str))


@torch.no_grad()
def _head(
    model: Transformer, layer: int, head: int, rows: pd.DataFrame, positions: Positions, context: int, places: int
) -> pd.DataFrame:
    """Places, mean effects and documents of the rows of one head."""
    ends, row = [], []
    for index in np.argsort(rows["destination_id"], kind="stable"):  # places of one destination are looked up once
        source, destination = (int(rows[name].iloc[index]) for name in ("source_id", "destination_id"))
        here = positions.of(destination)[positions.preceded(source, destination)]
        here = here[here >= context - 1]
        picked = here[np.linspace(0, len(here) - 1, min(places, len(here))).astype(np.int64)]
        ends.append(picked)
        row.append(np.full(len(picked), index))
    end, of = np.concatenate(ends), np.concatenate(row)
    loss, fall = np.empty(len(end)), np.empty(len(end))
    batch, first = at_once(model, context), first_layer(model)
    for start in range(0, len(end), batch):
        part = slice(start, start + batch)
        tokens, following = ending_at(positions.stream, end[part], context)
        out = torch.from_numpy(rows["out_id"].to_numpy()[of[part]].astype(np.int64))
        edges = tokens == torch.from_numpy(rows["source_id"].to_numpy()[of[part]].astype(np.int64))[:, None]
        edges[:, 0] = False
        edges[:, -1] = False  # the destination may be the same token
        run = run_to_end(model, tokens, first)
        cut = without_edges(model, run, layer, head, edges)
        both = torch.stack([following, out], 1)
        log_p, without = (of.gather(1, both) - of.logsumexp(-1, keepdim=True) for of in (run.logits, cut))
        loss[part] = (log_p - without)[:, 0].double().numpy()
        fall[part] = (log_p.exp() - without.exp())[:, 1].double().numpy()
    return measured(of, loss, fall, positions.document(end), len(rows)).set_axis(rows.index)


def measured(
    of: Integer[np.ndarray, " places"],
    loss: Float[np.ndarray, " places"],
    fall: Float[np.ndarray, " places"],
    document: Integer[np.ndarray, " places"],
    rows: int,
) -> pd.DataFrame:
    """Of every row: its places, the mean rise of the loss there with its error by document, and mean fall of p(output).

    `of` says which row a place is of.
    """
    found = []
    for index in range(rows):
        mine = of == index
        each = clustered(loss[mine], document[mine])
        quantile = t.ppf(0.975, each.clusters - 1) if each.clusters > 1 else np.nan
        found.append((int(mine.sum()), each.mean, (each.high - each.mean) / quantile, _mean(fall[mine]), each.clusters))
    return pd.DataFrame(found, columns=["used_places", "used_nats", "used_se", "used_p", "documents"])


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")
