"""What each term of the path expansion is worth: losses of the model with its patterns frozen.

"A Mathematical Framework", section "Term Importance Analysis": run the model and keep its attention
patterns; run it again with these patterns while heads read a stream without any head's output; then
with the outputs of that run, and so on. Run n holds exactly the paths through at most n heads.
"""

import math
from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from skiptrace.circuits.factored import heads, pairs
from skiptrace.circuits.paths import label, path_outputs
from skiptrace.composition.tables import TERMS
from skiptrace.models.transformer import Transformer
from skiptrace.progress import progress

BATCH = 8  # contexts whose patterns are held at once


def frozen_runs(
    model: Transformer,
    tokens: Int[Tensor, "batch ctx"],
    patterns: list[Float[Tensor, "batch n_heads ctx ctx"]],
) -> Iterator[Float[Tensor, "batch ctx d_model"]]:
    """The final residual stream of run 0, 1, … with frozen patterns, without end."""
    embedding, _ = model.embed(tokens)
    before = [torch.zeros_like(embedding) for _ in model.blocks]
    while True:
        x, outputs = embedding, []
        for layer, pattern, written in zip(model.blocks, patterns, before, strict=True):
            outputs.append(layer.head_outputs(x, pattern).sum(1))
            x = x + written
        yield x
        before = outputs


@torch.no_grad()
def term_importance(model: Transformer, windows: Int[Tensor, "contexts width"]) -> pd.DataFrame:
    """Reduction of the loss by each order, layer, head and virtual head, in nats per token.

    `added`: loss without the term minus loss with it, when all lower orders are there; order 0, the
    direct path, is compared with uniform guessing. `removed`: loss of the model without the term minus
    loss of the model. Standard errors over contexts. Terms of a layer or a head are its paths of one head;
    those of a virtual head the path through its two heads. No rows for a model whose terms do not add up.
    """
    if not model.linear:
        return TERMS.frame()
    losses: dict[tuple[str, str, str], list[Tensor]] = {}
    for batch in progress(windows.split(BATCH), "term importance"):
        for key, loss in _losses(model, batch):
            losses.setdefault(key, []).append(loss)
    whole = {key: torch.cat(parts).double().numpy() for key, parts in losses.items()}
    full = whole["order", str(model.n_layers), "added"]
    orders = [np.full_like(full, math.log(model.d_vocab))]
    orders += [whole["order", str(n), "added"] for n in range(model.n_layers + 1)]
    rows = []
    for n, (before, after) in enumerate(pairwise(orders)):
        count = math.comb(model.n_layers, n) * model.n_heads**n
        rows.append(("order", n, str(n), count, before - after, whole["order", str(n), "removed"] - full))
    for scope, order in (("layer", 1), ("head", 1), ("virtual", 2)):
        for key in whole:
            if key[0] == scope and key[2] == "added":
                count = model.n_heads if scope == "layer" else 1
                without = whole[scope, key[1], "removed"] - full
                rows.append((scope, order, key[1], count, orders[order] - whole[key], without))
    found = [(*row[:4], *_mean_se(row[4]), *_mean_se(row[5])) for row in rows]
    return TERMS.frame(found)


def _losses(
    model: Transformer, windows: Int[Tensor, "contexts width"]
) -> Iterator[tuple[tuple[str, str, str], Float[Tensor, " contexts"]]]:
    """((scope, name, added | removed), loss of each context) of every variant of the residual stream."""
    tokens = windows[:, :-1]
    patterns = model.patterns(tokens)
    runs = frozen_runs(model, tokens, patterns)
    x = [next(runs) for _ in range(model.n_layers + 1)]
    full = x[-1]
    loss = _loss_of(model, windows)
    for n, upto in enumerate(x):
        term = upto - x[n - 1] if n else upto
        yield ("order", str(n), "added"), loss(upto)
        yield ("order", str(n), "removed"), loss(full - term)
    for layer in range(model.n_layers):
        outputs = {h: path_outputs(model, tokens, patterns, (h,)) for h in heads(model) if h[0] == layer}
        whole = sum(outputs.values(), torch.zeros_like(full))
        yield ("layer", str(layer), "added"), loss(x[0] + whole)
        yield ("layer", str(layer), "removed"), loss(full - whole)
        for head, output in outputs.items():
            yield ("head", label((head,)), "added"), loss(x[0] + output)
            yield ("head", label((head,)), "removed"), loss(full - output)
    for pair in pairs(model):
        output = path_outputs(model, tokens, patterns, pair)
        yield ("virtual", label(pair), "added"), loss(x[1] + output)
        yield ("virtual", label(pair), "removed"), loss(full - output)


def _loss_of(
    model: Transformer, windows: Int[Tensor, "contexts width"]
) -> Callable[[Float[Tensor, "contexts ctx d_model"]], Float[Tensor, " contexts"]]:
    targets = windows[:, 2:]

    def loss(x: Float[Tensor, "contexts ctx d_model"]) -> Float[Tensor, " contexts"]:
        # As everywhere, nothing is predicted from BOS alone.
        each = model.losses(x[:, 1:].flatten(0, 1), targets.flatten())
        return each.unflatten(0, targets.shape).mean(1)

    return loss


def _mean_se(values: Float[np.ndarray, " contexts"]) -> tuple[float, float]:
    return float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values)))
