"""Q-, K- and V-composition of every two heads in different layers, beside three nulls."""

from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from skiptrace.circuits.factored import Head, head_name
from skiptrace.composition import alignment
from skiptrace.composition.alignment import Directions, Null, Scores
from skiptrace.composition.tables import COMPOSITION
from skiptrace.config.scoring import ScoringParams
from skiptrace.models.transformer import Transformer

KINDS = ("Q", "K", "V")


def writers(model: Transformer, layer: int) -> Directions:
    """What the heads of a layer write: W_OV."""
    weights = model.blocks[layer]
    return alignment.written(weights.W_V, weights.W_O)


def readers(model: Transformer, layer: int, kind: str) -> Directions:
    """What the heads of a layer read for their queries (W_QK), keys (W_QKᵀ) or values (W_OV)."""
    weights = model.blocks[layer]
    left, right = {
        "Q": (weights.W_Q, weights.W_K.mT),
        "K": (weights.W_K, weights.W_Q.mT),
        "V": (weights.W_V, weights.W_O),
    }[kind]
    return alignment.read(left, right)


@torch.no_grad()
def composition(model: Transformer, params: ScoringParams) -> pd.DataFrame:
    """One row per kind and pair of heads; no rows for a model of fewer than two layers.

    `score` is ‖W_QK^h₂ᵀ W_OV^h₁‖, ‖W_QK^h₂ W_OV^h₁‖ or ‖W_OV^h₂ W_OV^h₁‖ over the product of the norms ("A
    Mathematical Framework", section "Two-Layer Attention-Only Transformers"). Beside it `null_*`: random
    matrices of the same shapes, as in the paper; `rotated_*`: these weights turned at random, which
    keeps how unevenly they use their directions; `overlap_*`: principal angles alone. A z-score is null where
    it is undefined: when heads are as wide as the residual stream, all subspaces coincide.
    `impossible_max` is the largest score of the same kind among pairs that cannot compose, in which the reader is not
    later than the writer: what trained weights share without composing.
    `significant` is `null_sd` standard deviations above both random nulls (above the first where the other leaves no
    room to vary), and above all impossible pairs; `below` is as far below the first.
    """
    if model.n_layers < 2:
        return COMPOSITION.frame()
    chance = alignment.gaussian(model.d_model, model.d_head, params.null_draws, params.seed)
    ranks = [(model.d_head, model.d_head)]
    (angles,) = alignment.random_overlaps(model.d_model, ranks, params.null_draws, params.seed)
    cases = [(i, j, kind) for i in range(model.n_layers - 1) for j in range(i + 1, model.n_layers) for kind in KINDS]
    # Of each layer once: those of every case together take gigabytes where layers are many.
    wrote = [writers(model, layer) for layer in range(model.n_layers)]
    read = {kind: [readers(model, layer, kind) for layer in range(model.n_layers)] for kind in KINDS}
    pairs = [(wrote[earlier], read[kind][later]) for earlier, later, kind in cases]
    nulls = alignment.rotated(pairs, params.null_draws, params.seed)
    impossible = {kind: float(impossible_scores(model, kind).max()) for kind in KINDS}
    tables = [
        _table(case, alignment.scores(*pair), chance, null, angles, params.null_sd, impossible[case[2]])
        for case, pair, null in zip(cases, pairs, nulls, strict=True)
    ]
    return COMPOSITION.frame(pd.concat(tables, ignore_index=True))


def strongest_keys(composed: pd.DataFrame) -> tuple[Head, Head] | None:
    """The pair with the largest K-composition in `COMPOSITION`, the earlier head first; None where there is none."""
    keys = composed[composed["kind"] == "K"]
    if keys.empty:
        return None
    best = keys.loc[keys["score"].idxmax()]
    return (int(best["from_layer"]), int(best["from_head"])), (int(best["to_layer"]), int(best["to_head"]))


def impossible_scores(model: Transformer, kind: str) -> Float[Tensor, " pairs"]:
    """Scores of the pairs of different heads in which the reader stands in the writer's layer or before it."""
    found = []
    read = [readers(model, layer, kind) for layer in range(model.n_layers)]
    for writer in range(model.n_layers):
        wrote = writers(model, writer)
        for reader in range(writer + 1):
            norm = alignment.norms(wrote, read[reader])
            if writer == reader:
                norm = norm[~torch.eye(len(norm), dtype=torch.bool)]
            found.append(norm.flatten())
    return torch.cat(found)


def _table(
    case: tuple[int, int, str],
    found: Scores,
    chance: Null,
    turned: Null,
    angles: Null,
    null_sd: float,
    impossible: float,
) -> pd.DataFrame:
    earlier, later, kind = case
    shape = found.norm.shape
    first, then = (i.flatten().tolist() for i in torch.meshgrid(*map(torch.arange, shape), indexing="ij"))

    def flat(values: Tensor) -> list[Any]:
        return values.expand(shape).flatten().tolist()

    z, turned_z = chance.z(found.norm), turned.z(found.norm)
    return pd.DataFrame(
        {
            "kind": kind,
            "from_layer": earlier,
            "from_head": first,
            "to_layer": later,
            "to_head": then,
            "from": [head_name((earlier, h)) for h in first],
            "to": [head_name((later, h)) for h in then],
            "score": flat(found.norm),
            "null_mean": flat(chance.mean),
            "null_sd": flat(chance.sd),
            "z": flat(z),
            "rotated_mean": flat(turned.mean),
            "rotated_sd": flat(turned.sd),
            "rotated_z": flat(turned_z),
            "overlap": flat(found.overlap),
            "overlap_null_mean": flat(angles.mean),
            "overlap_null_sd": flat(angles.sd),
            "overlap_z": flat(angles.z(found.overlap)),
            "closest": flat(found.closest),
            "impossible_max": impossible,
            "significant": flat(
                (z >= null_sd) & ((turned_z >= null_sd) | turned_z.isnan()) & (found.norm > impossible)
            ),
            "below": flat(z <= -null_sd),
        }
    )
