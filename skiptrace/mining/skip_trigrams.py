"""Skip-trigrams, `source … destination → out`, and the heads that care for position instead.

Two rules select and rank them:

published   sources by max(QK)·max(OV)·p^power, then for each source the destinations by QK·p^power
            and the outs by OV ("A Mathematical Framework", section "Skip-Trigrams", and its open
            re-implementations);
expected    the logit that the out is expected to gain because the destination stands where it
            stands: the share of its attention that one such source draws in a context of average
            tokens, less the share that an average destination would give it, times OV. Only outs
            that follow the destination in the training text, and of the sources without a letter or a
            digit, white space above all, only a share. What n such places save if the text is as
            the head has it is about n·gain²/2 nats, so that gains are weighted with √n: the share of
            the pair, and of contexts that hold the source, to the power `text_power`.

Where positions are rotary, the second rule is followed at each of some distances too: with QK there, from which its
mean over sources is taken, since that is what a head makes of the distance alone; other sources stand anywhere.

A bare product grows without bound in QK; attention does not. And a source that draws everyone's
attention, as positional heads make some, is no reason to name a destination. Nor is an out that
never follows the destination, however strongly weights favour it: the direct path rules it out.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from skiptrace.arithmetic import log
from skiptrace.circuits.factored import PANEL, Circuit, Head, heads, ov, qk, seen
from skiptrace.config.mining import MiningParams
from skiptrace.devices import CPU
from skiptrace.mining.scan import row_tops
from skiptrace.mining.tables import COPIES, POSITIONAL, SKIP_TRIGRAMS
from skiptrace.mining.topk import Top, order, row_top
from skiptrace.mining.vocabulary import Pairs, Vocabulary
from skiptrace.models.transformer import Transformer
from skiptrace.tables import Table

ROLES = ("source", "destination", "out")
PRIMARILY_POSITIONAL = "Primarily Positional"


class Circuits(NamedTuple):
    """A head and its two circuits; where positions are rotary, also QK at some distances."""

    layer: int
    head: int
    qk: Circuit
    ov: Circuit
    at: Mapping[int, Circuit] = {}

    @classmethod
    def of(cls, model: Transformer, head: Head, offsets: Sequence[int] = (), device: torch.device = CPU) -> "Circuits":
        """Those of a head, and QK at the offsets that it sees."""
        turned = seen(model, head[0], offsets) if model.config.rotary else ()  # others order tokens alike everywhere
        at = {offset: qk(model, *head, offset).on(device) for offset in turned}
        return cls(*head, qk(model, *head).on(device), ov(model, *head).on(device), at)


class Rule(NamedTuple):
    """A rule: the triples that it selects, and what a destination and an out are worth to a source, without OV.

    `selected` has the places among the eligible tokens of `source`, `destination` and `out`; `worth` takes them.
    """

    selected: pd.DataFrame
    worth: Callable[[Int[Tensor, " n"], Int[Tensor, " n"], Int[Tensor, " n"]], Float[Tensor, " n"]]


class Draws(NamedTuple):
    """What average tokens draw: log n + log E_p[exp(QK)] by destination; and the average share of each source."""

    level: Float[Tensor, " eligible"]
    average: Float[Tensor, " eligible"]


def mine(found: Iterable[pd.DataFrame], vocabulary: Vocabulary, params: MiningParams) -> pa.Table:
    """The skip-trigrams of all heads (each from `of_head`) as `SKIP_TRIGRAMS`, ranked together by `params.ranking`.

    What softmax ignores is taken out of `qk` and `ov`.
    """
    tables = list(found)
    if not tables:
        return SKIP_TRIGRAMS.schema.empty_table()
    return _ranked(pd.concat(tables, ignore_index=True), vocabulary, params)


def of_model(
    model: Transformer,
    vocabulary: Vocabulary,
    params: MiningParams,
    among: Sequence[Head] | None = None,
    offsets: Sequence[int] = (),
) -> pd.DataFrame:
    """The skip-trigrams of every head of a model in memory, or of those `among` them, as `mine` ranks them.

    Where positions are rotary, also those at these `offsets`.
    """
    every = (Circuits.of(model, head, offsets) for head in (heads(model) if among is None else among))
    return mine((of_head(circuits, vocabulary, params) for circuits in every), vocabulary, params).to_pandas()


def of_head(circuits: Circuits, vocabulary: Vocabulary, params: MiningParams) -> pd.DataFrame:
    """The skip-trigrams that either rule selects of one head, with their values and the rules that selected them."""
    eligible = vocabulary.eligible_ids(params.min_count)
    ov = circuits.ov.centred().restricted(eligible, eligible)
    draws = average_draws(circuits.qk, vocabulary, params)
    rules = {
        "published": published(circuits.qk, ov, vocabulary, params),
        "expected": expected(circuits.qk, ov, vocabulary, params, draws),
    }
    at = {}
    for offset, circuit in circuits.at.items():
        there = _centred(draws, circuits.qk, vocabulary, eligible)
        at[offset] = expected(circuit.centred(vocabulary.probability), ov, vocabulary, params, there)
    return _measure(circuits, rules, at, vocabulary, eligible)


def _centred(draws: Draws, qk: Circuit, vocabulary: Vocabulary, eligible: Int[Tensor, " eligible"]) -> Draws:
    """The same of QK less its mean over sources."""
    mean = qk.left[eligible] @ (qk.right @ vocabulary.probability[:, None])
    return Draws(draws.level - mean[:, 0], draws.average)


def published(qk: Circuit, ov: Circuit, vocabulary: Vocabulary, params: MiningParams) -> Rule:
    """QK, centred, times p^power of both tokens."""
    eligible = vocabulary.eligible_ids(params.min_count)
    weight = vocabulary.probability[eligible] ** params.frequency_power
    qk = qk.centred(vocabulary.probability).restricted(eligible, eligible).weighted(weight)
    best = row_tops(qk.transposed(), params.destinations)

    def worth(source: Tensor, destination: Tensor, out: Tensor) -> Tensor:
        return qk.entries(destination, source) * weight[source]

    return Rule(_select(best, row_tops(ov, params.outs), weight, params), worth)


def average_draws(qk: Circuit, vocabulary: Vocabulary, params: MiningParams) -> Draws:
    """What average tokens draw from every eligible destination, and an eligible source from an average destination."""
    eligible, seen = vocabulary.eligible_ids(params.min_count), vocabulary.probability.nonzero().squeeze(1)
    level = torch.full_like(vocabulary.probability, torch.nan)
    average = torch.zeros_like(vocabulary.probability)
    p, among = vocabulary.probability[seen], torch.isin(seen, eligible).nonzero().squeeze(1)
    for places, entries in qk.restricted(seen, seen).row_panels():
        of_sources = entries[:, among]
        # In place: a panel more is what memory is short of first, and touching it anew takes as long as computing it.
        most = entries.add_(log(p)).amax(1, keepdim=True)
        here = entries.sub_(most).exp_().sum(1).log_() + most[:, 0] + math.log(params.context)
        level[seen[places]] = here
        average[seen[among]] += p[places] @ of_sources.sub_(here[:, None]).sigmoid_()
        del entries  # or the next panel is held beside it
    return Draws(level[eligible], average[eligible])


def expected(qk: Circuit, ov: Circuit, vocabulary: Vocabulary, params: MiningParams, draws: Draws) -> Rule:
    """The share of attention that a source draws from this destination beyond its average share.

    The attention one source draws among n average tokens is r/(n + r) with r = exp(QK)/E_p[exp(QK)]. Outs follow the
    destination in the training text where the vocabulary knows what does; they are any where it does not.
    """
    eligible, (level, average) = vocabulary.eligible_ids(params.min_count), draws
    qk = qk.restricted(eligible, eligible)
    pairs = vocabulary.pairs(params.min_count, params.min_pairs)
    weight = vocabulary.probability[eligible] ** params.frequency_power
    # That a source stands in a context at all.
    common = (-torch.expm1(params.context * torch.log1p(-vocabulary.probability[eligible]))) ** params.text_power

    def worth(source: Tensor, destination: Tensor, out: Tensor) -> Tensor:
        share = torch.sigmoid(qk.entries(destination, source) - level[destination]) - average[source]
        if pairs is None:
            return share * weight[destination]
        return share * common[source] * pairs.shares(destination, out) ** params.text_power

    if pairs is not None:

        def gains(source: Tensor) -> Tensor:
            share = qk.transposed().rows(source).sub_(level).sigmoid_().sub_(average[source, None])
            return share.clamp_(min=0).mul_(common[source, None])

        return Rule(_follow(gains, ov, pairs, vocabulary.spelled[eligible], params), worth)

    def gain(tile: Tensor, source: int, destination: int) -> None:
        rows, columns = slice(source, source + len(tile)), slice(destination, destination + tile.shape[1])
        one, mean, times = (values.to(tile.device) for values in (level[columns], average[rows, None], weight[columns]))
        tile.sub_(one).sigmoid_().sub_(mean).mul_(times)

    best = row_tops(qk.transposed(), params.destinations, gain)
    return Rule(_select(best, row_tops(ov, params.outs), torch.ones_like(weight), params), worth)


def mine_positional(found: Iterable[pd.DataFrame], vocabulary: Vocabulary) -> pa.Table:
    """The sources that positional heads act on most, each from `best_outs`, `score` = ov · p(source)^power, in logits.

    Such a head attends by distance; its destination column reads "Primarily Positional".
    """
    tables = list(found)
    if not tables:
        return POSITIONAL.schema.empty_table()
    table = ranked(pd.concat(tables, ignore_index=True), "score").assign(destination=PRIMARILY_POSITIONAL)
    return with_texts(table, vocabulary, POSITIONAL)


def best_outs(ov: Circuit, vocabulary: Vocabulary, params: MiningParams) -> pd.DataFrame:
    """The sources that an OV circuit acts on most, each with its outs: `source_id, out_id, ov, score`.

    `score` is the centred ov · p(source)^power, in logits.
    """
    eligible = vocabulary.eligible_ids(params.min_count)
    outs = row_tops(ov.centred().restricted(eligible, eligible), params.outs)
    score = outs.values * vocabulary.probability[eligible, None] ** params.frequency_power
    source = order(score[:, 0])[: params.sources]
    columns = {
        "source_id": eligible[source, None].expand(-1, score.shape[1]),
        "out_id": eligible[outs.index[source].long()],
        "ov": outs.values[source],
        "score": score[source],
    }
    return pd.DataFrame({k: v.flatten().numpy() for k, v in columns.items()})


def ranked(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """The rows whose `column` is above zero and finite, largest first, with their `rank`."""
    table = table.sort_values(column, ascending=False, kind="stable")
    table = table[table[column].between(0, float("inf"), inclusive="neither")]
    return table.assign(rank=range(1, len(table) + 1))


def mine_copies(found: Iterable[pd.DataFrame], vocabulary: Vocabulary) -> pa.Table:
    """The tokens that each head copies most, each from `copies`: largest centred OV[a, a], in logits.

    `own_rank` is the token's place in its own row of OV, 1 for the first.
    """
    tables = list(found)
    if not tables:
        return COPIES.schema.empty_table()
    return with_texts(ranked(pd.concat(tables, ignore_index=True), "ov"), vocabulary, COPIES)


def copies(ov: Circuit, vocabulary: Vocabulary, params: MiningParams) -> pd.DataFrame:
    """The tokens that one head copies most: `source_id, ov, own_rank`."""
    eligible, centred = vocabulary.eligible_ids(params.min_count), ov.centred()
    source = eligible[order(centred.entries(eligible, eligible))[: params.sources]]
    value, place = torch.empty(len(source)), torch.empty(len(source), dtype=torch.int64)
    for rows, entries in centred.restricted(source, torch.arange(ov.shape[1])).row_panels():
        value[rows] = entries.gather(1, source[rows, None]).squeeze(1)
        place[rows] = 1 + (entries > value[rows, None]).sum(1)
    return pd.DataFrame({"source_id": source.numpy(), "ov": value.numpy(), "own_rank": place.numpy()})


def _select(destinations: Top, outs: Top, sources: Float[Tensor, " eligible"], params: MiningParams) -> pd.DataFrame:
    """The triples of the best sources, each with all its best destinations and outs."""
    best = destinations.values[:, 0].clamp(min=0) * outs.values[:, 0].clamp(min=0) * sources
    source = order(best)[: params.sources]
    source = source[best[source] > 0]
    shape = (len(source), destinations.index.shape[1], outs.index.shape[1])
    return _triples(
        source[:, None, None].expand(shape),
        destinations.index[source][:, :, None].expand(shape),
        outs.index[source][:, None, :].expand(shape),
        (destinations.values[source])[:, :, None] * outs.values[source][:, None, :],
    )


def _follow(
    gains: Callable[[Int[Tensor, " n"]], Float[Tensor, "n eligible"]],
    ov: Circuit,
    pairs: Pairs,
    spelled: Bool[Tensor, " eligible"],
    params: MiningParams,
) -> pd.DataFrame:
    """The triples of the best sources, each with its best pairs of a destination and an out that follows it."""
    weight = pairs.share**params.text_power
    at_once = max(1, PANEL // len(pairs.share))
    # Written into the same memory each time: what is allocated anew costs several times the arithmetic.
    panels = [torch.empty(at_once, len(pairs.share), dtype=ov.left.dtype) for _ in range(2)]
    found = []
    for source in torch.arange(len(spelled)).split(at_once):
        worth, raised = (panel[: len(source)] for panel in panels)
        torch.index_select(gains(source), 1, pairs.destination, out=worth)
        torch.index_select(ov.rows(source), 1, pairs.out, out=raised)
        found.append(row_top(worth.mul_(raised).mul_(weight), params.destinations * params.outs))
    values, index = (torch.cat([getattr(top, name) for top in found]) for name in ("values", "index"))
    best = order(values[:, 0])
    plain = ~spelled[best]
    best = best[~plain | (plain.cumsum(0) <= params.plain_share * params.sources)][: params.sources]
    source = best[:, None].expand(-1, index.shape[1])
    return _triples(source, pairs.destination[index[best]], pairs.out[index[best]], values[best])


def _triples(source: Tensor, destination: Tensor, out: Tensor, worth: Tensor) -> pd.DataFrame:
    columns = {"source": source, "destination": destination, "out": out, "worth": worth}
    table = pd.DataFrame({name: column.flatten().numpy() for name, column in columns.items()})
    # A place that had to be filled with a token that pulls down is no skip-trigram.
    return table[table["worth"].between(0, float("inf"), inclusive="neither")].drop(columns="worth")


def _measure(
    circuits: Circuits,
    rules: Mapping[str, Rule],
    at: Mapping[int, Rule],
    vocabulary: Vocabulary,
    eligible: Int[Tensor, " eligible"],
) -> pd.DataFrame:
    """One row per triple, with its values and the rules that selected it; `at` are those at a distance."""
    named = [*rules.items(), *(("offset", rule) for rule in at.values())]
    selected = pd.concat([rule.selected.assign(rule=name) for name, rule in named])
    by = {f"by_{name}": selected["rule"] == name for name in (*rules, "offset")}
    table = selected.assign(**by).groupby(list(ROLES), as_index=False)[list(by)].any()
    places = [torch.from_numpy(table.pop(role).to_numpy().astype("int64")) for role in ROLES]
    source, destination, out = ids = tuple(eligible[place] for place in places)
    ov = circuits.ov.centred().entries(source, out)
    worth = {name: rule.worth(*places) * ov for name, rule in rules.items()}
    values = {
        "qk": circuits.qk.centred(vocabulary.probability).entries(destination, source),
        "ov": ov,
        "score": worth["published"],
        "expected": worth["expected"],
        **_best_offset(circuits, {offset: rule.worth(*places) * ov for offset, rule in at.items()}, vocabulary, ids),
    }
    columns = {"source_id": source, "destination_id": destination, "out_id": out, **values}
    table = table.assign(layer=circuits.layer, head=circuits.head, **{k: v.numpy() for k, v in columns.items()})
    return table[table["ov"] > 0]


def _best_offset(
    circuits: Circuits, expected: Mapping[int, Tensor], vocabulary: Vocabulary, ids: Sequence[Int[Tensor, " n"]]
) -> dict[str, Tensor]:
    """The distance at which most is expected of each row, QK there, and how much; NaN where none is looked at."""
    source, destination, _ = ids
    if not expected:
        return dict.fromkeys(("offset", "qk_at_offset", "expected_at_offset"), torch.full(source.shape, torch.nan))
    each = [c.centred(vocabulary.probability).entries(destination, source) for c in circuits.at.values()]
    best = torch.stack(list(expected.values())).max(0)
    return {
        "offset": torch.tensor(list(expected))[best.indices].float(),
        "qk_at_offset": torch.stack(each).gather(0, best.indices[None])[0],
        "expected_at_offset": best.values,
    }


def _ranked(table: pd.DataFrame, vocabulary: Vocabulary, params: MiningParams) -> pa.Table:
    for rule, column in (("published", "score"), ("expected", "expected"), ("offset", "expected_at_offset")):
        mine, table[f"rank_{rule}"] = table[table[f"by_{rule}"]], math.nan
        ordered = mine.sort_values(column, ascending=False, kind="stable").index
        table.loc[ordered, f"rank_{rule}"] = range(1, len(ordered) + 1)
    by = f"rank_{params.ranking}"
    table = table.sort_values("rank_offset", kind="stable", na_position="last")
    table = table.sort_values(by, kind="stable", na_position="last")
    table["rank"] = range(1, len(table) + 1)
    return with_texts(table, vocabulary, SKIP_TRIGRAMS)


def with_texts(rows: pd.DataFrame, vocabulary: Vocabulary, table: Table) -> pa.Table:
    """The rows as the declared table, the text of every token beside its id."""
    texts = {r: vocabulary.token.iloc[rows[f"{r}_id"]].to_numpy() for r in ROLES if f"{r}_id" in rows}
    return table.arrow(rows.assign(**texts)[table.names])
