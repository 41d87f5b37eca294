"""Dictionaries of toy models, whose true features are known."""

from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.functional import normalize

from skiptrace.arithmetic import sqrt
from skiptrace.config.dictionaries import ToyDictionaryParams
from skiptrace.dictionary.autoencoder import Autoencoders, Trainer, initial
from skiptrace.dictionary.measures import living, statistics
from skiptrace.progress import progress
from skiptrace.superposition.features import Features, draw, inputs
from skiptrace.superposition.geometry import kept

CHECK = 4096  # inputs that dictionaries are measured on
SAME = 0.9  # cosine from which an entry stands for a feature


class Hosts(NamedTuple):
    """Toy models whose hidden layer is decomposed, and how sparse their inputs are."""

    W: Float[Tensor, "host m n"]
    sparsity: Float[np.ndarray, " host"]
    seed: np.ndarray


class Match(NamedTuple):
    """How well a dictionary holds the true features."""

    mmcs: float
    matched: float
    one_entry: int
    features: int


def mmcs(true: Float[Tensor, "d n"], found: Float[Tensor, "d entries"]) -> float:
    """Mean over true features of the largest cosine with an entry (Sharkey, Braun and Millidge 2022)."""
    cosine = normalize(true, dim=0).T @ normalize(found, dim=0)
    return float(cosine.amax(1).mean())


def match(true: Float[Tensor, "d n"], found: Float[Tensor, "d entries"]) -> Match:
    """MMCS, the mean cosine of the best one-to-one matching, and how many features have exactly one entry."""
    if found.shape[1] == 0:
        return Match(0.0, 0.0, 0, true.shape[1])
    cosine = normalize(true, dim=0).T @ normalize(found, dim=0)
    rows, columns = linear_sum_assignment(-cosine.numpy())
    matched = float(cosine.numpy()[rows, columns].sum()) / true.shape[1]
    one = int(((cosine >= SAME).sum(1) == 1).sum())
    return Match(mmcs(true, found), matched, one, true.shape[1])


def decompose(hosts: Hosts, params: ToyDictionaryParams) -> tuple[pd.DataFrame, pd.DataFrame, dict[int, Autoencoders]]:
    """Train dictionaries of every host on h = Wx: of `entries` entries at every penalty, of other sizes at one.

    Returns: `sweep`, one row per dictionary with its match, statistics and the match of a random dictionary;
    `best`, one row per dictionary and true feature with its largest cosine; the autoencoders by their entries.
    """
    sizes = {params.entries: params.penalties} | {
        size: (params.shown,) for size in params.sizes if size != params.entries
    }
    parts = {entries: of_size(hosts, entries, penalties, params) for entries, penalties in sizes.items()}
    sweep, best = (pd.concat([part[i] for part in parts.values()], ignore_index=True) for i in (0, 1))
    return sweep, best, {entries: part[2] for entries, part in parts.items()}


def of_size(
    hosts: Hosts, entries: int, penalties: tuple[float, ...], params: ToyDictionaryParams
) -> tuple[pd.DataFrame, pd.DataFrame, Autoencoders]:
    """The dictionaries of one number of entries, as `decompose` returns them."""
    generator = torch.Generator().manual_seed(params.seed)
    count, m, n = hosts.W.shape
    W = hosts.W.repeat_interleave(len(penalties), 0)
    features, density = Features(n), torch.tensor(1 - hosts.sparsity, dtype=torch.float32)

    def batch(size: int) -> Float[Tensor, "inst m batch"]:
        x = inputs(features, draw(features, size, generator), density)
        return torch.bmm(hosts.W, x).repeat_interleave(len(penalties), 0)

    start = batch(CHECK)
    scale = sqrt(m / start.square().sum(1).mean(1))[:, None, None]
    untrained = initial(m, entries, (entries,) * len(W), generator)
    trainer = Trainer(untrained, torch.tensor(penalties).repeat(count), params.learning_rate, params.steps)
    for step in progress(range(params.steps), f"training dictionaries of {entries} entries"):
        if step and step % params.resample_every == 0 and step <= params.steps // 2:
            trainer.resample(batch(CHECK) * scale, generator)
        trainer.step(batch(params.batch_size) * scale)
    found = trainer.finish()
    check = batch(CHECK) * scale
    random = normalize(torch.randn(m, entries, generator=generator), dim=0)
    rows, best = [], []
    for index in range(len(W)):
        host, one = index // len(penalties), found[slice(index, index + 1)]
        true = W[index][:, kept(W[index])]
        f = one.features(check[index : index + 1])[0]
        alive = one.decoder[0][:, living(f)]
        named = {
            "sparsity": float(hosts.sparsity[host]),
            "seed": int(hosts.seed[host]),
            "penalty": penalties[index % len(penalties)],
            "entries": entries,
        }
        measured = statistics(check[index], one.decode(f[None])[0], f)._asdict()
        rows.append(named | match(true, alive)._asdict() | measured | {"random_mmcs": mmcs(true, random)})
        cosine = normalize(true, dim=0).T @ alive if alive.shape[1] else torch.zeros(true.shape[1], 1)
        best.append(pd.DataFrame(named | {"feature": np.arange(true.shape[1]), "cosine": cosine.amax(1).numpy()}))
    return pd.DataFrame(rows), pd.concat(best, ignore_index=True), found
