"""Induction heads: what they attend to, what they copy, and which earlier head they need.

Definitions of "In-context Learning and Induction Heads" (Olsson et al. 2022) and of "A Mathematical
Framework", section "How Induction Heads Work". Every sequence starts with BOS, which is neither a
destination nor a match; attention that rests on it counts as attention elsewhere.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor
from torch.nn import functional as F

from skiptrace.circuits.factored import Head, head_name, heads, k_composition
from skiptrace.circuits.scores import (
    Null,
    copying,
    eigenvalue_null,
    matching_by_sequence,
    own_row,
    repeated,
)
from skiptrace.composition.tables import INDUCTION, KNOCKOUTS, SCORED
from skiptrace.config.scoring import ScoringParams
from skiptrace.models.transformer import Transformer
from skiptrace.models.windows import spread_windows

Via = Literal["all", "queries", "keys"]
VIA: tuple[Via, ...] = ("all", "queries", "keys")


def repeated_spans(
    stream: Integer[np.ndarray, " n"], length: int, repeats: int, sequences: int
) -> Int[Tensor, "sequences ctx"]:
    """BOS, then a span of `length` real tokens repeated `repeats` times, spans evenly spread over the stream."""
    windows = spread_windows(stream, length, sequences)
    return torch.cat([windows[:, :1], windows[:, 1:].repeat(1, repeats)], 1)


@torch.no_grad()
def copying_share(
    model: Transformer, tokens: Int[Tensor, "batch ctx"], length: int
) -> Float[Tensor, "n_layers n_heads"]:
    """Of what a head adds to the logits of the repeated tokens, the share that goes to the token attended to.

    The 2022 copying score: what the head would write if it attended to one place alone, as logits of the
    `length` tokens of the span, less their mean, positive part. By chance 1/`length`. Its rescaling from [0, 1]
    to [−1, 1] is left out.
    """
    x, pos = model.embed(tokens)
    towards = model.W_U.T[tokens[:, 1 : 1 + length]].mT[:, None]
    own = F.one_hot(torch.arange(tokens.shape[1] - 1) % length, length)
    found = []
    for layer in model.blocks:
        raised = (layer.values(x) @ layer.W_O @ towards)[:, :, 1:]
        raised = (raised - raised.mean(-1, keepdim=True)).clamp(min=0)
        shares = (raised * own).sum(-1) / raised.sum(-1).clamp(min=1e-30)
        found.append(shares.mean((0, 2)))
        x = layer.add(x, layer.head_outputs(x, layer.pattern(x, pos)).sum(1))
    return torch.stack(found)


@torch.no_grad()
def patterns_without(
    model: Transformer, tokens: Int[Tensor, "batch ctx"], head: Head, via: Via
) -> list[Float[Tensor, "batch n_heads ctx ctx"]]:
    """The patterns of every layer when later heads may not see what one head wrote.

    `via`: its output is taken from the whole stream, or from what later queries or later keys read alone. Heads in
    between, whose own patterns change by that, count too.
    """
    x, pos = model.embed(tokens)
    hidden, patterns = torch.zeros_like(x), []
    for index, layer in enumerate(model.blocks):
        queries, keys = (x - hidden if via in ("all", reader) else x for reader in ("queries", "keys"))
        patterns.append(layer.pattern(queries, pos, keys=keys))
        outputs = layer.head_outputs(x - hidden if via == "all" else x, patterns[-1])
        if index == head[0]:
            hidden = outputs[:, head[1]]
        x = layer.add(x, outputs.sum(1))
    return patterns


@torch.no_grad()
def knockouts(model: Transformer, params: ScoringParams, among: Sequence[Head] | None = None) -> pd.DataFrame:
    """Prefix matching of every later head, in attention, when one earlier head, of those `among` all, is cut.

    ± over sequences.
    """
    tokens, length = repeated(model, params)
    rows = []
    intact = matching_by_sequence(model, tokens, length, params.repeats, model.patterns)
    for first in heads(model) if among is None else among:
        for via in VIA if first[0] < model.n_layers - 1 else ():
            without = partial(patterns_without, model, head=first, via=via)
            cut = matching_by_sequence(model, tokens, length, params.repeats, without)
            for then in heads(model):
                if then[0] > first[0]:
                    before, after = (scores[then[0]][:, then[1]].double() for scores in (intact, cut))
                    change = after - before
                    error = change.std().item() / math.sqrt(len(change))
                    names = (head_name(h) for h in (first, then))
                    rows.append((*names, via, before.mean().item(), after.mean().item(), change.mean().item(), error))
    return KNOCKOUTS.frame(rows)


@torch.no_grad()
def induction(
    model: Transformer,
    stream: Integer[np.ndarray, " n"],
    scored: pd.DataFrame,
    composed: pd.DataFrame,
    params: ScoringParams,
    most: int | None = None,
) -> pd.DataFrame:
    """The 2022 scores of every head, and the eigenvalue test on its OV and its K-composition circuit.

    What `scored` (`HEADS`) has measured is taken from there. The K-composition circuit is taken through the earlier
    head with the largest K-composition score in `composed`; heads of the first layer have none, and nulls there, as do
    all but the `most` heads that match prefixes best.
    `in_corner`: both eigenvalue scores are `null_sd` standard deviations above those of random heads.
    """
    if model.n_layers == 0:
        return INDUCTION.frame()
    tokens, length = repeated(model, params)
    real = repeated_spans(stream, length, params.repeats, params.sequences)
    on_text = matching_by_sequence(model, real, length, params.repeats, model.patterns)
    share = copying_share(model, tokens, length)
    _, k_null = eigenvalue_nulls(model, 1, params)
    rows = []
    asked = set(scored[scored["layer"] > 0].nlargest(most or len(scored), "prefix_matching")["name"])
    for known in scored.to_dict("records"):
        layer, head = int(known["layer"]), int(known["head"])
        text = on_text[layer][:, head].double()
        row: dict[str, Any] = {
            **{name: known[name] for name in SCORED},
            "prefix_matching_text": text.mean().item(),
            "prefix_matching_text_se": text.std().item() / math.sqrt(len(text)),
            "copying_share": share[layer, head].item(),
            "copying_share_chance": 1 / length,
            "in_corner": False,
        }
        earlier = composed[(composed["kind"] == "K") & (composed["to"] == row["name"])]
        if len(earlier) and known["name"] in asked:
            best = earlier.loc[earlier["score"].idxmax()]
            circuit = k_composition(model, (int(best["from_layer"]), int(best["from_head"])), (layer, head))
            own = copying(circuit)
            row |= {
                "earlier": best["from"],
                "k_eigenvalues": own,
                "k_null_mean": k_null.mean,
                "k_null_sd": k_null.sd,
                "k_own_top1": own_row([circuit]).top1,
                "in_corner": known["copies"] and own > k_null.mean + params.null_sd * k_null.sd,
            }
        rows.append(row)
    return INDUCTION.frame(rows)


def eigenvalue_nulls(model: Transformer, in_turn: int, params: ScoringParams) -> tuple[Null, Null]:
    """Eigenvalue scores of random OV circuits of `in_turn` heads in turn, and of random W_E W_QK W_OVᵀ W_Eᵀ."""
    E, U = model.reads(max(0, model.n_layers - 1)).double(), model.W_U.double()
    draws = (model.d_head, params.null_draws, params.seed)
    return eigenvalue_null(U @ E, in_turn, *draws), eigenvalue_null(E.T @ E, 2, *draws)
