"""Bugs of the factored form, and what they cost.

A head adds f₁(source, destination)·f₂(source, out). So if it says `keep … in → mind` and
`keep … at → bay`, it must also say `keep … in → bay` and `keep … at → mind` ("A Mathematical
Framework", section "Skip-Trigram Bugs", which leaves their cost unmeasured).
"""

from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Integer

from skiptrace.circuits import factored
from skiptrace.config.verification import VerificationParams
from skiptrace.evidence.bounds import ending_at
from skiptrace.evidence.causal import Rows, Sampler, at_once, log_p, run_to_end
from skiptrace.evidence.intervals import clustered
from skiptrace.evidence.support import Positions, Support, support
from skiptrace.evidence.tables import BUGS, CELLS, COSTS, CROSSED
from skiptrace.evidence.verification import Streams
from skiptrace.models.transformer import Transformer

PLACES = 512  # of the validation text at which a crossing is measured, at most
SEEN = 10  # occurrences that a supported row needs: fewer may be chance, whatever their lift
# The texts of the tokens are added last, by `with_texts`.
COLUMNS = {name: kind for name, kind in BUGS.dtypes.items() if f"{name}_id" not in BUGS.dtypes}


def find(checked: pd.DataFrame, positions: Positions, params: VerificationParams) -> pd.DataFrame:
    """Quartets: two supported rows of one head and source whose crossings the corpus does not support.

    A row is taken when it is consistent, seen `SEEN` times, and supported by the corpus; a crossing is one that is not
    supported. Quartets of the strongest effects come first, at most `params.quartets`.
    """
    supported = (checked["support"] == Support.SUPPORTED) & (checked["corpus_count"] >= SEEN)
    good = checked[checked["consistent"] & supported].sort_values("effect_nats", ascending=False)
    found = []
    for (layer, head, source), rows in good.groupby(["layer", "head", "source_id"], sort=False):
        for (_, one), (_, two) in combinations(rows.iterrows(), 2):
            if one["destination_id"] != two["destination_id"] and one["out_id"] != two["out_id"]:
                ends = (one["destination_id"], two["destination_id"], one["out_id"], two["out_id"])
                found.append((layer, head, source, *ends, min(one["effect_nats"], two["effect_nats"])))
    names = [*list(COLUMNS)[:7], "strength"]
    table = pd.DataFrame(found, columns=names).astype(dict.fromkeys(names[:-1], "int64"))
    table = table.sort_values("strength", ascending=False, kind="stable")
    # The corpus is asked only until enough quartets are found; it says no to few.
    most = params.quartets
    table = table.head(4 * most).reset_index(drop=True)
    crossed = np.ones(len(table), dtype=bool)
    for cell in CELLS:
        counted = support(_cell(table, cell), positions, params.fdr)
        table[f"corpus_{cell}"] = counted["corpus_count"] / counted["precedes"].clip(lower=1)
        if cell in CROSSED:
            table[f"support_{cell}"] = counted["support"]
            crossed &= (counted["support"] != Support.SUPPORTED).to_numpy()
    return table[crossed].head(most).drop(columns="strength").reset_index(drop=True)


def measure(model: Transformer, quartets: pd.DataFrame, streams: Streams, params: VerificationParams) -> pd.DataFrame:
    """Add the four probabilities in the model and the cost of both crossings to each quartet."""
    ctx = min(params.context_tokens, model.n_ctx)
    sampler = Sampler(streams.valid, ctx, len(streams.count), params.seed)
    positions = Positions(streams.valid, len(streams.count), ctx - 2)
    table = quartets.copy()
    for which in ("1", "2"):
        cell = _cell(table, which + "1").rename(columns=lambda name: name.removesuffix("_id"))
        rows = Rows(*(cell[name].to_numpy() for name in Rows._fields))
        probabilities = _probabilities(model, sampler, rows, params.contexts)
        for out in ("1", "2"):
            wanted = table[f"out_{out}_id"].to_numpy()
            table[f"model_{which}{out}"] = probabilities[np.arange(len(table)), wanted] if len(table) else []
    for cell in CROSSED:
        found = [changes(model, row, positions, ctx) for row in _keyed(table, cell)]
        costs = [clustered(c.nats, c.document) for c in found]
        for end in ("mean", "low", "high"):
            table[f"cost_{end}_{cell}".replace("_mean", "")] = [getattr(c, end) for c in costs]
        table[f"positions_{cell}"] = [c.positions for c in found]
    return table[list(COLUMNS)].astype(COLUMNS)


class Crossing(NamedTuple):
    """One crossing: the head that makes it, and its three tokens."""

    layer: int
    head: int
    source: int
    destination: int
    out: int


class Changes(NamedTuple):
    """Changes of the loss that a crossing makes, nats, at places of so many documents, of all where it applies."""

    nats: Float[np.ndarray, " n"]
    document: Integer[np.ndarray, " n"]
    positions: int


def changes(model: Transformer, crossing: Crossing, positions: Positions, ctx: int, most: int = PLACES) -> Changes:
    """What the head's direct contribution source → out costs where the destination follows the source.

    Loss with it minus loss without it, at up to `most` such places of the validation text, at even distances.
    """
    places = positions.of(crossing.destination)[positions.preceded(crossing.source, crossing.destination)]
    places = places[places >= ctx - 1]
    chosen = places[np.linspace(0, len(places) - 1, min(len(places), most)).astype(int)]
    ov = factored.ov(model, crossing.layer, crossing.head).centred()
    entry = ov.entries(torch.tensor([crossing.source]), torch.tensor([crossing.out]))
    found, batch = [np.zeros(0)], at_once(model, ctx)
    for start in range(0, len(chosen), batch):
        tokens, following = ending_at(positions.stream, chosen[start : start + batch], ctx)
        end = run_to_end(model, tokens)
        attended = (end.attention[crossing.layer][:, crossing.head] * (tokens == crossing.source)).sum(1)
        without = end.logits.clone()
        without[:, crossing.out] -= attended * entry
        found.append((log_p(without, following) - log_p(end.logits, following)).double().numpy())
    return Changes(np.concatenate(found), positions.document(chosen), len(places))


def crossing_costs(
    model: Transformer, quartets: pd.DataFrame, streams: Streams, params: VerificationParams
) -> pd.DataFrame:
    """What a crossing costs where it applies, over the distinct crossings of quartets: rows of `COSTS`.

    The mean over crossings of the mean over places, errors clustered by document: all of them, those that the
    training text contradicts, and those of which it is too rare to say.
    """
    ctx = min(params.context_tokens, model.n_ctx)
    positions = Positions(streams.valid, len(streams.count), ctx - 2)
    said: dict[Crossing, str] = {}
    for cell in CROSSED:
        said |= dict(zip(_keyed(quartets, cell), quartets[f"support_{cell}"], strict=True))
    found = {crossing: changes(model, crossing, positions, ctx) for crossing in said}
    rows = []
    for wanted in (None, Support.CONTRADICTED, Support.RARE):
        each = [found[crossing] for crossing, support in said.items() if wanted is None or support == wanted]
        group = np.repeat(np.arange(len(each)), [len(one.nats) for one in each])
        nats = np.concatenate([np.zeros(0), *(one.nats for one in each)])
        document = np.concatenate([np.zeros(0, dtype=np.int64), *(one.document for one in each)])
        what = "crossings" if wanted is None else f"crossings: {wanted}"
        rows.append((what, len(np.unique(group)), *clustered(nats, document, group)))
    return pd.DataFrame(rows, columns=COSTS.names).astype(COSTS.dtypes)


def _cell(table: pd.DataFrame, cell: str) -> pd.DataFrame:
    renamed = {f"destination_{cell[0]}_id": "destination_id", f"out_{cell[1]}_id": "out_id"}
    return table.rename(columns=renamed)[["source_id", "destination_id", "out_id"]]


def _keyed(table: pd.DataFrame, cell: str) -> list[Crossing]:
    cells = pd.concat([table[["layer", "head"]], _cell(table, cell)], axis=1)
    return [Crossing(*map(int, row)) for row in cells.itertuples(index=False)]


def _probabilities(model: Transformer, sampler: Sampler, rows: Rows, n: int) -> Float[np.ndarray, "rows d_vocab"]:
    drawn = sampler.draw(rows, n).tokens
    found = [run_to_end(model, torch.from_numpy(c)).logits.softmax(-1).mean(0).double().numpy() for c in drawn]
    return np.stack(found) if found else np.zeros((0, model.d_vocab))


def with_texts(table: pd.DataFrame, token: pd.Series) -> pd.DataFrame:
    """Add the text of every token column `<role>_id` as `<role>`."""
    texts = {n.removesuffix("_id"): token.iloc[table[n]].to_numpy() for n in table.columns if n.endswith("_id")}
    return table.assign(**texts)


def crossings(table: pd.DataFrame) -> list[tuple[int, int, int]]:
    """(source, destination, out) of both crossings of each quartet, in order."""
    cells = [_cell(table, cell) for cell in CROSSED]
    both = pd.concat(cells).sort_index(kind="stable")
    return [(int(a), int(b), int(c)) for a, b, c in both.itertuples(index=False)]
