"""Dictionaries of a language model: a sweep of λ at every site, and what each feature does."""

from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor

from skiptrace.arithmetic import on_one_thread
from skiptrace.config.dictionaries import ModelDictionaryParams
from skiptrace.dictionary import sites
from skiptrace.dictionary.autoencoder import Autoencoders, Trainer, initial, scale_of
from skiptrace.dictionary.measures import densities, loss_recovered, statistics, variance_explained
from skiptrace.dictionary.sites import BATCH, Site
from skiptrace.dictionary.tables import CONTEXTS
from skiptrace.models.transformer import Transformer
from skiptrace.models.windows import random_windows, spread_windows
from skiptrace.progress import progress


class Text(NamedTuple):
    """The token streams of a corpus and the text of every token."""

    train: Integer[np.ndarray, " n"]
    valid: Integer[np.ndarray, " m"]
    tokens: pd.Series


class Dictionaries(NamedTuple):
    """What one site gave.

    `sweep`: one row per λ. `densities`: one row per λ and entry. `features`, `contexts`: the entries of the λ shown,
    what they raise and where they are most active. The autoencoders are in the units of the activations.
    """

    sweep: pd.DataFrame
    densities: pd.DataFrame
    features: pd.DataFrame
    contexts: pd.DataFrame
    autoencoders: Autoencoders


def decompose(model: Transformer, text: Text, site: Site, params: ModelDictionaryParams) -> Dictionaries:
    """Train autoencoders on a site of a model, one for each λ, and measure them on validation text."""
    windows = random_windows(text.train, model.n_ctx, params.windows, params.seed, 0)
    training = sites.activations(model, windows, site)
    found = fit(training, params, site)
    check = spread_windows(text.valid, model.n_ctx, params.check_windows)
    x = sites.activations(model, check, site)
    means = token_means(training, windows[:, 1:-1].flatten(), model.d_vocab)
    ablated = training.mean(1, keepdim=True).expand_as(x)
    sweep, density = measure(
        model, check, site, x, found, Ablations(ablated, means[:, check[:, 1:-1].flatten()]), params
    )
    shown = params.penalties.index(params.shown)
    one = found[slice(shown, shown + 1)]
    f = one.features(x[None])[0]
    features = describe(model, site, one, f, text.tokens, params)
    contexts = most_active(model, check, site, one, f, text.tokens, params)
    return Dictionaries(sweep, density, features, contexts, found)


class Ablations(NamedTuple):
    """What a site holds instead: the mean of training text, and that mean for the token read at each position."""

    mean: Float[Tensor, "d positions"]
    token_mean: Float[Tensor, "d positions"]


def token_means(
    x: Float[Tensor, "d positions"], tokens: Int[Tensor, " positions"], d_vocab: int
) -> Float[Tensor, "d d_vocab"]:
    """The mean activation wherever each token is read; of a token that is not among `tokens`, the mean of all."""
    count = torch.bincount(tokens, minlength=d_vocab)
    summed = torch.zeros(len(x), d_vocab, dtype=x.dtype).index_add_(1, tokens, x)
    return torch.where(count > 0, summed / count.clamp_min(1), x.mean(1, keepdim=True))


def fit(x: Float[Tensor, "d positions"], params: ModelDictionaryParams, name: str) -> Autoencoders:
    """Train on activations drawn at random, λ in units in which their mean squared norm is d."""
    generator = torch.Generator().manual_seed(params.seed)
    scale, (d, positions) = scale_of(x), x.shape
    penalties = torch.tensor(params.penalties)
    count = len(penalties)
    trainer = Trainer(initial(count, d, params.entries, generator), penalties, params.learning_rate, params.steps)
    rows = x.T.contiguous() * scale

    def batch() -> Float[Tensor, "inst d batch"]:
        chosen = torch.randint(positions, (params.batch_size,), generator=generator)
        return rows[chosen].T.expand(count, d, params.batch_size)

    for step in progress(range(params.steps), f"training dictionaries of {name}"):
        if step and step % params.resample_every == 0 and step <= params.steps // 2:
            trainer.resample(batch(), generator)
        trainer.step(batch())
    found = trainer.finish()
    return Autoencoders(found.encoder, found.encoder_bias / scale, found.decoder, found.decoder_bias / scale)


def measure(
    model: Transformer,
    check: Int[Tensor, "batch width"],
    site: Site,
    x: Float[Tensor, "d positions"],
    found: Autoencoders,
    ablations: Ablations,
    params: ModelDictionaryParams,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """L0, variance explained, loss recovered and dead fraction by λ, and the density of every entry.

    Loss recovered is 0 for mean ablation. Beside it stand two nulls: as many principal components as the dictionary
    has entries active, and the mean activation for the current token, which knows nothing of the context.
    """
    original = sites.loss_with(model, check, site, x)
    mean, token_mean = (sites.loss_with(model, check, site, instead) for instead in ablations)
    centre = x.mean(1, keepdim=True)
    components = on_one_thread(torch.linalg.eigh, (x - centre) @ (x - centre).T).eigenvectors.flip(1)
    rows, density = [], []
    for index, penalty in enumerate(params.penalties):
        one = found[slice(index, index + 1)]
        f = one.features(x[None])[0]
        x_hat = one.decode(f[None])[0]
        measured = statistics(x, x_hat, f)
        leading = components[:, : max(1, round(measured.l0))]
        pca = leading @ (leading.T @ (x - centre)) + centre
        loss, pca_loss = (sites.loss_with(model, check, site, y) for y in (x_hat, pca))
        rows.append(
            {"site": site, "penalty": penalty}
            | measured._asdict()
            | {
                "loss": loss,
                "original_loss": original,
                "mean_loss": mean,
                "loss_recovered": loss_recovered(loss, original, mean),
                "token_mean_recovered": loss_recovered(token_mean, original, mean),
                "pca_explained": variance_explained(x, pca),
                "pca_recovered": loss_recovered(pca_loss, original, mean),
            }
        )
        entries = np.arange(params.entries)
        density.append(
            pd.DataFrame({"site": site, "penalty": penalty, "feature": entries, "density": densities(f).numpy()})
        )
    return pd.DataFrame(rows), pd.concat(density, ignore_index=True)


def describe(
    model: Transformer,
    site: Site,
    one: Autoencoders,
    f: Float[Tensor, "entries positions"],
    tokens: pd.Series,
    params: ModelDictionaryParams,
) -> pd.DataFrame:
    """One row per entry: density, mean activation where active, and the tokens it raises most, with their logits.

    Logits are those of the mean activation. For heads, `head` is the one with most of the entry's direction.
    """
    density = densities(f)
    mean = f.sum(1) / (f > 0).sum(1).clamp_min(1)
    top = (sites.to_logits(model, site, one.decoder[0]) * mean[:, None]).topk(min(params.outs, len(tokens)), dim=1)
    names = tokens.to_numpy()
    frame = pd.DataFrame(
        {
            "site": site,
            "feature": np.arange(len(f)),
            "density": density.numpy(),
            "activation": mean.numpy(),
            "out_ids": top.indices.tolist(),
            "outs": [list(names[row]) for row in top.indices.numpy()],
            "logits": top.values.tolist(),
        }
    )
    if site == "heads":
        layer = model.blocks[-1]
        norms = one.decoder[0].unflatten(0, (layer.n_heads, layer.d_head)).square().sum(1)
        frame["head"], frame["head_share"] = norms.argmax(0).numpy(), norms.amax(0).numpy()
    else:
        frame["head"], frame["head_share"] = -1, 0.0
    return frame


def most_active(
    model: Transformer,
    check: Int[Tensor, "batch width"],
    site: Site,
    one: Autoencoders,
    f: Float[Tensor, "entries positions"],
    tokens: pd.Series,
    params: ModelDictionaryParams,
) -> pd.DataFrame:
    """The contexts in which each living entry is most active, at most one of each window.

    One row per context: what stands before, the token, what follows, and the head and source token that contribute
    most to the activation.
    """
    per_window = model.n_ctx - 1
    strongest, where = f.unflatten(1, (len(check), per_window)).max(2)
    top = strongest.topk(min(params.contexts, len(check)), dim=1)
    wanted: dict[int, list[tuple[int, int, int, float]]] = {}
    for feature, (windows, values) in enumerate(zip(top.indices.tolist(), top.values.tolist(), strict=True)):
        for rank, (window, value) in enumerate(zip(windows, values, strict=True)):
            if value > 0:
                wanted.setdefault(window, []).append((feature, rank, int(where[feature, window]) + 1, value))
    rows, names = [], tokens.to_numpy()
    for first in range(0, len(check), BATCH):
        state = sites.run(model, check[first : first + BATCH, :-1])
        for window in range(first, min(first + BATCH, len(check))):
            ids = check[window].tolist()
            for feature, rank, position, value in wanted.get(window, []):
                source = sites.sources(model, state, site, one.encoder[0][feature], window - first, position)
                before = ids[max(1, position - params.context_tokens) : position]
                rows.append(
                    {
                        "site": site,
                        "feature": feature,
                        "rank": rank,
                        "activation": value,
                        "before": list(names[before]),
                        "token_id": ids[position],
                        "token": names[ids[position]],
                        "after": list(names[ids[position + 1 : position + 3]]),
                        "head": source.head,
                        "distance": position - source.position,
                        "source_id": ids[source.position],
                        "source": names[ids[source.position]],
                    }
                )
    return CONTEXTS.frame(rows).sort_values(["feature", "rank"], ignore_index=True)
