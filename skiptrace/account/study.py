"""The account of one model: its ladder, the price of competition, and how much of attention its entries recover."""

import itertools
from collections.abc import Container, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor

from skiptrace.account import orders, rows
from skiptrace.account.entries import NO_ENTRIES, Entries, Running, Split, applies, losses_of, split, splits
from skiptrace.account.replaced import OV, QK, Averages, averages, losses
from skiptrace.account.tables import (
    BY_LOSS,
    CURVE,
    ENTRIES,
    GREEDY,
    LADDER,
    MINED,
    PUBLISHED,
    SKIP_BIGRAMS,
    SKIP_TRIGRAMS,
)
from skiptrace.arithmetic import log
from skiptrace.circuits.factored import Circuit
from skiptrace.config.account import AccountParams
from skiptrace.models.transformer import Transformer
from skiptrace.models.windows import random_windows, spread_windows
from skiptrace.progress import progress
from skiptrace.tables import Table

# The rungs, lowest first: (part that is replaced, its name, how a layer runs).
RUNGS = (
    ("attention", "direct path", (QK.WHOLE, OV.NONE)),
    ("QK", "distance alone", (QK.DISTANCE, OV.WHOLE)),
    ("QK", "tokens alone", (QK.TOKENS, OV.WHOLE)),
    ("QK", "source salience", (QK.SALIENCE, OV.WHOLE)),
    ("QK", "each source alone", (QK.ALONE, OV.WHOLE)),
    ("OV", "mean output", (QK.WHOLE, OV.MEAN)),
    ("OV", "rank one", (QK.WHOLE, OV.RANK_ONE)),
    ("both", "salience and mean output", (QK.SALIENCE, OV.MEAN)),
    ("none", "whole model", (QK.WHOLE, OV.WHOLE)),
)
ALL = "all"
FINE = 10_000  # entries up to which the rounds take a step between the counts of the curve
CANDIDATES = 5  # entries of OV, for each row that is wanted, that rows on text are chosen from


class Text(NamedTuple):
    """Token streams of a corpus, how often each token occurs in training (summing to one), and the tokens' texts."""

    train: Integer[np.ndarray, " n"]
    valid: Integer[np.ndarray, " m"]
    frequency: Float[Tensor, " d_vocab"]
    token: pd.Series


class Account(NamedTuple):
    """The tables of data/account/<m>.

    All but `ladder` are empty for models that have more than circuits; rows are measured in those of one layer.
    """

    ladder: pd.DataFrame
    curve: pd.DataFrame
    entries: pd.DataFrame
    skip_bigrams: pd.DataFrame
    skip_trigrams: pd.DataFrame


def account(
    model: Transformer,
    text: Text,
    params: AccountParams,
    published: orders.Published,
    layers: int | None = None,
) -> Account:
    """Account for the attention of a model on held-out contexts, which no average and no order has seen.

    `published` is what the rule by which skip-trigrams are usually mined looks at. Of so many `layers`, or of all, the
    rungs are measured in each by itself.
    """
    held_out = spread_windows(text.valid, model.n_ctx, params.contexts)
    means = averages(model, random_windows(text.train, model.n_ctx, params.selection, params.seed, 0), text.frequency)
    found = ladder(model, held_out, means, text, layers)
    if not splits(model):
        return Account(found, *(table.frame() for table in (CURVE, ENTRIES, SKIP_BIGRAMS, SKIP_TRIGRAMS)))
    parts = split(model, text.frequency)
    ranked, first = rank(parts, text, params, published)
    recovered = curve(parts, held_out, ranked, params)
    kept = table(ranked[GREEDY], model.n_heads)
    if not applies(model):
        return Account(found, recovered, kept, SKIP_BIGRAMS.frame(), SKIP_TRIGRAMS.frame())
    ranked_on = random_windows(text.train, model.n_ctx, params.selection, params.seed, 1)
    by_source, by_both = rows.tables(parts, first.ov, ranked_on, held_out, params.rows)
    return Account(found, recovered, kept, _named(SKIP_BIGRAMS, by_source, text), _named(SKIP_TRIGRAMS, by_both, text))


def _named(table: Table, rows: pd.DataFrame, text: Text) -> pd.DataFrame:
    """The rows with the texts of their tokens."""
    roles = [name.removesuffix("_id") for name in rows if str(name).endswith("_id")]
    return table.frame(rows.assign(**{role: text.token[rows[f"{role}_id"]].to_numpy() for role in roles}))


def ladder(
    model: Transformer,
    held_out: Int[Tensor, "batch width"],
    means: list[Averages],
    text: Text,
    single: int | None = None,
    only: Container[str] | None = None,
) -> pd.DataFrame:
    """The loss on every rung, in all layers together and in `single` of them, or each, one at a time.

    The others are intact; single layers are evenly spread over the model. `only` these rungs, in all layers together,
    if they are given. Columns: `account.tables.LADDER`.
    """
    whole = losses(model, held_out, means, {}).numpy()
    unigram = -log(text.frequency.double().clamp(min=1e-12))[held_out[:, 2:]].mean(1).numpy()
    rows = [_rung("text", ALL, "unigram", unigram, whole)]
    alone = 0 if only is not None else model.n_layers if single is None else single
    some = sorted({*np.linspace(0, model.n_layers - 1, alone).round().astype(int).tolist()} if alone else ())
    groups = [range(model.n_layers), *([index] for index in some if model.n_layers > 1)]
    for layers in groups if model.n_layers else ():
        name = ALL if len(layers) == model.n_layers else str(layers[0])
        for part, rung, rule in progress(RUNGS, f"ladder, layers {name}", leave=False):
            if only is not None and rung not in only:
                continue
            loss = whole if part == "none" else losses(model, held_out, means, dict.fromkeys(layers, rule)).numpy()
            rows.append(_rung(part, name, rung, loss, whole))
    if not model.n_layers:
        rows.append(_rung("none", ALL, "whole model", whole, whole))
    return LADDER.frame(rows)


def _rung(part: str, layers: str, rung: str, loss: np.ndarray, whole: np.ndarray) -> dict[str, str | float]:
    return {
        "part": part,
        "layers": layers,
        "rung": rung,
        "loss": loss.mean(),
        "se": _se(loss),
        "lost": (loss - whole).mean(),
        "lost_se": _se(loss - whole),
    }


def _se(values: Float[np.ndarray, " n"]) -> float:
    return float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else float("nan")


def rank(
    parts: Split, text: Text, params: AccountParams, published: orders.Published
) -> tuple[dict[str, orders.Ranked], orders.Ranked]:
    """The entries of either circuit by every order, as many as the curve asks for; and those that save most."""
    tokens = orders.ranked_tokens(parts.n_heads, text.frequency)
    every = parts.n_heads * len(tokens) ** 2
    counts = [c for c in params.entries if c <= every] or [every]
    most, n_ctx = max(counts), parts.model.n_ctx

    contexts = min(params.selection, max(1, params.selection_tokens // n_ctx))

    def draw(number: int) -> Int[Tensor, "batch width"]:
        return random_windows(text.train, n_ctx, contexts, params.seed, 1 + number)

    even = torch.full_like(text.frequency, 1.0)
    by_loss, first = orders.attribution(parts, draw, tokens, most, max(counts[0], CANDIDATES * params.rows))
    ranked = {
        GREEDY: orders.rounds(parts, draw, tokens, _steps(counts), first),
        BY_LOSS: by_loss,
        PUBLISHED: orders.by_published_rule(
            parts,
            published._replace(eligible=tokens[torch.isin(tokens, published.eligible)]),
            text.frequency,
            most,
        ),
        "entry·frequency": orders.by_size(parts, tokens, text.frequency, most),
        "entry": orders.by_size(parts, tokens, even, most),
        "random": orders.at_random(parts, tokens, most, params.seed),
    }
    return ranked, first


def _steps(counts: Sequence[int]) -> list[int]:
    """The counts, with the geometric mean between each and the next up to `FINE` entries."""
    between = [round((a * b) ** 0.5) for a, b in itertools.pairwise(counts) if b <= FINE]
    return sorted({*counts, *between})


def curve(
    parts: Split,
    held_out: Int[Tensor, "batch width"],
    ranked: dict[str, orders.Ranked],
    params: AccountParams,
) -> pd.DataFrame:
    """The share of what interactions add that the first entries of each order recover.

    recovered = (L_additive − L) / (L_additive − L_whole), with a standard error over contexts by the delta method.
    Columns: `account.tables.CURVE`.
    """
    bases = {
        "both": Running(parts, NO_ENTRIES, NO_ENTRIES),
        "qk": Running(parts, NO_ENTRIES, parts.ov),
        "ov": Running(parts, parts.qk, NO_ENTRIES),
    }
    # Every second count for the weaker orders, and for the best of one circuit alone; every fourth for both of that.
    compared, few = params.entries[-1::-2], params.entries[-1::-4]
    asked: list[Asked] = []
    for order, found in ranked.items():
        for count in params.entries:
            if count <= min(len(found.qk.head), len(found.ov.head)) and (
                order in (GREEDY, BY_LOSS) or count in compared
            ):
                qk, ov = found.qk.first(count), found.ov.first(count)
                asked.append(Asked("both", order, count, Running(parts, qk, ov)))
                if count in (compared if order == GREEDY else few):
                    asked.append(Asked("qk", order, count, Running(parts, qk, parts.ov)))
                    asked.append(Asked("ov", order, count, Running(parts, parts.qk, ov)))
    for circuit, base in bases.items():
        asked.append(Asked(circuit, "additive", 0, base))
    return _points(parts, held_out, bases, asked)


def of_shown_rows(model: Transformer, text: Text, shown: pd.DataFrame, params: AccountParams) -> pd.DataFrame:
    """The share that the entries recover which rows of the mined table use: the first that a reader sees, and all.

    `shown` holds them in the order in which the report shows them: `layer`, `head`, `source_id`, `destination_id`,
    `out_id`. Columns: `account.tables.CURVE`, of which there are rows for models that are their circuits.
    """
    counts = dict.fromkeys(n for n in (min(params.shown_rows, len(shown)), len(shown)) if n)
    if not counts or not splits(model):
        return CURVE.frame()
    parts = split(model, text.frequency)
    head = (shown["layer"] * model.n_heads + shown["head"]).to_numpy()
    ids = [shown[f"{role}_id"].to_numpy() for role in ("source", "destination", "out")]
    used = {n: of_rows(parts.qk, parts.ov, head[:n], *(each[:n] for each in ids)) for n in counts}
    asked = [Asked("both", MINED, n, Running(parts, *kept)) for n, kept in used.items()]
    additive = {"both": Running(parts, NO_ENTRIES, NO_ENTRIES)}
    return _points(parts, spread_windows(text.valid, model.n_ctx, params.contexts), additive, asked)


class Asked(NamedTuple):
    """A point of the curve, and what runs there."""

    circuit: str
    order: str
    entries: int
    running: Running


def _points(
    parts: Split, held_out: Int[Tensor, "batch width"], bases: dict[str, Running], asked: Sequence[Asked]
) -> pd.DataFrame:
    """The points of the curve: their loss, and the share of what is between the base of their circuit and the model."""
    every = [Running(parts, parts.qk, parts.ov), *bases.values(), *(each.running for each in asked)]
    whole, *losses = losses_of(every, held_out)
    base = dict(zip(bases, losses, strict=False))
    return CURVE.frame(
        [
            _point(each.circuit, each.order, each.entries, loss, base[each.circuit], whole)
            for each, loss in zip(asked, losses[len(bases) :], strict=True)
        ]
    )


def _point(
    circuit: str, order: str, entries: int, loss: np.ndarray, base: np.ndarray, whole: np.ndarray
) -> tuple[str, str, int, float, float, float]:
    gained, possible = base - loss, base - whole
    share = gained.mean() / possible.mean()
    return (circuit, order, entries, loss.mean(), share, _se(gained - share * possible) / abs(possible.mean()))


def of_rows(
    qk: Sequence[Circuit],
    ov: Sequence[Circuit],
    head: Integer[np.ndarray, " rows"],
    source: Integer[np.ndarray, " rows"],
    destination: Integer[np.ndarray, " rows"],
    out: Integer[np.ndarray, " rows"],
) -> tuple[Entries, Entries]:
    """The entries QK[destination, source] and OV[source, out] that skip-trigrams use, each once.

    Circuits are of all heads, and `head` counts them; ends are tokens, or features in their place.
    """

    def once(circuits: Sequence[Circuit], row: np.ndarray, column: np.ndarray) -> Entries:
        return Entries.at(circuits, *np.unique(np.stack([head, row, column]).astype(np.int64), axis=1))

    return once(qk, destination, source), once(ov, source, out)


def table(ranked: orders.Ranked, n_heads: int) -> pd.DataFrame:
    """The kept entries as a table: QK rows are destinations and columns sources, OV rows sources and columns outputs.

    `value` is in units of attention score (QK) or logits (OV), centred; `nats` is the loss that the entry saves per
    1,000 tokens of training text, to first order, in the round in which it was kept; `rank` counts within a circuit.
    There are `n_heads` in each layer.
    """
    parts = []
    for circuit, entries, worth in (("qk", ranked.qk, ranked.qk_worth), ("ov", ranked.ov, ranked.ov_worth)):
        parts.append(
            pd.DataFrame(
                {
                    "circuit": circuit,
                    "layer": (entries.head // n_heads).astype(np.int32),
                    "head": (entries.head % n_heads).astype(np.int32),
                    "row_id": entries.row.astype(np.int32),
                    "column_id": entries.column.astype(np.int32),
                    "value": entries.value,
                    "nats": 1000 * worth,
                    "rank": np.arange(1, len(worth) + 1, dtype=np.int32),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def entries_of(table: pd.DataFrame, circuit: str, n_heads: int) -> Entries:
    """The entries of one circuit that a table of a model with `n_heads` in each layer holds, in its order."""
    rows = table[table["circuit"] == circuit].sort_values("rank")
    head = (rows["layer"] * n_heads + rows["head"]).to_numpy()
    return Entries(head, *(rows[name].to_numpy() for name in ("row_id", "column_id", "value")))
