"""Upper bounds on what the entries that the corpus does not support cost the model, with their intervals.

Every contribution attention × OV of such an entry (source, destination, output token) is taken away at places of the
validation text where its output token does not follow. Only contributions that raise the output token count, so the
loss can only fall, and the fall is the most that a model without them could gain.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int, Integer
from scipy.special import stdtr
from scipy.stats import false_discovery_control
from torch import Tensor

from skiptrace.circuits.factored import heads, ov
from skiptrace.config.verification import VerificationParams
from skiptrace.evidence.causal import End, at_once, log_p, run_to_end
from skiptrace.evidence.intervals import Estimate, clustered
from skiptrace.evidence.support import Positions, Support, numbered
from skiptrace.evidence.tables import COSTS
from skiptrace.evidence.verification import Streams
from skiptrace.models.transformer import Transformer
from skiptrace.models.windows import BOS_ID
from skiptrace.progress import progress

RAISED = 2**26  # numbers held at once of what every source raises each output token by
ROW_PLACES = 64  # places at which checked rows are taken away, for each of `bound_places`: they cost that much less


def of_rows(model: Transformer, checked: pd.DataFrame, streams: Streams, params: VerificationParams) -> Estimate:
    """The bug cost bound of checked rows that the corpus does not support, nats per token of validation text."""
    unsupported = checked.loc[
        checked["support"] != Support.SUPPORTED, ["layer", "head", "source_id", "destination_id", "out_id", "ov"]
    ]
    unsupported = unsupported.assign(ov=unsupported["ov"].clip(lower=0))
    ctx, places = _places(model, streams, params, ROW_PLACES * params.bound_places)
    saved = []
    batch = at_once(model, ctx)
    for start in range(0, len(places), batch):
        inputs, following = ending_at(np.asarray(streams.valid), places[start : start + batch], ctx)
        end = run_to_end(model, inputs)
        seen = pd.DataFrame(
            {
                "text": np.repeat(np.arange(len(inputs)), ctx),
                "place": np.tile(np.arange(ctx), len(inputs)),
                "source_id": inputs.flatten().numpy(),
                "destination_id": np.repeat(inputs[:, -1].numpy(), ctx),
            }
        )
        # A row of the table applies at its source only if it stands before the destination.
        hits = seen[seen["place"] < ctx - 1].merge(unsupported, on=["source_id", "destination_id"])
        text, place, out = (torch.from_numpy(hits[n].to_numpy().astype(np.int64)) for n in ("text", "place", "out_id"))
        without = end.logits.clone()
        if len(hits):
            attention = torch.stack(end.attention)
            layer, head = (torch.from_numpy(hits[n].to_numpy().astype(np.int64)) for n in ("layer", "head"))
            raised = attention[layer, text, head, place] * torch.from_numpy(hits["ov"].to_numpy().astype(np.float32))
            raised = raised * (out != following[text])
            without.index_put_((text, out), -raised, accumulate=True)
        saved.append((log_p(without, following) - log_p(end.logits, following)).double().numpy())
    return clustered(np.concatenate(saved), Positions(streams.valid, len(streams.count), ctx).document(places))


class _Place(NamedTuple):
    """A place of the text: what is read there, its run, and what each source before it raises every output token by."""

    tokens: Int[Tensor, " ctx"]
    following: Int[Tensor, " 1"]
    end: End
    sources: Int[Tensor, " sources"]
    raised: Float[Tensor, "sources d_vocab"]

    @classmethod
    def of(cls, model: Transformer, streams: Streams, place: int, ctx: int) -> "_Place":
        inputs, following = ending_at(np.asarray(streams.valid), np.array([place]), ctx)
        sources = inputs[0, 1:-1].unique()
        sources = sources[sources != BOS_ID]
        return cls(inputs[0], following, run_to_end(model, inputs), sources, torch.zeros(len(sources), model.d_vocab))


def of_all_entries(
    model: Transformer, positions: Positions, streams: Streams, params: VerificationParams
) -> dict[str, Estimate]:
    """The same bound over every entry of every head, at `params.bound_places` places: nats per token.

    "unsupported": all entries that the training text (`positions`) does not support, most of them too rare to say;
    "contradicted": those that it contradicts. Tested as rows are (`support`), false-discovery rate over the entries
    of one place.
    """
    ctx, places = _places(model, streams, params, params.bound_places)
    saved: dict[str, list[float]] = {"unsupported": [], "contradicted": []}
    # So many places at once as there is room for what their sources raise; the circuits are made for each part.
    together = max(1, RAISED // (ctx * model.d_vocab))
    for start in progress(range(0, len(places), together), "bounding all entries"):
        some = [_Place.of(model, streams, place, ctx) for place in places[start : start + together].tolist()]
        for layer, head in heads(model):
            circuit = ov(model, layer, head).centred()
            for place in some:
                at = (place.tokens[None, :-1] == place.sources[:, None]).float()
                # A matrix: equal for any number of threads.
                attended = at @ place.end.attention[layer][0, head, :-1, None]
                place.raised.add_((attended * circuit.rows(place.sources)).clamp(min=0))
        for place in some:
            place.raised[:, place.following] = 0
            destination = int(place.tokens[-1])
            tested = entry_support(place.sources.numpy(), destination, positions, model.d_vocab, params.fdr)
            for name, taken in (("unsupported", ~tested[0]), ("contradicted", tested[1])):
                without = place.end.logits - (place.raised * torch.from_numpy(taken)).sum(0)
                fall = log_p(without, place.following) - log_p(place.end.logits, place.following)
                saved[name].append(fall.item())
    document = Positions(streams.valid, len(streams.count), ctx).document(places)
    return {name: clustered(np.array(values), document) for name, values in saved.items()}


def entry_support(
    sources: Integer[np.ndarray, " sources"], destination: int, positions: Positions, d_vocab: int, fdr: float
) -> tuple[Bool[np.ndarray, "sources d_vocab"], Bool[np.ndarray, "sources d_vocab"]]:
    """Which output tokens the corpus supports, and contradicts, after a destination, for each of several sources."""
    here = positions.of(destination)
    follows, documents = positions.stream[here + 1].astype(np.int64), positions.document(here)
    alone = np.bincount(follows, minlength=d_vocab) / max(1, len(here))
    more, less = np.ones((2, len(sources), d_vocab))
    for i, source in enumerate(sources):
        seen = positions.preceded(int(source), destination)
        document = numbered(documents[seen])
        size = np.bincount(document)
        n = len(size)
        if n < 2:
            continue
        keys, count = np.unique(document * d_vocab + follows[seen], return_counts=True)
        out = keys % d_vocab
        total = np.bincount(out, count, d_vocab).astype(float)
        # The sum over documents of (count − size·alone)², of output tokens that hardly any document has.
        squares = np.bincount(out, count.astype(float) ** 2, d_vocab).astype(float)
        squares -= 2 * alone * np.bincount(out, count * size[keys // d_vocab], d_vocab)
        squares += alone**2 * (size.astype(float) ** 2).sum()
        variance = np.maximum(squares * n / (n - 1), seen.sum() * alone * (1 - alone))
        known = variance > 0
        statistic = (total - seen.sum() * alone)[known] / np.sqrt(variance[known])
        tail = stdtr(n - 1, -np.abs(statistic))
        more[i, known], less[i, known] = np.where(statistic > 0, [tail, 1 - tail], [1 - tail, tail])
    if not len(sources):
        return more < 0, less < 0
    supported, contradicted = (false_discovery_control(p.ravel()).reshape(p.shape) <= fdr for p in (more, less))
    return supported, contradicted


def _places(
    model: Transformer, streams: Streams, params: VerificationParams, most: int
) -> tuple[int, Integer[np.ndarray, " places"]]:
    """Tokens per context, and at most so many places at even distances over the validation text."""
    ctx = min(params.context_tokens, model.n_ctx)
    last = len(streams.valid) - 2
    return ctx, np.unique(np.linspace(ctx - 1, last, min(most, last - ctx + 2)).astype(np.int64))


BOUNDS = {
    "rows": "bound: unsupported rows",
    "unsupported": "bound: unsupported entries",
    "contradicted": "bound: contradicted entries",
}


def bounds(
    model: Transformer,
    checked: pd.DataFrame,
    positions: Positions,
    streams: Streams,
    params: VerificationParams,
) -> pd.DataFrame:
    """The bound of the checked rows, and those of all entries of the heads: rows of `COSTS`."""
    if checked.empty:
        return COSTS.schema.empty_table().to_pandas()
    unsupported = int((checked["support"] != Support.SUPPORTED).sum())
    rows = [(BOUNDS["rows"], unsupported, *of_rows(model, checked, streams, params))]
    rows += [(BOUNDS[name], 0, *e) for name, e in of_all_entries(model, positions, streams, params).items()]
    return pd.DataFrame(rows, columns=COSTS.names).astype(COSTS.dtypes)


def ending_at(
    stream: Integer[np.ndarray, " n"], places: Integer[np.ndarray, " batch"], ctx: int
) -> tuple[Tensor, Tensor]:
    """Contexts that end at the places, BOS first, and the tokens that follow them."""
    tokens = stream[places[:, None] - np.arange(ctx - 1, -1, -1)].astype(np.int64)
    tokens[:, 0] = BOS_ID
    return torch.from_numpy(tokens), torch.from_numpy(stream[places + 1].astype(np.int64))
