"""Every mined row with its evidence, and which rows survive false-discovery control."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Integer
from scipy.stats import false_discovery_control, norm

from skiptrace.config.verification import VerificationParams
from skiptrace.evidence.causal import Rows, Sampler, check, frequency_matched
from skiptrace.evidence.support import Positions, support
from skiptrace.evidence.tables import CHECKED, CHECKS
from skiptrace.models.transformer import Transformer

IDS = ["source_id", "destination_id", "out_id"]
ADDED = {column.name: CHECKED.dtypes[column.name] for column in CHECKS}


@dataclass(frozen=True)
class Streams:
    """Token streams of a corpus, and how often each token occurs in training."""

    train: Integer[np.ndarray, " n"]
    valid: Integer[np.ndarray, " m"]
    count: Integer[np.ndarray, " d_vocab"]


def verify(
    model: Transformer,
    table: pd.DataFrame,
    streams: Streams,
    params: VerificationParams,
    sample: int | None = None,
) -> pd.DataFrame:
    """Check the best rows of each ranking; return them with their evidence, in their order.

    `sample`: of these rows so many, spread evenly over their order. Shares of them are those of the whole within
    the error of a sample; false discoveries are controlled among those that are checked.
    Added columns: `CHECKS`. A row that is not `specific`, whose destination does not matter, is a skip-bigram.
    `rank_evidence` puts consistent rows first and orders by what they are worth on text.
    """
    chosen = table[best(table, params.rows)].sort_values("rank", kind="stable")
    if sample is not None and sample < len(chosen):
        chosen = chosen.iloc[np.linspace(0, len(chosen) - 1, sample).round().astype(int)]
    chosen = chosen.reset_index(drop=True)
    if chosen.empty:
        return chosen.assign(**{name: pd.Series(dtype=kind) for name, kind in ADDED.items()})
    parts = [
        _head(model, int(layer), int(head), rows, streams, params)
        for (layer, head), rows in chosen.groupby(["layer", "head"])
    ]
    checked = pd.concat([chosen, pd.concat(parts).sort_index()], axis=1)
    checked["consistent"] = false_discovery_control(checked["p_value"]) <= params.fdr
    positions = Positions(streams.train, len(streams.count), model.n_ctx - 1)
    checked = pd.concat([checked, support(checked, positions, params.fdr)], axis=1)
    worth = evidence_score(checked).where(checked["consistent"], -np.inf)
    ordered = np.lexsort([checked["rank"], -worth.to_numpy()])
    checked["rank_evidence"] = 1 + np.argsort(ordered, kind="stable")
    return checked.astype(ADDED)


def evidence_score(checked: pd.DataFrame) -> pd.Series:
    """Probability that the edge adds to the out: p_out·(1 − exp(−effect)).

    What the running model would lose of its prediction without the edge, between 0 and 1. A row
    that multiplies a negligible probability is worth little, however large its effect in nats.
    """
    return checked["p_out"] * (1 - np.exp(-checked["effect_nats"].clip(lower=0)))


def best(table: pd.DataFrame, rows: int) -> Bool[np.ndarray, " n"]:
    """The first rows of each ranking among those of the table, that at a distance if there is one; at most `rows`."""
    ranks = [table[f"rank_{rule}"] for rule in ("published", "expected")]
    if "rank_offset" in table and table["rank_offset"].notna().any():
        ranks.append(table["rank_offset"])
    return np.any([(rank.rank() <= rows // len(ranks)).to_numpy() for rank in ranks], axis=0)


def _head(
    model: Transformer, layer: int, head: int, table: pd.DataFrame, streams: Streams, params: VerificationParams
) -> pd.DataFrame:
    rows = Rows(*(table[name].to_numpy() for name in IDS))
    seed = params.seed + 1000 * layer + head
    sampler = Sampler(streams.valid, min(params.context_tokens, model.n_ctx), len(streams.count), seed)
    contexts = sampler.draw_shared(rows, params.contexts)
    other = frequency_matched(contexts.source, streams.count, seed)
    found = check(model, layer, head, rows, contexts, other)
    null = null_effects(model, layer, head, rows, sampler, streams, params)
    elsewhere = other_destinations(model, layer, head, rows, sampler, streams, params)
    at_least = (null[None, :] >= found.cut.mean[:, None]).sum(1)
    p_null = (1 + at_least) / (1 + len(null))
    # Both must be refuted: that a random row does as much, and that the mean effect is not above zero.
    p_zero = norm.sf(found.cut.mean / np.maximum(found.cut.se, 1e-12))
    return pd.DataFrame(
        {
            "effect_nats": found.cut.mean,
            "effect_se": found.cut.se,
            "replaced_nats": found.replaced.mean,
            "replaced_se": found.replaced.se,
            "p_out": found.p_out,
            "n_contexts": params.contexts,
            "null_mean": null.mean(),
            "null_sd": null.std(ddof=1),
            "elsewhere_nats": elsewhere.mean(1),
            "specific": found.cut.mean > elsewhere.max(1),
            "p_value": np.maximum(p_null, p_zero),
        },
        index=table.index,
    )


def null_effects(
    model: Transformer,
    layer: int,
    head: int,
    rows: Rows,
    sampler: Sampler,
    streams: Streams,
    params: VerificationParams,
) -> Float[np.ndarray, " null_rows"]:
    """Effects, in nats, of rows of random tokens of the same frequencies, checked in the same way.

    Each random pair of source and destination has `NULL_OUTS` output tokens, as mined pairs have about two.
    """
    generator = np.random.default_rng([params.seed, layer, head])
    like = generator.integers(0, len(rows.source), -(-params.null_rows // NULL_OUTS))
    source, destination = (
        np.repeat(frequency_matched(ids[like], streams.count, int(s)), NULL_OUTS)
        for ids, s in zip(rows[:2], generator.integers(0, 2**32, 2), strict=True)
    )
    out = frequency_matched(np.repeat(rows.out[like], NULL_OUTS), streams.count, int(generator.integers(2**32)))
    drawn = Rows(*(ids[: params.null_rows] for ids in (source, destination, out)))
    return check(model, layer, head, drawn, sampler.draw_shared(drawn, params.contexts), None).cut.mean


NULL_OUTS = 2
OTHER_CONTEXTS = 4  # of each other destination: their mean over destinations has as many contexts as the row itself


def other_destinations(
    model: Transformer,
    layer: int,
    head: int,
    rows: Rows,
    sampler: Sampler,
    streams: Streams,
    params: VerificationParams,
) -> Float[np.ndarray, "rows others"]:
    """Effects, in nats, of each row's source and output token at other destinations of similar frequency.

    Rows of one source and destination have the same other destinations.
    """
    n, others = len(rows.source), params.other_destinations
    seed = np.random.default_rng([params.seed, layer, head, 1]).integers(2**32)
    pairs, of = np.unique(np.stack(rows[:2]), axis=1, return_inverse=True)
    destination = frequency_matched(np.repeat(pairs[1], others), streams.count, int(seed)).reshape(-1, others)
    moved = Rows(np.repeat(rows.source, others), destination[of.ravel()].ravel(), np.repeat(rows.out, others))
    effects = check(model, layer, head, moved, sampler.draw_shared(moved, OTHER_CONTEXTS), None).cut.mean
    return effects.reshape(n, others)
