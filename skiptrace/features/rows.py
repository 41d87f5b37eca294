"""Skip-trigrams of features: mined by the rules of tokens, measured on text, and their edges cut there.

A row is a feature of the source, one of the destination and an output token. Features stand at their mean activations,
so that QK and OV are what the two add where they are as active as they are on average.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int, Integer
from torch import Tensor

from skiptrace.account.entries import Entries
from skiptrace.account.rows import saved_by
from skiptrace.config.mining import MiningParams
from skiptrace.dictionary import sites
from skiptrace.evidence.causal import frequency_matched, log_p
from skiptrace.evidence.used import measured
from skiptrace.features.parts import Parts
from skiptrace.mining.skip_trigrams import ROLES, average_draws, expected, published
from skiptrace.mining.vocabulary import Vocabulary

KEYS = ["head", "source", "destination", "out"]
ORDERS = ("published", "expected")  # the rules of mining


def mine(split: Parts, features: Vocabulary, tokens: Vocabulary, params: MiningParams, most: int) -> pd.DataFrame:
    """The `most` first rows of either rule of mining, from the thin circuits between features.

    `features` stands in the place of a vocabulary: `count` has the places of training text at which each is active and
    `probability` its share of all that is, so that a place counts as one of its features drawn at random. Outputs are
    `tokens` that occur often enough, and by expected gain those that follow the destination feature in the text.
    Columns: `head`, `source`, `destination`, `out`, `qk` (less the mean over sources), `ov`, `rank_published`,
    `rank_expected`.
    """
    within, outs = features.eligible_ids(params.min_count), tokens.eligible_ids(params.min_count)
    parts = []
    for head, (qk, ov) in enumerate(zip(split.qk, split.ov, strict=True)):
        ov = ov.centred().restricted(within, outs)
        rules = {
            "published": published(qk, ov, features, params),
            "expected": expected(qk, ov, features, params, average_draws(qk, features, params)),
        }
        for name, made in rules.items():
            if made.selected.empty:
                continue
            places = [torch.from_numpy(made.selected[role].to_numpy().astype(np.int64)) for role in ROLES]
            raised = ov.entries(places[0], places[2])
            each = {
                "head": head,
                "source": within[places[0]].numpy(),
                "destination": within[places[1]].numpy(),
                "out": outs[places[2]].numpy(),
                "qk": qk.centred(features.probability).entries(within[places[1]], within[places[0]]).numpy(),
                "ov": raised.numpy(),
                "score": (made.worth(*places) * raised).numpy(),
                "rule": name,
            }
            table = pd.DataFrame(each)
            parts.append(table[(table["ov"] > 0) & (table["score"] > 0)])
    if not parts:
        return pd.DataFrame(columns=[*KEYS, "qk", "ov", *(f"rank_{name}" for name in ORDERS)])
    every = pd.concat(parts, ignore_index=True)
    every["rank"] = 1 + every.sort_values("score", ascending=False, kind="stable").groupby("rule").cumcount()
    first = every[every["rank"] <= most]
    found = every[[*KEYS, "qk", "ov"]].drop_duplicates(KEYS)
    for name in ORDERS:
        ranks = first.loc[first["rule"] == name, [*KEYS, "rank"]].rename(columns={"rank": f"rank_{name}"})
        found = found.merge(ranks, on=KEYS, how="left")
    return found.dropna(subset=[f"rank_{name}" for name in ORDERS], how="all").reset_index(drop=True)


def matched(split: Parts, rows: pd.DataFrame, features: Vocabulary, tokens: Vocabulary, seed: int) -> pd.DataFrame:
    """For each row one of the same head with features and an output token that are about as frequent as its own."""
    counts = {"source": features, "destination": features, "out": tokens}
    drawn = {
        name: frequency_matched(rows[name].to_numpy(), known.count.to_numpy(), seed + number)
        for number, (name, known) in enumerate(counts.items())
    }
    found = rows.assign(**drawn)
    for head, mine_ in found.groupby("head"):
        source, destination, out = (torch.from_numpy(mine_[name].to_numpy().astype(np.int64)) for name in KEYS[1:])
        qk = split.qk[int(head)].centred(features.probability).entries(destination, source)
        found.loc[mine_.index, "qk"] = qk.numpy()
        found.loc[mine_.index, "ov"] = split.ov[int(head)].centred().entries(source, out).numpy()
    return found


class Run(NamedTuple):
    """A context as the model runs it: features, attention, values and final stream of the last layer."""

    features: Float[Tensor, "ctx features"]
    pattern: Float[Tensor, "n_heads ctx ctx"]
    values: Float[Tensor, "n_heads ctx d_head"]
    after: Float[Tensor, "ctx d_model"]


@torch.no_grad()
def run(split: Parts, tokens: Int[Tensor, " ctx"]) -> Run:
    """Run the model itself on a context."""
    state, layer = sites.run(split.model, tokens[None]), split.model.blocks[-1]
    after = layer.add(state.before, state.z @ layer.o)[0]
    return Run(split.features.activations(state.before[0]), state.pattern[0], state.values[0], after)


class Worth(NamedTuple):
    """Of every row: places of the text, and nats per 1,000 tokens, of each context and of all with a standard error."""

    n: Integer[np.ndarray, " rows"]
    saved: Float[np.ndarray, "rows batch"]

    @property
    def nats(self) -> Float[np.ndarray, " rows"]:
        """The mean over contexts."""
        return self.saved.mean(1)

    @property
    def se(self) -> Float[np.ndarray, " rows"]:
        """Its standard error."""
        n = self.saved.shape[1]
        return self.saved.std(1, ddof=1) / n**0.5 if n > 1 else np.full(len(self.saved), np.nan)


@torch.no_grad()
def worth(split: Parts, rows: pd.DataFrame, windows: Int[Tensor, "batch width"]) -> Worth:
    """By how much the loss rises when OV[source, out] of a head is taken away where the destination is active.

    δ_i = Σ_j A_ij f_source(j) OV[source, out] is taken from one logit of the model as it is, with its own attention, at
    every place i where f_destination(i) > 0 (`account.rows.savings` has the equation). `n` counts those places where
    the source is active before them, or at them.
    """
    head, source, destination, out = _ids(rows)
    value = torch.from_numpy(Entries.at(split.ov, *(each.numpy() for each in (head, source, out))).value)
    places, saved = (np.zeros((len(rows), len(windows))) for _ in range(2))
    for number, window in enumerate(windows):
        ran, targets = run(split, window[:-1]), window[1:]
        active = ran.features[:, destination] > 0
        active[0] = False  # nothing is predicted from the token that begins a context
        seen = (ran.features > 0).cumsum(0) > 0
        place, row = (active & seen[:, source]).nonzero(as_tuple=True)
        if not len(row):
            continue
        probability = split.model.logits(ran.after).softmax(-1)
        attended = ran.pattern @ ran.features
        delta = attended[head[row], place, source[row]] * value[row]
        rise = saved_by(delta, probability[place, out[row]], targets[place] == out[row]).double().numpy()
        places[:, number] = np.bincount(row.numpy(), minlength=len(rows))
        saved[:, number] = np.bincount(row.numpy(), rise, minlength=len(rows))
    return Worth(places.sum(1).astype(np.int64), 1000 / (windows.shape[1] - 2) * saved)


class Where(NamedTuple):
    """Places of text at which edges are cut: the row of each, its context, and its place in it."""

    row: Int[np.ndarray, " n"]
    window: Int[np.ndarray, " n"]
    place: Int[np.ndarray, " n"]


class Cut(NamedTuple):
    """What cutting edges does: of every row, and at each place, where `source` is the cut place most attended to."""

    found: pd.DataFrame
    at: Where
    source: Int[np.ndarray, " n"]
    loss: Float[np.ndarray, " n"]


@torch.no_grad()
def where(
    split: Parts,
    rows: pd.DataFrame,
    windows: Int[Tensor, "batch width"],
    document: Int[np.ndarray, "batch places"],
    least: Float[Tensor, " features"],
    places: int,
) -> Where:
    """At most `places` places of every row, evenly spread over those where `edges` has one to cut."""
    _, source, destination, _ = _ids(rows)
    found = []
    for number, window in enumerate(windows):
        strong = run(split, window[:-1]).features >= least
        row, place = _stand(strong, torch.from_numpy(document[number]), source, destination).nonzero(as_tuple=True)
        found.append(np.stack([row.numpy(), np.full(len(row), number), place.numpy()]))
    every = np.concatenate(found, 1)
    every = every[:, np.argsort(every[0], kind="stable")]
    count = np.bincount(every[0], minlength=len(rows))
    ends = count.cumsum()
    kept = [
        end - n + np.linspace(0, n - 1, min(places, n)).astype(np.int64)
        for n, end in zip(count.tolist(), ends.tolist(), strict=True)
    ]
    chosen = every[:, np.concatenate(kept)]
    return Where(*chosen[:, np.argsort(chosen[1], kind="stable")])


def _stand(
    strong: Bool[Tensor, "ctx features"],
    document: Int[Tensor, " places"],
    source: Int[Tensor, " rows"],
    destination: Int[Tensor, " rows"],
) -> Bool[Tensor, "rows ctx"]:
    """Where each row has a destination with its source before it in the same document, the first place apart."""
    begins = torch.cat([torch.tensor([-1]), document])  # the token that begins the context is of no document
    before = torch.zeros(len(source), len(strong), dtype=torch.bool)
    for each in document.unique():
        here = begins == each
        seen = (strong[:, source] & here[:, None]).cumsum(0).T > 0
        before[:, 1:] |= seen[:, :-1] & here[1:]
    return before & strong[:, destination].T


@torch.no_grad()
def edges(
    split: Parts,
    rows: pd.DataFrame,
    windows: Int[Tensor, "batch width"],
    document: Int[np.ndarray, "batch places"],
    least: Float[Tensor, " features"],
    places: int,
) -> Cut:
    """What happens where the head may no longer attend from the destination to places where the source is active.

    At up to `places` places where the destination's activation is at least `least`, with the source's at least that
    before it in the document, those edges are cut and the rest of the attention is scaled up to one, as
    `evidence.causal` does for tokens; only the last layer's output at the destination changes. Columns:
    `evidence.tables.USED` without `use`, and `documents`, by which errors are clustered.
    """
    head, source, _, out = _ids(rows)
    at = where(split, rows, windows, document, least, places)
    loss, fall, most = np.empty(len(at.row)), np.empty(len(at.row)), np.empty(len(at.row), np.int64)
    layer = split.model.blocks[-1]
    for number in np.unique(at.window):
        mine_ = np.flatnonzero(at.window == number)
        row, place = (torch.from_numpy(each[mine_]) for each in (at.row, at.place))
        window = windows[number]
        ran = run(split, window[:-1])
        begins = torch.cat([torch.tensor([-1]), torch.from_numpy(document[number])])
        cut = (ran.features >= least)[:, source[row]].T & (begins == begins[place][:, None])
        cut &= torch.arange(len(begins)) < place[:, None]
        attention = ran.pattern[head[row], place]
        most[mine_] = (attention * cut).argmax(-1).numpy()
        rest = attention.masked_fill(cut, 0)
        rest = rest / rest.sum(-1, keepdim=True).clamp(min=1e-30)
        moved = ((rest - attention)[:, None] @ ran.values[head[row]])[:, 0]
        written = torch.empty(len(row), split.model.d_model)
        for index, weights in enumerate(layer.W_O):
            written[head[row] == index] = moved[head[row] == index] @ weights
        intact, without = (split.model.logits(x) for x in (ran.after[place], ran.after[place] + written))
        target = window[1:][place]
        loss[mine_] = (log_p(intact, target) - log_p(without, target)).double().numpy()
        fall[mine_] = (log_p(intact, out[row]).exp() - log_p(without, out[row]).exp()).double().numpy()
    found = measured(at.row, loss, fall, document[at.window, at.place - 1], len(rows))
    return Cut(found.set_axis(rows.index), at, most, loss)


def _ids(rows: pd.DataFrame) -> list[Int[Tensor, " rows"]]:
    return [torch.from_numpy(rows[name].to_numpy().astype(np.int64)) for name in KEYS]
