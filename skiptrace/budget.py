"""What the studies of one model leave out so that they fit a time budget.

Nothing is timed: floating-point operations are estimated from the sizes of the model and of its vocabulary and divided
by a stated rate, so that the same key leaves out the same on every machine, and the same bytes are written. Every study
has its share of the budget. Where its estimate is above that, it looks at less: sizes are lowered one after the other,
in the order in which they stand in `LEAST`, each as little as is enough and none below what is given there.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
import pandas as pd

from skiptrace.config.base import Params
from skiptrace.costs import PER_ENTRY, RATE

if TYPE_CHECKING:  # so that a study depends on the parameters of no other
    from skiptrace.circuits.factored import Head
    from skiptrace.config.account import AccountParams
    from skiptrace.config.budget import BudgetParams
    from skiptrace.config.directions import DirectionsParams
    from skiptrace.config.expansion import ExpansionParams
    from skiptrace.config.exploration import ExplorationParams
    from skiptrace.config.mining import MiningParams
    from skiptrace.config.scoring import ScoringParams
    from skiptrace.config.verification import VerificationParams
    from skiptrace.models.config import ModelConfig

SOFTMAX = 1.3  # what logits cost, as a multiple of their product
ONE_THREAD = 2.0  # what one thread takes, as a multiple of two
DOUBLE = 2.0  # a number in double precision, as a multiple of one in single precision
PASSES = 100.0  # looking several times at an entry of a pattern, in small tensors
FACTORING = 20.0  # a QR or eigenvalue decomposition of n × n, as a multiple of n³: on one thread, in double precision
# Of the minutes of the budget, what each study may take; the rest is for import, summary and report.
SHARES = {
    "score": 0.085, "mine": 0.24, "verify": 0.141, "compose": 0.124, "account": 0.078, "directions": 0.134,
    "explore": 0.088,
}  # fmt: skip
# What a study of GPT-2's shape took, as a multiple of the operations that are counted here (docs/models.md).
MEASURED = {
    "score": 1.35, "mine": 1.65, "verify": 0.51, "compose": 1.43, "account": 1.14, "directions": 2.06, "explore": 1.18,
}  # fmt: skip
CUT_IN = 64  # tokens of a context in which an edge is cut, by default
HEADS = "heads"  # the size that stands for how many heads are looked at
# Sizes below which a study does not go, in the order in which they are lowered.
LEAST: dict[str, dict[str, int]] = {
    "score": {"loss_contexts": 16, "sequences": 8, "null_draws": 20},
    "mine": {"bins": 0, HEADS: 1},
    "verify": {HEADS: 6, "matched_rows": 40, "rows": 96, "context_tokens": 16, "text_places": 8, "contexts": 4,
               "other_destinations": 3, "null_rows": 80, "bound_places": 8, "quartets": 8},
    "compose": {HEADS: 12, "sequences": 4, "null_draws": 20},
    "account": {"edge_places": 16, "edges": 8, "layers": 0, "contexts": 8, "selection": 16},
    "directions": {HEADS: 4, "contexts": 4, "random_directions": 2, "removed": 1, "null_draws": 4},
    "explore": {"tokens": 64},
}  # fmt: skip
LOOKED_UP = 32_768  # tokens of heads, all heads together, that a page can look up without growing beyond ten megabytes


class Words(NamedTuple):
    """How many tokens occur in the training text, and how many often enough to be mined."""

    seen: int
    eligible: int

    @classmethod
    def of(cls, count: pd.Series, min_count: int) -> "Words":
        """Those of a vocabulary by its counts."""
        return cls(int((count > 0).sum()), int((count >= min_count).sum()))


class Cut(NamedTuple):
    """A size that a study was asked for, and the smaller one that fits its share of the budget."""

    study: str
    size: str
    asked: int
    kept: int


P = TypeVar("P", bound=Params)


@dataclass(frozen=True)
class Plan:
    """What one study looks at: sizes, those that were lowered, and the operations that it takes at its share."""

    sizes: Mapping[str, int]
    cuts: tuple[Cut, ...]
    operations: float = 0.0
    share: float = math.inf

    def of(self, params: P) -> P:
        """The parameters with the sizes of the plan in place of their own."""
        own = {name: value for name, value in self.sizes.items() if name in type(params).model_fields}
        return params.model_copy(update=own)

    def heads(self, among: "Iterable[Head]") -> "list[Head]":
        """As many of these heads as the plan has, in order: drawn at random, always the same, fewer among more."""
        every = sorted(among)
        kept = self.sizes[HEADS]
        if kept >= len(every):
            return every
        return [every[i] for i in sorted(np.random.default_rng(0).permutation(len(every))[:kept])]

    def said(self) -> str:
        """What is left out, in one line."""
        return ", ".join(f"{cut.kept:,} of {cut.asked:,} {cut.size.replace('_', ' ')}" for cut in self.cuts)

    def over(self) -> str:
        """How far the least that is looked at goes beyond the share; nothing where it does not."""
        if self.operations <= self.share:
            return ""
        takes, has = (
            f"{each / RATE:,.0f}" if each > 10 * RATE else f"{each / RATE:.2g}"
            for each in (self.operations, self.share)
        )
        return f"{takes} s on two cores at the least, beyond its share of {has} s"


def fit(
    study: str, budget: "BudgetParams", asked: Mapping[str, int], counted: Callable[[Mapping[str, int]], float]
) -> Plan:
    """The sizes of a study that its share of the budget allows, at most those `asked`; those of `LEAST` at the least.

    `counted` are the operations that it takes at given sizes, and have to grow with each of them.
    """

    def operations(sizes: Mapping[str, int]) -> float:
        return MEASURED[study] * counted(sizes)

    most = 60 * budget.minutes * SHARES[study] * RATE
    sizes = dict(asked)
    for name, least in LEAST[study].items():
        if operations(sizes) <= most:
            break
        low, high = min(least, sizes[name]), sizes[name]  # `high` does not fit
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if operations(sizes | {name: middle}) <= most else (low, middle)
        sizes[name] = low
    cuts = tuple(Cut(study, name, asked[name], kept) for name, kept in sizes.items() if kept < asked[name])
    return Plan(sizes, cuts, operations(sizes), most)


def _sizes(study: str, params: Params, **more: int) -> dict[str, int]:
    return {name: more[name] if name in more else int(getattr(params, name)) for name in LEAST[study]}


def _place(c: "ModelConfig", ctx: int) -> float:
    """Running the layers of a model at one place of a context."""
    width = c.n_heads * c.d_head
    mlp = (6.0 if c.gated_mlp else 4.0) * c.d_model * (c.d_mlp or 0)
    return c.n_layers * (8.0 * c.d_model * width + 4.0 * ctx * width + mlp)


def _logits(c: "ModelConfig") -> float:
    """The logits of one place."""
    return 2.0 * c.d_model * c.d_vocab * SOFTMAX


def _factors(c: "ModelConfig") -> float:
    """Making the factors of one circuit."""
    return 4.0 * c.d_vocab * c.d_model * c.d_head


def _own_row(c: "ModelConfig") -> float:
    """Where in its own row each token of a sample of at most 4,096 stands."""
    return min(c.d_vocab, 4096) * float(c.d_vocab) * (2 * c.d_head + 20)


def scoring(c: "ModelConfig", params: "ScoringParams", budget: "BudgetParams") -> Plan:
    """To score every head on text and beside random heads, and to measure the loss."""
    heads, ctx = c.n_layers * c.n_heads, c.n_ctx

    def operations(n: Mapping[str, int]) -> float:
        text = 3.0 * n["sequences"] * ctx * (_place(c, ctx) + 40.0 * ctx * c.n_layers * c.n_heads)
        losses = n["loss_contexts"] * ctx * (_place(c, ctx) + _logits(c))
        drawn = ctx * (4.0 * c.d_model * c.d_head + ctx * (2 * c.d_head + PASSES * (3 + c.n_heads)))
        positions = c.n_layers * n["null_draws"] * drawn
        random = 2 * n["null_draws"] * DOUBLE * (2.0 * c.d_model**2 * c.d_head + FACTORING * c.d_head**3)
        return text + losses + positions + random + heads * (_factors(c) + _own_row(c))

    return fit("score", budget, _sizes("score", params), operations)


def _mined(c: "ModelConfig", words: Words, bins: int = 0) -> float:
    """Mining one head; a histogram looks at every entry."""
    entry = 2 * c.d_head + PER_ENTRY
    every = 2.0 * float(c.d_vocab) ** 2 * entry if bins else 0.0
    return 2 * _factors(c) + every + entry * (float(words.seen) ** 2 + 7.0 * float(words.eligible) ** 2)


def mining(
    c: "ModelConfig", words: Words, params: "MiningParams", asked: int, offsets: int, budget: "BudgetParams"
) -> Plan:
    """To mine the heads that are `asked` for, QK at so many distances besides."""

    def operations(n: Mapping[str, int]) -> float:
        every = float(c.d_vocab) ** 2 if n["bins"] else 0.0
        direct = (2 * c.d_model + PER_ENTRY) * (float(words.eligible) ** 2 + every)
        turned = offsets * (_factors(c) + (2 * c.d_head + PER_ENTRY) * (every + 3.0 * float(words.eligible) ** 2))
        return direct + n[HEADS] * (_mined(c, words, n["bins"]) + turned)

    return fit("mine", budget, _sizes("mine", params, **{HEADS: asked}), operations)


def verification(
    c: "ModelConfig", words: Words, params: "VerificationParams", twins: int, budget: "BudgetParams"
) -> Plan:
    """To check mined rows of some heads, and those of two stand-ins of the same heads, and to mine these."""
    heads = c.n_layers * c.n_heads

    def operations(n: Mapping[str, int]) -> float:
        ctx = min(n["context_tokens"], c.n_ctx)
        run, logits = ctx * _place(c, ctx), _logits(c)
        rows = n["rows"] + 2 * min(n["matched_rows"], n["rows"])
        one = n["contexts"] * (2 * run + 3 * logits) + n["text_places"] * (run + 2 * logits)
        elsewhere = n["other_destinations"] * 4 * (run + 2 * logits)
        null = 3 * n[HEADS] * n["null_rows"] * n["contexts"] * (run + 2 * logits)
        bounds = n["bound_places"] * (64 * (run + logits) + heads * ctx / 2 * c.d_vocab * (2 * c.d_head + 8))
        quartets = 32 * n["quartets"] * (run + 2 * logits)
        stand_ins = 4 * heads * FACTORING * float(c.d_model) ** 3
        mined = (2 * n[HEADS] + twins * heads) * _mined(c, words)
        return rows * (one + elsewhere) + null + bounds + quartets + stand_ins + mined

    return fit("verify", budget, _sizes("verify", params, **{HEADS: heads}), operations)


def composition(c: "ModelConfig", params: "ScoringParams", pairs: int, budget: "BudgetParams") -> Plan:
    """To study pairs of heads, so many `pairs` of them as circuits, and of some heads what they write on text."""
    heads, ctx = c.n_layers * c.n_heads, c.n_ctx
    spans = min(ctx, 1 + params.repeats * params.repeated_tokens)
    cube = float(c.d_model) ** 3
    met = heads * heads / 2  # pairs of heads, the earlier one first
    terms = 2.0 * (2 + c.n_layers * (2 + c.n_heads) + math.comb(c.n_layers, 2) * c.n_heads**2) * c.linear

    def operations(n: Mapping[str, int]) -> float:
        some, places = n[HEADS], n["sequences"] * ctx
        nulls = 4 * n["null_draws"] * FACTORING * cube + met * n["null_draws"] * 3 * c.d_head**2
        text = 6.0 * n["sequences"] * ctx * _place(c, ctx) + (3.0 * some if c.n_layers > 1 else 0.0) * (
            n["sequences"] * spans * _place(c, spans)
        )
        written = DOUBLE * some * (4.0 * places * c.d_model**2 + FACTORING * cube)
        deleted = DOUBLE * some**2 * (4.0 * places * c.d_model * c.d_head + FACTORING * c.d_head**3)
        circuits = (some + 2.0 * pairs) * (_own_row(c) + _factors(c)) if c.n_layers > 1 else 0.0
        losses = terms * places * _logits(c)
        return ONE_THREAD * (losses + nulls + text + written + deleted + circuits)

    return fit("compose", budget, _sizes("compose", params, **{HEADS: heads}), operations)


def accounting(c: "ModelConfig", params: "AccountParams", budget: "BudgetParams") -> Plan:
    """To measure the rungs of the ladder, in all layers together and in some by themselves, and to cut edges."""

    def operations(n: Mapping[str, int]) -> float:
        context = c.n_ctx * (_place(c, c.n_ctx) + _logits(c) + 40.0 * c.n_ctx * c.n_heads)
        rungs = 1 + 8.0 * (1 + n["layers"])
        # Points of the curve, and slopes along the paths that entries are ranked on, of models that are their circuits.
        rounds = min(n["selection"], max(1, params.selection_tokens // c.n_ctx))
        along = (50.0 * n["contexts"] + 32.0 * rounds) * c.n_layers * (c.linear and not c.by_distance)
        entries = along * 2.0 * c.n_ctx * c.d_vocab * (c.d_model + c.n_heads * c.d_head)
        # Edges of rows, and half as many random ones, on training text, and those that it uses on held-out text.
        ctx = min(CUT_IN, c.n_ctx)
        edges = 2.5 * n["edges"] * n["edge_places"] * (ctx * _place(c, ctx) + 2 * _logits(c))
        return n["contexts"] * rungs * context + n["selection"] * c.n_ctx * _place(c, c.n_ctx) + entries + edges

    return fit("account", budget, _sizes("account", params, layers=c.n_layers if c.n_layers > 1 else 0), operations)


def directions(c: "ModelConfig", params: "DirectionsParams", budget: "BudgetParams") -> Plan:
    """To split the circuits of every head, and to remove directions of some on text."""
    heads = c.n_layers * c.n_heads

    def operations(n: Mapping[str, int]) -> float:
        split = 2.0 * heads * (_factors(c) + DOUBLE * FACTORING * c.d_vocab * c.d_head**2 / 4)
        null = 2.0 * heads * n["null_draws"] * FACTORING * 2 * c.d_head**3
        removals = 2.0 * n[HEADS] * (1 + n["removed"] * (1 + n["random_directions"]))
        context = c.n_ctx * (_place(c, c.n_ctx) / 2 + _logits(c))
        return split + null + (removals * n["contexts"] * context if params.removed else 0.0)

    return fit("directions", budget, _sizes("directions", params, **{HEADS: heads}), operations)


def exploration(c: "ModelConfig", words: Words, params: "ExplorationParams", budget: "BudgetParams") -> Plan:
    """To look tokens up in every head, as many as keep the page below ten megabytes."""
    heads, entry = c.n_layers * c.n_heads, 2 * c.d_head + PER_ENTRY

    def operations(n: Mapping[str, int]) -> float:
        pairs = float(min(n["tokens"], c.d_vocab)) * words.eligible
        # Largest entries and corners make factors of QK and of OV each; layers look at all their heads at once.
        factors, views = 5 * _factors(c), 4.0 * pairs * entry
        layers = c.n_layers * min(c.d_vocab, 4096) * float(c.d_vocab) * (2 * c.n_heads * c.d_head + 20)
        return heads * (factors + views) + layers + 2.0 * pairs * (2 * c.d_model + PER_ENTRY)

    plan = fit("explore", budget, {"tokens": min(params.tokens, on_page(c))}, operations)
    kept = plan.sizes["tokens"]
    return replace(plan, cuts=(Cut("explore", "tokens", params.tokens, kept),) if kept < params.tokens else ())


def on_page(c: "ModelConfig") -> int:
    """How many tokens a page can look up in every head without growing beyond ten megabytes."""
    return max(LEAST["explore"]["tokens"], LOOKED_UP // max(1, c.n_layers * c.n_heads))


class Asked(NamedTuple):
    """The parameters of all studies of one model."""

    budget: "BudgetParams"
    scoring: "ScoringParams"
    mining: "MiningParams"
    expansion: "ExpansionParams"
    verification: "VerificationParams"
    account: "AccountParams"
    directions: "DirectionsParams"
    exploration: "ExplorationParams"


def plans(c: "ModelConfig", count: pd.Series, asked: Asked, twins: int = 0) -> dict[str, Plan]:
    """The plan of every study of a model, given how often each of its tokens occurs in the training text."""
    words, most = Words.of(count, asked.mining.min_count), asked.budget
    heads = c.n_layers * c.n_heads
    if asked.expansion.only is not None:
        heads = sum(
            name in asked.expansion.only for name in (f"L{i}H{h}" for i in range(c.n_layers) for h in range(c.n_heads))
        )
    return {
        "score": scoring(c, asked.scoring, most),
        "mine": mining(c, words, asked.mining, heads, len(asked.expansion.offsets) if c.rotary else 0, most),
        "verify": verification(c, words, asked.verification, twins, most),
        "compose": composition(c, asked.scoring, asked.expansion.virtual_heads, most),
        "account": accounting(c, asked.account, most),
        "directions": directions(c, asked.directions, most),
        "explore": exploration(c, words, asked.exploration, most),
    }
