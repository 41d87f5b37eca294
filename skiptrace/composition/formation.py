"""How heads, and the pair of them that composes most, form along a training; and when a score has risen."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Integer
from torch import Tensor

from skiptrace.circuits.factored import Head, head_name, ov
from skiptrace.circuits.scores import (
    copying,
    copying_null,
    even_attention,
    matching_by_sequence,
    prefix_matching,
    previous_by_text,
    previous_token,
    repeated,
)
from skiptrace.composition import alignment
from skiptrace.composition.heads import readers, writers
from skiptrace.composition.tables import FORMATION, MODEL
from skiptrace.config.scoring import ScoringParams
from skiptrace.models.evaluation import in_context_learning, window_losses
from skiptrace.models.transformer import Transformer
from skiptrace.models.windows import spread_windows

NULL_HEADS = 50  # random heads that copying is compared with at each checkpoint
DRAWS = 1000  # of the errors of a score, for the interval of the step at which it has risen
CLEAR = 3.0  # standard errors, and deviations of chance, by which a score has to end above chance

Score = tuple[str, str, float, float, float, float]  # name, score, value, error, chance and how far chance varies


@torch.no_grad()
def formation(
    checkpoints: Iterable[tuple[int, Transformer]],
    stream: Integer[np.ndarray, " n"],
    params: ScoringParams,
    pair: tuple[Head, Head] | None = None,
) -> pd.DataFrame:
    """Scores of (step, model) along a training, beside chance: `FORMATION`.

    Of the model its loss and in-context learning; of every head attention to the previous token, prefix matching and
    copying; of `pair` its K-composition.
    """
    rows, random = [], None
    for step, model in checkpoints:
        found = [*_of_model(model, stream, params)]
        if model.n_layers:
            found += _of_heads(model, stream, params)
        if pair is not None:  # whose chance is that of their shapes
            random = random or alignment.gaussian(model.d_model, model.d_head, NULL_HEADS, params.seed)
            found.append(_of_pair(model, pair, random))
        rows += [(step, *each) for each in found]
    return FORMATION.frame(rows)


def _of_model(model: Transformer, stream: Integer[np.ndarray, " n"], params: ScoringParams) -> Iterator[Score]:
    losses = window_losses(model, spread_windows(stream, model.n_ctx, params.sequences)).double()
    position = np.arange(1, model.n_ctx)
    learning = torch.tensor([in_context_learning(position, each.numpy(), model.n_ctx) for each in losses])
    for score, each in (("loss", losses.mean(1)), ("in_context_learning", learning.double())):
        yield MODEL, score, *_mean(each), np.nan, np.nan


def _of_heads(model: Transformer, stream: Integer[np.ndarray, " n"], params: ScoringParams) -> list[Score]:
    before = previous_by_text(model, spread_windows(stream, model.n_ctx, params.sequences)[:, :-1])
    tokens, length = repeated(model, params)
    matching = matching_by_sequence(model, tokens, length, params.repeats, model.patterns)
    found: list[Score] = []
    for layer, block in enumerate(model.blocks):
        even = [even_attention(ctx, block) for ctx in (model.n_ctx, tokens.shape[1])]
        uniform = previous_token(even[0]).item(), prefix_matching(even[1], length, params.repeats).item()
        null = copying_null(model, NULL_HEADS, params.seed, layer)
        for head in range(model.n_heads):
            name = head_name((layer, head))
            for score, each, chance in zip(
                ("previous_token", "prefix_matching"), (before[layer], matching[layer]), uniform, strict=True
            ):
                found.append((name, score, *_mean(each[:, head].double()), chance, 0.0))
            found.append((name, "copying", copying(ov(model, layer, head)), 0.0, null.mean, null.sd))
    return found


def _of_pair(model: Transformer, pair: tuple[Head, Head], chance: alignment.Null) -> Score:
    (layer, head), (later, reader) = pair
    score = alignment.norms(writers(model, layer), readers(model, later, "K"))[head, reader]
    name = f"{head_name(pair[0])} → {head_name(pair[1])}"
    return name, "k_composition", score.item(), 0.0, float(chance.mean), float(chance.sd)


def _mean(each: Float[Tensor, " n"]) -> tuple[float, float]:
    """The mean and its standard error."""
    return each.mean().item(), each.std().item() / len(each) ** 0.5


class Rise(NamedTuple):
    """The step at which a score has risen, and a range that holds it."""

    step: float
    low: float
    high: float


def rise(
    step: Integer[np.ndarray, " n"],
    value: Float[np.ndarray, " n"],
    se: Float[np.ndarray, " n"],
    chance: Float[np.ndarray, " n"],
    share: float,
    chance_sd: float = 0.0,
) -> Rise | None:
    """When a score has come that share of the way from chance to what it is at the end, for good.

    With r = (value − chance) / (the same at the end): the last crossing of `share` from below, by interpolation in
    log step. The range holds the checkpoints on either side of it, and 95 % of the crossings that errors drawn anew at
    every checkpoint give. None where the score does not end above chance, by three standard errors and three deviations
    of chance, or is above the share from the first checkpoint on.
    """
    above = value - chance
    if len(above) < 2 or not above[-1] > CLEAR * np.hypot(se[-1], chance_sd):
        return None
    place = _crossing(above[None], share)[0]
    if not np.isfinite(place):
        return None
    drawn = above + se * np.random.default_rng(0).standard_normal((DRAWS, len(above)))
    places = np.nan_to_num(_crossing(drawn, share), nan=0.0)
    ends = np.array([[np.floor(place), np.ceil(place)], np.quantile(places, (0.025, 0.975))])
    at = np.interp([place, ends[:, 0].min(), ends[:, 1].max()], np.arange(len(step)), np.log(step))
    return Rise(*np.exp(at).tolist())


def _crossing(above: Float[np.ndarray, "draws n"], share: float) -> Float[np.ndarray, " draws"]:
    """The place, in checkpoints, of the last crossing of a share of the end; NaN where it is reached from the start."""
    r = above / above[:, -1:]
    below = r < share
    last = np.where(below.any(1), below.shape[1] - 1 - below[:, ::-1].argmax(1), -1)
    after = np.minimum(last + 1, r.shape[1] - 1)
    each = np.arange(len(r))
    gap = r[each, after] - r[each, last]
    part = np.divide(share - r[each, last], gap, out=np.ones(len(r)), where=gap > 0)
    return np.where(last < 0, np.nan, last + part)
