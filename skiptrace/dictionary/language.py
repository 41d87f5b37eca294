"""Dictionaries of a language model: a sweep of λ and of k at every site, and what each feature does."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor

from skiptrace.arithmetic import on_one_thread
from skiptrace.config.dictionaries import ModelDictionaryParams, TrainingParams
from skiptrace.dictionary import sites
from skiptrace.dictionary.autoencoder import Autoencoders, Trainer, initial, join, scale_of
from skiptrace.dictionary.measures import densities, recovered, statistics, variance_explained
from skiptrace.dictionary.sites import BATCH, Site
from skiptrace.dictionary.tables import CONTEXTS, Kind
from skiptrace.models.transformer import Transformer
from skiptrace.models.windows import BOS_ID, random_windows, spread_windows
from skiptrace.progress import progress

FLOOR_BATCHES = 64  # batches whose smallest kept activations give the floor of a BatchTopK autoencoder


class Text(NamedTuple):
    """The token streams of a corpus and the text of every token."""

    train: Integer[np.ndarray, " n"]
    valid: Integer[np.ndarray, " m"]
    tokens: pd.Series


class Dictionaries(NamedTuple):
    """What one site gave.

    `sweep`: one row per autoencoder. `densities`: one row per autoencoder and entry. `features`, `contexts`: the
    entries of the k shown, what they raise and where they are most active. The autoencoders are in the units of the
    activations.
    """

    sweep: pd.DataFrame
    densities: pd.DataFrame
    features: pd.DataFrame
    contexts: pd.DataFrame
    autoencoders: Autoencoders


def decompose(model: Transformer, text: Text, site: Site, params: ModelDictionaryParams) -> Dictionaries:
    """Train autoencoders on a site of a model, one for each of `settings`, and measure them on validation text."""
    windows = random_windows(text.train, model.n_ctx, params.windows, params.seed, 0)
    training = sites.activations(model, windows, site)
    # Those by batch apart, so that the others are the same without them: resampling draws from the same generator.
    groups = [[s for s in settings(params) if (s.kind is Kind.BATCH_TOP_K) is apart] for apart in (False, True)]
    found = join([fit(training, params, group, site) for group in groups if group])
    check = spread_windows(text.valid, model.n_ctx, params.check_windows)
    document = documents(text.valid, model.n_ctx, params.check_windows)
    x = sites.activations(model, check, site)
    means = token_means(training, windows[:, 1:-1].flatten(), model.d_vocab)
    ablated = training.mean(1, keepdim=True).expand_as(x)
    ablations = Ablations(ablated, means[:, check[:, 1:-1].flatten()])
    sweep, density = measure(model, check, document, site, x, found, ablations, params)
    shown = settings(params).index(Setting(Kind.TOP_K, 0.0, params.shown))
    one = found[slice(shown, shown + 1)]
    f = one.features(x[None])[0]
    features = describe(model, site, one, f, text.tokens, params)
    contexts = most_active(model, check, site, one, f, text.tokens, params)
    return Dictionaries(sweep, density, features, contexts, found)


class Setting(NamedTuple):
    """How sparse an autoencoder is: the weight of its L1 norm, or the entries that it keeps of an input, on average."""

    kind: Kind
    penalty: float
    k: int


def settings(params: ModelDictionaryParams) -> list[Setting]:
    """Every λ, without TopK, and then every k, without a penalty, of each input and of batches."""
    return [
        *(Setting(Kind.L1, p, params.entries) for p in params.penalties),
        *(Setting(Kind.TOP_K, 0.0, k) for k in params.k),
        *(Setting(Kind.BATCH_TOP_K, 0.0, k) for k in params.batch_k),
    ]


def documents(stream: Integer[np.ndarray, " n"], n_ctx: int, count: int) -> Int[np.ndarray, " positions"]:
    """Where the document of every position begins that `spread_windows` reads, from position 1 on."""
    starts = np.linspace(0, len(stream) - n_ctx, count).astype(np.int64)
    places = (starts[:, None] + np.arange(n_ctx - 1)).ravel()
    begin = np.union1d([0], np.flatnonzero(np.asarray(stream) == BOS_ID))
    return begin[np.searchsorted(begin, places, side="right") - 1]


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


def fit(x: Float[Tensor, "d positions"], params: TrainingParams, several: Sequence[Setting], name: str) -> Autoencoders:
    """Train on activations drawn at random, in units in which their mean squared norm is d; one for each setting.

    The bias of the decoder starts as their mean. Those that keep k entries of an input on average keep k n of the n of
    a batch while they are trained; then those above a floor, whatever else is in the batch: the mean over batches of
    the smallest activation that is kept (Bussmann et al. 2024, section 3.1).
    """
    generator = torch.Generator().manual_seed(params.seed)
    scale, (d, positions) = scale_of(x), x.shape
    kinds, penalties, k = zip(*several, strict=True)
    by_batch = tuple(kind is Kind.BATCH_TOP_K for kind in kinds)
    start = replace(initial(d, params.entries, k, generator), by_batch=by_batch)
    start.decoder_bias.copy_(x.mean(1) * scale)
    trainer = Trainer(start, torch.tensor(penalties), params.learning_rate, params.steps)
    rows = x.T.contiguous() * scale

    def batch() -> Float[Tensor, "inst d batch"]:
        chosen = torch.randint(positions, (params.batch_size,), generator=generator)
        return rows[chosen].T.expand(len(k), d, params.batch_size)

    for step in progress(range(params.steps), f"training dictionaries of {name}"):
        if step and step % params.resample_every == 0 and step <= params.steps // 2:
            trainer.resample(batch(), generator)
        trainer.step(batch())
    found = trainer.finish()
    floor = None
    if any(by_batch):
        smallest = torch.stack([_smallest(found.features(batch())) for _ in range(FLOOR_BATCHES)]).mean(0)
        floor = (smallest * torch.tensor(by_batch) / scale)[:, None].expand(-1, params.entries).contiguous()
    k = tuple(params.entries if apart else each for each, apart in zip(k, by_batch, strict=True))
    bias, decoder_bias = found.encoder_bias / scale, found.decoder_bias / scale
    return Autoencoders(found.encoder, bias, found.decoder, decoder_bias, k, floor=floor)


def _smallest(f: Float[Tensor, "inst entries batch"]) -> Float[Tensor, " inst"]:
    """The smallest activation above zero."""
    return torch.where(f > 0, f, torch.inf).flatten(1).amin(1).nan_to_num(posinf=0)


def measure(
    model: Transformer,
    check: Int[Tensor, "batch width"],
    document: Int[np.ndarray, " positions"],
    site: Site,
    x: Float[Tensor, "d positions"],
    found: Autoencoders,
    ablations: Ablations,
    params: ModelDictionaryParams,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """L0, variance explained, loss recovered and dead fraction of each, and the density of every entry.

    Loss recovered is 0 for mean ablation; its interval is clustered by document. Beside it stand two nulls: as many
    principal components as the dictionary has entries active, and the mean activation for the current token, which
    knows nothing of the context.
    """
    original = sites.losses_with(model, check, site, x)
    mean, token_mean = (sites.losses_with(model, check, site, instead) for instead in ablations)
    token = recovered(token_mean, original, mean, document).mean
    centre = x.mean(1, keepdim=True)
    components = on_one_thread(torch.linalg.eigh, (x - centre) @ (x - centre).T).eigenvectors.flip(1)
    rows, density = [], []
    for index, setting in enumerate(settings(params)):
        one = found[slice(index, index + 1)]
        f = one.features(x[None])[0]
        x_hat = one.decode(f[None])[0]
        measured = statistics(x, x_hat, f)
        leading = components[:, : max(1, round(measured.l0))]
        pca = leading @ (leading.T @ (x - centre)) + centre
        loss, pca_loss = (sites.losses_with(model, check, site, y) for y in (x_hat, pca))
        share = recovered(loss, original, mean, document)
        rows.append(
            {"site": site}
            | setting._asdict()
            | measured._asdict()
            | {
                "loss": float(loss.mean()),
                "original_loss": float(original.mean()),
                "mean_loss": float(mean.mean()),
                "loss_recovered": share.mean,
                "loss_recovered_low": share.low,
                "loss_recovered_high": share.high,
                "token_mean_recovered": token,
                "token_mean_explained": variance_explained(x, ablations.token_mean),
                "pca_explained": variance_explained(x, pca),
                "pca_recovered": recovered(pca_loss, original, mean, document).mean,
            }
        )
        entries = np.arange(params.entries)
        density.append(
            pd.DataFrame({"site": site, **setting._asdict(), "feature": entries, "density": densities(f).numpy()})
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

    Logits are those of the mean activation. For heads, `head` is the one that most of the encoder row reads from.
    """
    density = densities(f)
    mean = f.sum(1) / (f > 0).sum(1).clamp_min(1)
    top = (sites.to_logits(model, one.decoder[0]) * mean[:, None]).topk(min(params.outs, len(tokens)), dim=1)
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
        norms = (layer.o @ one.encoder[0].T).unflatten(0, (layer.n_heads, layer.d_head)).square().sum(1)
        frame["head"], frame["head_share"] = norms.argmax(0).numpy(), (norms.amax(0) / norms.sum(0)).numpy()
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
                source = sites.sources(model, state, one.encoder[0][feature], window - first, position)
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
