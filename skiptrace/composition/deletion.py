"""Heads that delete: they read what an earlier writer wrote, and write its negative.

"A Mathematical Framework", section "Subspaces and Residual Stream Bandwidth".
"""

from functools import cache

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from skiptrace.arithmetic import on_one_thread, sqrt, total
from skiptrace.composition import alignment
from skiptrace.composition.stream import Stream
from skiptrace.composition.tables import DELETION
from skiptrace.config.scoring import ScoringParams
from skiptrace.models.transformer import Transformer

SHUFFLES = 20


@torch.no_grad()
def deletion(model: Transformer, stream: Stream, params: ScoringParams) -> pd.DataFrame:
    """Which heads delete what, by their weights and on text.

    With P the directions that hold `subspace_share` of what a writer writes: `negative` is the share of Σ|Re λ| of
    P W_OV Pᵀ that lies below zero, beside Gaussian heads (about 1/2). On text, within these directions, `before` and
    `after` are the root mean square norms of the stream before the head's layer and with the head's output added, and
    `cosine` is that of the output with the stream, over all places together: below zero it clears. The null puts the
    same outputs in other places; `after_shuffled` is the norm that they then leave. Writers of nothing are left out.

    `impossible_z` is the largest `z`, `impossible_cosine` the lowest `cosine`, of this model's pairs in which the
    writer is another head that is not earlier, so that its output cannot be deleted; null where there are none.
    `deletes`: `z` and `-cosine_z` reach `null_sd`, and both `z` and `cosine` lie beyond all impossible pairs.
    """
    generator = torch.Generator().manual_seed(params.seed)
    rows = []

    @cache
    def chance(k: int) -> alignment.Null:
        return _negative_null(k, model.d_head, params)

    for reader in stream.writers:
        if reader.head is None:
            continue
        layer, head = reader.head
        W_V, W_O = (w[head].double() for w in (model.blocks[layer].W_V, model.blocks[layer].W_O))
        orders = [torch.randperm(len(reader.vectors), generator=generator) for _ in range(SHUFFLES)]
        for writer in stream.writers:
            frame, k = writer.frame, writer.frame.shape[1]
            if k == 0 or writer is reader:
                continue
            negative, null = _negative(frame.T @ W_V, W_O @ frame), chance(k)
            held, added = stream.before[layer] @ frame, reader.vectors @ frame
            before, alone = total(held.square()), total(added.square())
            size = sqrt(before * alone).clamp(min=1e-300)
            cosine = total(held * added) / size
            shuffled = alignment.null_of(torch.stack([total(held * added[order]) / size for order in orders]))
            apart = before + alone
            rows.append(
                {
                    "head": reader.name,
                    "writer": writer.name,
                    "dimensions": k,
                    "negative": negative.item(),
                    "null_mean": null.mean.item(),
                    "null_sd": null.sd.item(),
                    "z": null.z(negative).item(),
                    "before": _rms(before, held),
                    "after": _rms(apart + 2 * size * cosine, held),
                    "after_shuffled": _rms(apart + 2 * size * shuffled.mean, held),
                    "cosine": cosine.item(),
                    "cosine_null_mean": shuffled.mean.item(),
                    "cosine_null_sd": shuffled.sd.item(),
                    "cosine_z": shuffled.z(cosine).item(),
                    "possible": writer.head is None or writer.head[0] < layer,
                }
            )
    table = pd.DataFrame(rows, columns=[*DELETION.names, "possible"])
    possible = table.pop("possible").astype(bool)
    impossible, table = table[~possible], table[possible].reset_index(drop=True)
    table["impossible_z"], table["impossible_cosine"] = impossible["z"].max(), impossible["cosine"].min()
    # A comparison with NaN is false: without impossible pairs the random nulls decide.
    unlike = ~(table["z"] <= table["impossible_z"]) & ~(table["cosine"] >= table["impossible_cosine"])
    table["deletes"] = (table["z"] >= params.null_sd) & (table["cosine_z"] <= -params.null_sd) & unlike
    return DELETION.frame(table)


def _rms(total: Float[Tensor, ""], vectors: Float[Tensor, "n k"]) -> float:
    return float(sqrt(total.clamp(min=0) / len(vectors)))


def _negative(into: Float[Tensor, "*draws k d_head"], out: Float[Tensor, "*draws d_head k"]) -> Float[Tensor, "*draws"]:
    """The share of Σ|Re λ| of `into @ out` below zero; λ(AB) = λ(BA) picks the smaller product."""
    smaller = out @ into if into.shape[-1] < into.shape[-2] else into @ out
    real = on_one_thread(torch.linalg.eigvals, smaller).real
    return real.clamp(max=0).abs().sum(-1) / real.abs().sum(-1).clamp(min=1e-300)


def _negative_null(k: int, d_head: int, params: ScoringParams) -> alignment.Null:
    # In an orthonormal frame a Gaussian head stays Gaussian.
    generator = torch.Generator().manual_seed(params.seed)
    shapes = ((params.null_draws, k, d_head), (params.null_draws, d_head, k))
    into, out = (torch.randn(shape, dtype=torch.float64, generator=generator) for shape in shapes)
    return alignment.null_of(_negative(into, out))
