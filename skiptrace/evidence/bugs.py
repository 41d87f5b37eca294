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
from torch import Tensor

from skiptrace.arithmetic import total
from skiptrace.circuits import factored
from skiptrace.config.verification import VerificationParams
from skiptrace.evidence.causal import Rows, Sampler, at_once, log_p, run_to_end
from skiptrace.evidence.support import Positions, Support, support
from skiptrace.evidence.tables import BUGS, CELLS
from skiptrace.evidence.verification import Streams
from skiptrace.models.transformer import Transformer
from skiptrace.models.windows import BOS_ID

SEEN = 10  # occurrences that a supported row needs: fewer may be chance, whatever their lift
# The texts of the tokens are added last, by `with_texts`.
COLUMNS = {name: kind for name, kind in BUGS.dtypes.items() if f"{name}_id" not in BUGS.dtypes}


class Cost(NamedTuple):
    """Mean change in loss, in nats, at the positions where a crossing applies, and how many there are."""

    mean: float
    se: float
    positions: int


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
        if cell in ("12", "21"):
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
    for cell in ("12", "21"):
        costs = [cost(model, row, positions, ctx, params) for row in _keyed(table, cell)]
        table[f"cost_{cell}"] = [c.mean for c in costs]
        table[f"cost_se_{cell}"] = [c.se for c in costs]
        table[f"positions_{cell}"] = [c.positions for c in costs]
    return table[list(COLUMNS)].astype(COLUMNS)


class Crossing(NamedTuple):
    """One crossing: the head that makes it, and its three tokens."""

    layer: int
    head: int
    source: int
    destination: int
    out: int


def cost(model: Transformer, crossing: Crossing, positions: Positions, ctx: int, params: VerificationParams) -> Cost:
    """What the head's direct contribution source → out costs where the destination follows the source.

    Loss with it minus loss without it, at up to `params.contexts` such places of the validation
    text; undefined (NaN) where there is none.
    """
    places = positions.of(crossing.destination)[positions.preceded(crossing.source, crossing.destination)]
    places = places[places >= ctx - 1]
    if len(places) == 0:
        return Cost(float("nan"), float("nan"), 0)
    chosen = places[np.linspace(0, len(places) - 1, min(len(places), params.contexts)).astype(int)]
    tokens, following = _ending_at(positions.stream, chosen, ctx)
    end = run_to_end(model, tokens)
    attended = (end.attention[crossing.layer][:, crossing.head] * (tokens == crossing.source)).sum(1)
    ov = factored.ov(model, crossing.layer, crossing.head).centred()
    raised = attended * ov.entries(torch.tensor([crossing.source]), torch.tensor([crossing.out]))
    without = end.logits.clone()
    without[:, crossing.out] -= raised
    change = log_p(without, following) - log_p(end.logits, following)
    spread = change.std().item() / len(change) ** 0.5 if len(change) > 1 else float("nan")
    return Cost(change.mean().item(), spread, len(places))


def bill(
    model: Transformer, checked: pd.DataFrame, streams: Streams, params: VerificationParams, tokens: int = 4096
) -> float:
    """An upper bound on what unsupported cells cost the model, in nats per token of validation text.

    At each of `tokens` places spread over the text, every contribution of a checked row that the
    corpus does not support is taken away together, but only from tokens that do not follow there:
    so the loss can only fall, and the fall is the most that mending these rows could bring.
    """
    unsupported = checked.loc[
        checked["support"] != Support.SUPPORTED, ["layer", "head", "source_id", "destination_id", "out_id", "ov"]
    ]
    ctx = min(params.context_tokens, model.n_ctx)
    last = len(streams.valid) - 2
    places = np.unique(np.linspace(ctx - 1, last, min(tokens, last - ctx + 2)).astype(np.int64))
    saved = 0.0
    batch = at_once(model, ctx)
    for start in range(0, len(places), batch):
        inputs, following = _ending_at(np.asarray(streams.valid), places[start : start + batch], ctx)
        end = run_to_end(model, inputs)
        seen = pd.DataFrame(
            {
                "text": np.repeat(np.arange(len(inputs)), ctx),
                "place": np.tile(np.arange(ctx), len(inputs)),
                "source_id": inputs.flatten().numpy(),
                "destination_id": np.repeat(inputs[:, -1].numpy(), ctx),
            }
        )
        # A row of the table applies at its source only if it stands before the destination.
        hits = seen[seen["place"] < ctx - 1].merge(unsupported, on=["source_id", "destination_id"])
        text, place, out = (torch.from_numpy(hits[n].to_numpy().astype(np.int64)) for n in ("text", "place", "out_id"))
        without = end.logits.clone()
        if len(hits):
            attention = torch.stack(end.attention)
            layer, head = (torch.from_numpy(hits[n].to_numpy().astype(np.int64)) for n in ("layer", "head"))
            raised = attention[layer, text, head, place] * torch.from_numpy(hits["ov"].to_numpy().astype(np.float32))
            raised = raised * (out != following[text])
            without.index_put_((text, out), -raised, accumulate=True)
        saved += total(log_p(without, following) - log_p(end.logits, following)).item()
    return saved / len(places)


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


def _ending_at(
    stream: Integer[np.ndarray, " n"], places: Integer[np.ndarray, " batch"], ctx: int
) -> tuple[Tensor, Tensor]:
    """Contexts that end at the places, BOS first, and the tokens that follow them."""
    tokens = stream[places[:, None] - np.arange(ctx - 1, -1, -1)].astype(np.int64)
    tokens[:, 0] = BOS_ID
    return torch.from_numpy(tokens), torch.from_numpy(stream[places + 1].astype(np.int64))


def with_texts(table: pd.DataFrame, token: pd.Series) -> pd.DataFrame:
    """Add the text of every token column `<role>_id` as `<role>`."""
    texts = {n.removesuffix("_id"): token.iloc[table[n]].to_numpy() for n in table.columns if n.endswith("_id")}
    return table.assign(**texts)


def crossings(table: pd.DataFrame) -> list[tuple[int, int, int]]:
    """(source, destination, out) of both crossings of each quartet, in order."""
    cells = [_cell(table, cell) for cell in ("12", "21")]
    both = pd.concat(cells).sort_index(kind="stable")
    return [(int(a), int(b), int(c)) for a, b, c in both.itertuples(index=False)]
