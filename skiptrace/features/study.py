"""Skip-trigrams between features of a model: how much of attention they recover, which there are, and what they do."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from skiptrace.account import orders as of_tokens
from skiptrace.account.entries import NO_ENTRIES, applies, losses_of, split
from skiptrace.account.entries import Running as RunningTokens
from skiptrace.account.orders import Ranked
from skiptrace.account.study import Text, of_rows
from skiptrace.config.account import AccountParams
from skiptrace.config.features import FeaturesParams
from skiptrace.config.mining import MiningParams
from skiptrace.dictionary import sites
from skiptrace.dictionary.language import documents, token_means
from skiptrace.dictionary.measures import statistics
from skiptrace.evidence.used import Use, judged
from skiptrace.features import orders, rows
from skiptrace.features.dictionary import Features, learned, random
from skiptrace.features.parts import Parts, Running, losses, parts
from skiptrace.features.tables import (
    CURVE,
    DRAWN,
    FEATURES,
    KINDS,
    LEARNED,
    MINED,
    RANDOM,
    ROUNDS,
    ROWS,
    RUNGS,
    SELECTED,
    TOKENS,
)
from skiptrace.mining.vocabulary import Pairs, Vocabulary
from skiptrace.models.transformer import Transformer
from skiptrace.models.windows import BOS_ID, random_windows, spread_windows

FINE = 10_000  # entries up to which the rounds take a step between the counts of the curve
TOP = 0.9  # the quantile of a feature's activations from which on a place is one where it is most active
NAMED = 3  # tokens, without a letter or digit in which a feature counts as white space does (mining.plain_share)
AROUND, APART = 8, 24  # tokens shown on either side of an example, and at most so many between source and destination


class Study(NamedTuple):
    """The tables of data/features/<m>."""

    rungs: pd.DataFrame
    curve: pd.DataFrame
    features: pd.DataFrame
    rows: pd.DataFrame
    kinds: pd.DataFrame


class Losses(NamedTuple):
    """Of every held-out context, nats per token: without interactions of tokens, and of the model."""

    additive: Float[np.ndarray, " contexts"]
    whole: Float[np.ndarray, " contexts"]

    def recovered(self, loss: Float[np.ndarray, " contexts"]) -> tuple[float, float]:
        """(L_additive − L) / (L_additive − L_whole), with a standard error over contexts by the delta method."""
        return self._share(self.additive - loss)

    def ahead(self, of: Float[np.ndarray, " contexts"], other: Float[np.ndarray, " contexts"]) -> tuple[float, float]:
        """By how much one recovers more than another, on the same contexts."""
        return self._share(other - of)

    def _share(self, gained: Float[np.ndarray, " contexts"]) -> tuple[float, float]:
        possible = self.additive - self.whole
        share = gained.mean() / possible.mean()
        return share, _se(gained - share * possible) / abs(possible.mean())


def _se(values: Float[np.ndarray, " n"]) -> float:
    return float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else float("nan")


@torch.no_grad()
def study(
    model: Transformer,
    text: Text,
    tokens: Vocabulary,
    params: FeaturesParams,
    account: AccountParams,
    mining: MiningParams,
    fdr: float,
) -> Study:
    """Study a model that `account.entries.splits`, on the held-out contexts of its account.

    In models of one layer, where both start from the same additive parts, entries between tokens stand beside those
    between features, chosen in the same way on the same training text. Rows are mined between features and between
    random ones alike.
    """
    seen = random_windows(text.train, model.n_ctx, params.windows, params.seed, 0)
    x = sites.read_by_last(model, seen)
    held_out = spread_windows(text.valid, model.n_ctx, account.contexts)
    frequency = text.frequency.to(x.dtype)
    centre = (frequency[None] @ model.W_E)[0] if model.n_layers == 1 else x.mean(0)
    found = learned(x, params, "what heads read")
    bases = {LEARNED: found, RANDOM: random(x, found, params.seed)}
    every = {name: parts(model, each, centre, frequency) for name, each in bases.items()}

    def draw(number: int) -> Int[Tensor, "batch width"]:
        return random_windows(text.train, model.n_ctx, params.selection, params.seed, 1 + number)

    counts = [n for n in account.entries if n <= params.most] or account.entries[:1]
    steps = _steps(counts)
    ranked = {name: orders.rounds(each, draw, steps) for name, each in every.items()}
    if applies(model):
        tokenwise = split(model, text.frequency)
        among = of_tokens.ranked_tokens(model.n_heads, text.frequency)
        _, first = of_tokens.attribution(tokenwise, draw, among, steps[0], steps[0])
        ranked[TOKENS] = of_tokens.rounds(tokenwise, draw, among, steps, first)
    known = {name: vocabulary(each, x, seen, tokens, text.token, mining) for name, each in bases.items()}
    ordered_on = draw(max(len(steps), len(of_tokens.PATH)))
    mined = {name: selected(each, known[name], tokens, mining, params, ordered_on) for name, each in every.items()}
    at, rungs = measure(every, held_out)
    curved = curve(every, ranked, mined, held_out, at, counts, account.shown_rows, text)
    asked = {name: each.head(params.checked).assign(kind=SELECTED[name]) for name, each in mined.items()}
    drawn = rows.matched(every[LEARNED], asked[LEARNED], known[LEARNED], tokens, params.seed)
    asked[LEARNED] = pd.concat([asked[LEARNED], drawn.assign(kind=DRAWN, chosen_nats=np.nan)], ignore_index=True)
    listed, kinds = checked(every, asked, x, text, params, fdr)
    described = describe(found, x, seen, every[LEARNED], held_out, text, params)
    return Study(rungs, curved, described, listed, kinds)


def selected(
    split_: Parts,
    known: Vocabulary,
    tokens: Vocabulary,
    mining: MiningParams,
    params: FeaturesParams,
    windows: Int[Tensor, "batch width"],
) -> pd.DataFrame:
    """The mined rows, those first that save most on these contexts of training text (`chosen_nats`)."""
    mined = rows.mine(split_, known, tokens, mining, params.rows)
    mined = mined.assign(chosen_nats=rows.worth(split_, mined, windows).nats)
    return mined.sort_values("chosen_nats", ascending=False, kind="stable", ignore_index=True)


def _steps(counts: Sequence[int]) -> list[int]:
    between = [round((a * b) ** 0.5) for a, b in itertools.pairwise(counts) if b <= FINE]
    return sorted({*counts, *between})


@dataclass(frozen=True)
class FeatureVocabulary(Vocabulary):
    """Features in the place of tokens, and the pairs of a feature and a token that follows it."""

    followed: Pairs | None = None

    def pairs(self, min_count: int, min_pairs: int) -> Pairs | None:
        """The pairs that are counted: of eligible features and tokens, often enough side by side."""
        return self.followed


def vocabulary(
    features: Features,
    x: Float[Tensor, "places d_model"],
    seen: Int[Tensor, "batch width"],
    tokens: Vocabulary,
    token: pd.Series,
    mining: MiningParams,
) -> FeatureVocabulary:
    """How often each feature is active, its share of all that is, and which tokens follow it; the constant never is.

    As of tokens, pairs count that stand side by side `mining.min_pairs` times in the text that features are learned on;
    without any, outputs are any. A feature is named by the three tokens that most of its activation stands on.
    """
    f, next_id = features.activations(x)[:, 1:], seen[:, 2:].flatten()
    active = f > 0
    count = torch.cat([torch.zeros(1, dtype=torch.int64), active.sum(0)])
    mass = torch.zeros(len(token), f.shape[1]).index_add_(0, seen[:, 1:-1].flatten(), f)
    names = ["", *("".join(token.iloc[top]) for top in mass.topk(min(NAMED, len(token)), dim=0).indices.T.numpy())]
    plain = Vocabulary(pd.Series(names), pd.Series(count.numpy()), count / count.sum())
    within, outs = plain.eligible_ids(mining.min_count), tokens.eligible_ids(mining.min_count)
    beside = torch.zeros(len(token), f.shape[1]).index_add_(0, next_id, active.float())[outs][:, within - 1].T
    destination, out = (beside >= mining.min_pairs).nonzero(as_tuple=True)
    pairs = Pairs(destination, out, beside[destination, out] / len(f)) if len(out) else None
    return FeatureVocabulary(plain.token, plain.count, plain.probability, followed=pairs)


def measure(every: dict[str, Parts], held_out: Int[Tensor, "batch width"]) -> tuple[Losses, pd.DataFrame]:
    """The losses of the model and without interactions, and every rung: `features.tables.RUNGS`."""
    found, whole = {}, np.empty(len(held_out))
    for name, own in every.items():
        model, layer = own.model, own.model.blocks[-1]
        read, xs = np.empty(len(held_out)), []
        for number, window in enumerate(held_out):
            before, pos = sites.run(model, window[None, :-1]).before, model.positions(held_out.shape[1] - 1)
            x_hat = own.features.centred(before[0]) @ own.features.directions
            whole[number] = _loss(model, layer.add(before, layer(before, pos))[0], window)
            read[number] = _loss(model, layer.add(before, layer(x_hat[None], pos))[0], window)
            xs.append(before[0, 1:])
        additive, entries = losses([Running(own, NO_ENTRIES, NO_ENTRIES), Running(own, None, None)], held_out)
        x = torch.cat(xs)
        f, x_hat = own.features.activations(x), own.features.centred(x) @ own.features.directions
        known = statistics(x.T, x_hat.T, f[:, 1:].T)
        found[name] = {"additive": additive, "every entry": entries, "heads read x̂": read}, known
    at = Losses(found[LEARNED][0]["additive"], whole)
    table = [
        (
            name,
            rung,
            loss.mean(),
            _se(loss),
            *at.recovered(loss),
            known.l0,
            known.variance_explained,
            known.dead_fraction,
        )
        for name, (rungs, known) in found.items()
        for rung, loss in (rungs | {"whole model": whole}).items()
    ]
    return at, RUNGS.frame(table)


def _loss(model: Transformer, after: Float[Tensor, "ctx d_model"], window: Int[Tensor, " width"]) -> float:
    logits, targets = model.logits(after[1:]), window[2:, None]
    return float((logits.logsumexp(-1) - logits.gather(1, targets)[:, 0]).double().mean())


def curve(
    every: dict[str, Parts],
    ranked: dict[str, Ranked],
    mined: dict[str, pd.DataFrame],
    held_out: Int[Tensor, "batch width"],
    at: Losses,
    counts: Sequence[int],
    shown_rows: int,
    text: Text,
) -> pd.DataFrame:
    """The share that the first entries of each basis recover: `features.tables.CURVE`."""
    found: dict[tuple[str, str, int], np.ndarray] = {}
    for name, split_ in every.items():
        asked = {(name, ROUNDS, n): (ranked[name].qk.first(n), ranked[name].ov.first(n)) for n in counts}
        own = mined[name]
        for n in dict.fromkeys(min(n, len(own)) for n in (shown_rows, len(own)) if len(own)):
            ends = (own[key].to_numpy()[:n] for key in rows.KEYS)
            asked[name, MINED, n] = of_rows(split_.qk, split_.ov, *ends)
        found |= dict(zip(asked, losses([Running(split_, *each) for each in asked.values()], held_out), strict=True))
    if TOKENS in ranked:
        tokens, of = split(every[LEARNED].model, text.frequency), ranked[TOKENS]
        running = [RunningTokens(tokens, of.qk.first(n), of.ov.first(n)) for n in counts]
        found |= dict(zip(((TOKENS, ROUNDS, n) for n in counts), losses_of(running, held_out), strict=True))
    table = []
    for (name, order, n), loss in found.items():
        beside = found.get((LEARNED, order, n))
        ahead = (np.nan, np.nan) if beside is None or name == LEARNED else at.ahead(beside, loss)
        table.append((name, order, n, loss.mean(), *at.recovered(loss), *ahead))
    return CURVE.frame(table)


def describe(
    features: Features,
    x: Float[Tensor, "places d_model"],
    seen: Int[Tensor, "batch width"],
    split_: Parts,
    held_out: Int[Tensor, "contexts width"],
    text: Text,
    params: FeaturesParams,
) -> pd.DataFrame:
    """What each feature is of: `features.tables.FEATURES`.

    What token and position explain is 1 − Σ(f − f̄)² / Σ(f − mean)² on held-out text, f̄ the mean on training text where
    the token, or the position, is the same.
    """
    read, names = seen[:, 1:-1].flatten(), text.token.to_numpy()
    f = features.activations(x)[:, 1:].T.contiguous()
    there = features.activations(sites.read_by_last(split_.model, held_out))[:, 1:].T
    per = held_out.shape[1] - 2
    explained = []
    for at, now, groups in (
        (read, held_out[:, 1:-1].flatten(), split_.model.d_vocab),
        (torch.arange(per).repeat(len(seen)), torch.arange(per).repeat(len(held_out)), per),
    ):
        left = (there - token_means(f, at, groups)[:, now]).square().sum(1)
        explained.append((1 - left / (there - there.mean(1, keepdim=True)).square().sum(1).clamp(min=1e-12)).numpy())
    varies = there.var(1).numpy() > 0
    table = []
    for number, own in enumerate(f):
        active = own.nonzero()[:, 0]
        mass = torch.zeros(split_.model.d_vocab).index_add_(0, read[active], own[active])
        top = mass.topk(min(params.tokens, len(mass)))
        ids = top.indices[top.values > 0].tolist()
        most = active[own[active] >= own[active].quantile(TOP)] if len(active) else active
        table.append(
            {
                "feature": number + 1,
                "density": len(active) / len(own),
                "tokens": list(names[ids]),
                "first_share": float(top.values[0] / mass.sum()) if ids else 0.0,
                "distinct": len(read[most].unique()),
                "token_explained": explained[0][number] if varies[number] else np.nan,
                "position_explained": explained[1][number] if varies[number] else np.nan,
            }
        )
    return FEATURES.frame(pd.DataFrame(table))


def checked(
    every: dict[str, Parts],
    given: dict[str, pd.DataFrame],
    x: Float[Tensor, "places d_model"],
    text: Text,
    params: FeaturesParams,
    fdr: float,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of each basis, by `kind`, measured and with their edges cut on held-out text; and their kinds side by side.

    Of held-out text as many contexts as the features are learned on, since most rows stand in few of them. A feature is
    strongly active where it is above the median of its activations on training text. Columns: `features.tables.ROWS`,
    `features.tables.KINDS`.
    """
    model = every[LEARNED].model
    held_out, per = spread_windows(text.valid, model.n_ctx, params.windows), model.n_ctx - 1
    document = documents(text.valid, model.n_ctx, len(held_out)).reshape(-1, per)
    parts: list[pd.DataFrame] = []
    saved: dict[str, Float[np.ndarray, " contexts"]] = {}
    for basis, own in given.items():
        if own.empty:
            continue
        split_ = every[basis]
        f = split_.features.activations(x)
        least = torch.where(f > 0, f, torch.nan).nanmedian(0).values.nan_to_num(torch.inf)
        cut = rows.edges(split_, own, held_out, document, least, params.places)
        measured = rows.worth(split_, own, held_out)
        by_kind = own.groupby("kind", sort=False)
        use = pd.concat([judged(cut.found.iloc[at], fdr) for at in by_kind.indices.values()]).sort_index()
        more = own.assign(n=measured.n, nats=measured.nats, nats_se=measured.se, rank=1 + by_kind.cumcount())
        parts.append(pd.concat([more, use, examples(len(own), cut, held_out, text.token)], axis=1))
        saved |= {str(kind): measured.saved[at].mean(0) for kind, at in by_kind.indices.items()}
    if not parts:
        return ROWS.frame(), KINDS.frame()
    found = pd.concat(parts, ignore_index=True)
    kinds = _side_by_side(found, saved)
    renamed = {"source": "source_feature", "destination": "destination_feature", "out": "out_id"}
    found = found.rename(columns=renamed).rename(columns=lambda name: str(name).removeprefix("example_"))
    out = text.token.iloc[found["out_id"]].to_numpy()
    return ROWS.frame(found.assign(layer=model.n_layers - 1, out=out)), kinds


def _side_by_side(found: pd.DataFrame, saved: dict[str, Float[np.ndarray, " contexts"]]) -> pd.DataFrame:
    """Of each kind of rows what one of them saves on average, and what becomes of their edges."""
    table, own = [], saved.get(SELECTED[LEARNED])
    for kind, each in saved.items():
        mine = found[found["kind"] == kind]
        edges = mine.drop_duplicates(["head", "source", "destination"])
        behind = np.full_like(each, np.nan) if own is None else own - each
        uses = ((edges["use"] == use).mean() for use in (Use.USED, Use.HARMFUL))
        sizes = (len(mine), len(edges), mine["chosen_nats"].mean())
        table.append(
            (kind, *sizes, each.mean(), _se(each), behind.mean(), _se(behind), *uses, edges["used_nats"].mean())
        )
    return KINDS.frame(table)


def examples(count: int, cut: rows.Cut, windows: Int[Tensor, "batch width"], token: pd.Series) -> pd.DataFrame:
    """For each of so many rows the place where its edge saves most, in words; empty where it was cut nowhere."""
    names = token.to_numpy()
    found = [dict.fromkeys(("before", "source", "between", "destination", "after"), "") for _ in range(count)]
    best = np.full(count, -np.inf)
    for row, window, place, source, loss in zip(*cut.at, cut.source, cut.loss, strict=True):
        if loss > best[row] and place - source <= APART:
            best[row], ids = loss, windows[window].numpy()
            ends = np.flatnonzero(ids == BOS_ID)  # documents: source and destination are of one
            start = max(source - AROUND, 1 + ends[ends <= source].max(initial=0))
            stop = min(place + 1 + AROUND, ends[ends > place].min(initial=len(ids)))
            spans = {
                "before": ids[start:source],
                "source": ids[source : source + 1],
                "between": ids[source + 1 : place],
                "destination": ids[place : place + 1],
                "after": ids[place + 1 : stop],
            }
            found[row] = {name: "".join(names[span]) for name, span in spans.items()}
    return pd.DataFrame(found).add_prefix("example_")
