"""Every table of the directions within the heads of a model."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from skiptrace.arithmetic import on_one_thread, sqrt
from skiptrace.circuits.directions import Directions, directions, groups
from skiptrace.circuits.factored import Circuit, Head, head_name, heads, ov, qk
from skiptrace.circuits.matching import Tokens, match, similarity
from skiptrace.composition.stream import effective_rank
from skiptrace.config.directions import DirectionsParams
from skiptrace.directions.chance import Spectra, Turned
from skiptrace.directions.removed import Removed, Runs
from skiptrace.directions.tables import ENDS, GROUPS, ROLES, SPECTRA, TWINS
from skiptrace.models.transformer import Transformer
from skiptrace.progress import progress

CIRCUITS = {"ov": ov, "qk": qk}
NONE = Removed(torch.full((2,), math.nan), torch.full((2,), math.nan))


def study(
    model: Transformer,
    probability: Float[Tensor, " d_vocab"],
    eligible: Bool[Tensor, " d_vocab"],
    windows: Int[Tensor, "contexts width"],
    params: DirectionsParams,
    twins: Sequence[Transformer] = (),
    removed: Sequence[Head] | None = None,
) -> dict[str, pd.DataFrame]:
    """The tables by their names (`directions.tables`); without rows for a model without heads.

    `probability` is that of the training text, `windows` are held-out contexts, and tokens that are not `eligible` are
    not read out. Directions of the heads `removed`, or of all, are removed one group at a time, beside as many random
    directions of the same circuit, which carry what its directions carry on average.
    """
    weight = weights(probability, params)
    chance = Turned(model, weight, params.null_draws, params.seed)
    runs = Runs(model, windows) if params.removed and model.n_layers else None
    spectra, found, ends = [], [], []
    for head in progress(heads(model), "directions", leave=False):
        for name, make in CIRCUITS.items():
            place = {"circuit": name, "layer": head[0], "head": head[1], "name": head_name(head)}
            parts, null = directions(make(model, *head), weight, weight), chance.spectra(name, *head)
            # Where queries and keys are turned or normalised, the score is not QK alone.
            apart = name == "qk" and (model.config.rotary or model.config.use_qk_norm)
            spared = runs is None or apart or (removed is not None and head not in removed)
            removal = None if runs is None or spared else _Removal(runs, name, head, parts, params)
            spectra.append(place | _whole(parts, null, removal))
            listed = groups(parts.values, params.gap)
            for number, group in enumerate(listed, 1):
                measured = removal is not None and number <= params.removed
                found.append(
                    place
                    | {"group": number}
                    | _group(parts, null, group, weight)
                    | (_removed(removal, group) if measured and removal is not None else {})
                )
            for number, group in enumerate(listed[: params.shown], 1):
                each = readout(parts, group, ROLES[name], eligible, params.tokens)
                ends += [place | {"group": number} | row for row in each]
    return {
        "spectra": SPECTRA.frame(spectra),
        "groups": GROUPS.frame(found),
        "ends": ENDS.frame(ends),
        "twins": TWINS.frame(_twins(model, twins, probability)),
    }


def weights(probability: Float[Tensor, " d_vocab"], params: DirectionsParams) -> Float[Tensor, " d_vocab"]:
    """What each token weighs: its share of the training text, or the same as any other."""
    each = probability.double() if params.weighted else torch.ones_like(probability).double()
    return each / each.sum()


def split(
    circuit: Circuit, probability: Float[Tensor, " d_vocab"], params: DirectionsParams
) -> tuple[Directions, list[range]]:
    """The directions of a circuit between tokens, weighed as `params` says, and their groups."""
    weight = weights(probability, params)
    found = directions(circuit, weight, weight)
    return found, groups(found.values, params.gap)


def readout(
    parts: Directions, group: range, roles: tuple[str, str], eligible: Bool[Tensor, " d_vocab"], most: int
) -> Iterator[dict[str, Any]]:
    """The tokens at both ends of a group, the largest first: `role`, `pole`, `rank`, `token_id`, `loading`.

    Of a direction by itself at both poles. A group of several has no poles, and the tokens are those whose projections
    on it are largest, whatever its rotation.
    """
    for role, end in zip(roles, (parts.rows, parts.columns), strict=True):
        inside = end[:, list(group)]
        sides = {1: inside[:, 0], -1: -inside[:, 0]} if len(group) == 1 else {0: inside.norm(dim=1)}
        for pole, loading in sides.items():
            kept = loading.masked_fill(~eligible, 0)
            best = kept.argsort(descending=True, stable=True)[:most]
            for rank, token in enumerate(best[kept[best] > 0].tolist(), 1):
                yield {"role": role, "pole": pole, "rank": rank, "token_id": token, "loading": kept[token].item()}


def shares_of(values: Float[Tensor, "*draws k"], group: range) -> Float[Tensor, "*draws"]:
    """The share of Σ s² that the directions of a group carry."""
    squares = values.square()
    return squares[..., list(group)].sum(-1) / squares.sum(-1).clamp(min=torch.finfo(squares.dtype).tiny)


def copying_of(
    values: Float[Tensor, "*draws k"], along: Float[Tensor, "*draws k"], group: range
) -> Float[Tensor, "*draws"]:
    """Σ s u·v / Σ s over the directions of a group: whether it raises what it reads."""
    kept = values[..., list(group)]
    return (kept * along[..., list(group)]).sum(-1) / kept.sum(-1).clamp(min=torch.finfo(values.dtype).tiny)


def copying_directions(values: Float[Tensor, "*draws k"], along: Float[Tensor, "*draws k"]) -> Float[Tensor, "*draws"]:
    """By how many directions a head copies: the effective rank of the parts s u·v of its trace that are above zero."""
    return effective_rank((values * along).clamp(min=0))


def _whole(parts: Directions, null: Spectra, removal: "_Removal | None") -> dict[str, Any]:
    every = range(len(parts.values))
    found = {"norm": sqrt(parts.values.square().sum()).item()}
    found |= _beside(
        "effective_rank", effective_rank(parts.values.square()).item(), effective_rank(null.values.square())
    )
    found |= _beside(
        "copying",
        copying_of(parts.values, parts.copying, every).item(),
        copying_of(null.values, null.copying, range(null.values.shape[-1])),
    )
    found |= _beside(
        "copying_directions",
        copying_directions(parts.values, parts.copying).item(),
        copying_directions(null.values, null.copying),
    )
    all_of_it = NONE if removal is None else removal(torch.eye(len(parts.triangle), dtype=torch.float64))
    return found | _changes(all_of_it, removal)


def _group(parts: Directions, null: Spectra, group: range, weight: Float[Tensor, " d_vocab"]) -> dict[str, Any]:
    values = parts.values[list(group)]
    constant = (parts.rows[:, list(group)] * sqrt(weight)[:, None]).sum(0).square()
    return (
        {"first": group.start + 1, "size": len(group), "value": sqrt(values.square().mean()).item()}
        | _beside("share", shares_of(parts.values, group).item(), shares_of(null.values, group))
        | {"constant": constant.mean().item()}
        | _beside(
            "copying",
            copying_of(parts.values, parts.copying, group).item(),
            copying_of(null.values, null.copying, group),
        )
    )


def _beside(name: str, value: float, null: Float[Tensor, " draws"]) -> dict[str, float]:
    return {name: value, f"{name}_null_mean": null.mean().item(), f"{name}_null_sd": null.std().item()}


class _Removal:
    """What removing part of one circuit of a head does."""

    def __init__(self, runs: Runs, circuit: str, head: Head, parts: Directions, params: DirectionsParams) -> None:
        self.runs, self.circuit, self.head, self.parts, self.params = runs, circuit, head, parts, params
        self._random: dict[int, list[Removed]] = {}

    def __call__(self, basis: Float[Tensor, "m d"]) -> Removed:
        """Without what it reads along an orthonormal basis."""
        return self.runs.without(self.circuit, self.head, *self.parts.remover(basis))

    def random(self, size: int) -> list[Removed]:
        """Without random subspaces of so many dimensions, drawn once for each size."""
        if size not in self._random:
            generator = torch.Generator().manual_seed(self.params.seed)
            shape = (self.params.random_directions, len(self.parts.triangle), size)
            drawn = torch.randn(shape, generator=generator, dtype=torch.float64)
            self._random[size] = [self(each) for each in on_one_thread(torch.linalg.qr, drawn).Q]
        return self._random[size]


def _removed(removal: _Removal, group: range) -> dict[str, float]:
    random = removal.random(len(group))
    found = _changes(removal(removal.parts.basis[:, list(group)]), removal)
    for name in ("loss", "moved"):
        means = torch.stack([getattr(each, name).mean() for each in random])
        if name == "loss" or removal.circuit == "qk":
            found |= {f"random_{name}": means.mean().item(), f"random_{name}_sd": means.std().item()}
    return found


def _changes(found: Removed, removal: _Removal | None) -> dict[str, float]:
    """Means over contexts and their standard errors; attention of qk alone."""
    names = ("loss", "moved") if removal is not None and removal.circuit == "qk" else ("loss",)
    each = {name: getattr(found, name).double() for name in names}
    means = {name: values.mean().item() for name, values in each.items()}
    return means | {f"{name}_se": (v.std() / math.sqrt(len(v))).item() for name, v in each.items()}


def _twins(
    model: Transformer, twins: Sequence[Transformer], probability: Float[Tensor, " d_vocab"]
) -> Iterator[dict[str, Any]]:
    ids = torch.arange(model.d_vocab)
    tokens = Tokens(ids, ids, (probability.double() / probability.double().sum()))
    for number, twin in enumerate(twins):
        for pair in match(similarity(model, twin, tokens)):
            said = {"name": pair.a, "twin": number, "match": pair.b}
            yield said | {"ov": pair.ov, "qk": pair.qk, "runner_up": pair.runner_up}
