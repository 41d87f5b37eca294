"""How often a model's likeliest next token is what rules of the corpus say, beside exchanged predictions.

Nguyen 2024, "Understanding Transformers via N-gram Statistics", takes at each place the rule whose distribution has the
least variation distance to the model's. That choice looks at the prediction that it then describes, so the same choice
is made for predictions that belong to another place with the same current token: they keep every unigram and bigram,
and know nothing else of the context.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int, Integer
from torch import Tensor

from skiptrace.config.rules import RulesParams
from skiptrace.evidence.intervals import clustered
from skiptrace.models.loss import ROWS
from skiptrace.models.transformer import Transformer
from skiptrace.models.windows import spread_windows
from skiptrace.rules.estimates import BACKOFF, Estimates, Rule, estimates
from skiptrace.rules.kernels import overlaps
from skiptrace.rules.places import Ids, Places, exchanged, places
from skiptrace.rules.tables import CLOSEST, CLOSEST_NGRAM, SHARES, TEXT

CONTEXTS = 8  # that a model reads at once


class Checkpoint(NamedTuple):
    """A model on its way: after how many steps and tokens of training."""

    step: int
    tokens: int
    model: Transformer


class Predicted(NamedTuple):
    """Of every place the likeliest token, and how near each rule comes to the prediction: rules × places.

    `near` is 1 less the variation distance, −1 where a rule is silent; entry [0] of the places' own predictions, then
    of those exchanged in either way.
    """

    top: Integer[np.ndarray, " n"]
    near: Float[np.ndarray, "exchanges rules n"]


def study(
    checkpoints: Iterable[Checkpoint],
    train: Integer[np.ndarray, " text"],
    valid: Integer[np.ndarray, " held_out"],
    rows: pd.DataFrame,
    n_ctx: int,
    vocab_size: int,
    params: RulesParams,
) -> pd.DataFrame:
    """Compare a model at each checkpoint with the same rules at the same held-out places (`SHARES`).

    Rules are counted in `train` and read from `rows` (`SKIP_TRIGRAMS`), never from held-out text.
    """
    windows = spread_windows(valid, n_ctx, params.contexts)
    here = places(windows.numpy())
    rules = estimates(here, train, rows, vocab_size, params)
    draw = np.random.default_rng(params.seed).permutation(len(here.at))
    others = [exchanged(here.token, draw), exchanged(here.token, here.position)]
    found = []
    for step, tokens, model in checkpoints:
        predicted = predict(model, windows, [*rules.ngrams, *rules.others], others)
        found += [(step, tokens, *row) for row in shares(predicted, here, rules, others)]
    return SHARES.frame(found)


@torch.no_grad()
def predict(
    model: Transformer, windows: Int[Tensor, "contexts width"], rules: Sequence[Rule], others: Sequence[Ids]
) -> Predicted:
    """Run a model on contexts, and compare each prediction with the rules at its place and where it is exchanged to.

    Place i gets the prediction of place others[·][i].
    """
    n = windows.shape[0] * (windows.shape[1] - 2)
    top = np.empty(n, np.int64)
    receivers = [np.arange(n), *(np.argsort(other) for other in others)]  # who gets the prediction of each place
    near = np.empty((len(receivers), len(rules), n))
    first = 0
    for part in windows.split(CONTEXTS):
        for rows in model.residual(part[:, :-1])[:, 1:].flatten(0, 1).split(ROWS):
            p = model.logits(rows).softmax(-1)
            last = first + len(rows)
            top[first:last] = p.argmax(-1).numpy()
            _compare(p.float().numpy(), [receiver[first:last] for receiver in receivers], rules, near)
            first = last
    return Predicted(top, near)


def _compare(
    p: Float[np.ndarray, "n d_vocab"],
    receivers: Sequence[Ids],
    rules: Sequence[Rule],
    near: Float[np.ndarray, "exchanges rules places"],
) -> None:
    """Write how near each rule comes to predictions at the places that get them."""
    for number, rule in enumerate(rules):
        own: tuple[Ids, Float[np.ndarray, " n"]] | None = None
        for at, lines in zip(receivers, near, strict=True):
            row = rule.row[at]
            if own is None or (row != own[0]).any():  # else the rule looks at the current token alone
                found = np.empty(len(p))
                overlaps(p, row, rule.said.start, rule.said.token, rule.said.share, found)
                found[row < 0] = -1
                own = own or (row, found)
            else:
                found = own[1]
            lines[number, at] = found


def shares(predicted: Predicted, here: Places, rules: Estimates, others: Sequence[Ids]) -> list[tuple[object, ...]]:
    """The rows of `SHARES` of one model, without step and tokens."""
    every = [*rules.ngrams, *rules.others]
    words = np.stack([rule.word for rule in every])
    kept = np.flatnonzero(others[0] != np.arange(len(here.at)))
    tops = [predicted.top, *(predicted.top[other] for other in others)]
    same = {rule.name: rule.word for rule in every} | {BACKOFF: rules.backoff, TEXT: here.truth}
    said = {name: [word] * len(tops) for name, word in same.items()}
    for name, count in ((CLOSEST_NGRAM, len(rules.ngrams)), (CLOSEST, len(every))):
        said[name] = [words[nearest, np.arange(len(nearest))] for nearest in predicted.near[:, :count].argmax(1)]
    times = np.bincount(predicted.near[0].argmax(0)[kept], minlength=len(every))
    closest = {rule.name: float(n) / max(1, len(kept)) for rule, n in zip(every, times, strict=True)}
    rows = []
    for name, each in said.items():
        compared = _row(
            [word[kept] for word in each], [top[kept] for top in tops], here.truth[kept], here.context[kept]
        )
        rows.append((name, len(kept), *compared, closest.get(name, np.nan)))
    return rows


def _row(words: list[Ids], tops: list[Ids], truth: Ids, context: Ids) -> tuple[float, ...]:
    """The numbers of one rule: what it says for the places' own predictions, and for those exchanged."""
    applies = words[0] >= 0
    agree = [np.equal(word, top)[applies].astype(float) for word, top in zip(words, tops, strict=True)]
    own, random, near = agree
    ours = clustered(own, context[applies])
    ahead = clustered(own - near, context[applies])
    right = (words[0] == truth)[applies]
    wrong = [_mean(each[(word != truth)[applies]]) for each, word in zip(agree[:2], words[:2], strict=True)]
    return (
        _mean(applies), *ours[:3], _mean(random), _mean(near), *ahead[:3], _mean(right), *wrong,
    )  # fmt: skip


def _mean(values: Float[np.ndarray, " n"] | Bool[np.ndarray, " n"]) -> float:
    return float(values.mean()) if len(values) else float("nan")
