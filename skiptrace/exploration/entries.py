"""The largest entries of every token in every head."""

from collections.abc import Iterator

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from skiptrace.circuits.factored import Circuit, direct, head_name, heads, ov, qk
from skiptrace.exploration.tables import ENTRIES
from skiptrace.mining.scan import Request, scan
from skiptrace.models.transformer import Transformer

DIRECT = "direct"


def entries(
    model: Transformer,
    shown: Int[Tensor, " n"],
    eligible: Bool[Tensor, " d_vocab"],
    probability: Float[Tensor, " d_vocab"],
    count: int,
) -> pd.DataFrame:
    """The `count` largest entries of each token shown, in every head and the direct path; partners are `eligible`.

    `role` says what the partners are to the token: `outs` it raises and `sources` that raise it (OV, centred per
    source, in logits; of the direct path, next and present tokens), `destinations` that attend to it and tokens
    `attended` by it (QK, centred per destination by `probability`, that of the training text; attention scores).
    """
    partners = eligible.nonzero()[:, 0]
    found = []
    for name, role, circuit in _views(model, probability):
        if len(partners) and len(shown):
            top = scan(circuit.restricted(shown, partners), Request(rows=count), threads=torch.get_num_threads()).rows
            assert top is not None
            width = top.index.shape[1]
            columns = {
                "token_id": shown.repeat_interleave(width).numpy(),
                "rank": torch.arange(1, width + 1).repeat(len(shown)).numpy(),
                "partner_id": partners[top.index.long()].flatten().numpy(),
                "value": top.values.flatten().numpy(),
            }
            found.append(pd.DataFrame(columns).assign(name=name, role=role))
    return ENTRIES.frame(pd.concat(found, ignore_index=True) if found else ())


def _views(model: Transformer, probability: Float[Tensor, " d_vocab"]) -> Iterator[tuple[str, str, Circuit]]:
    """(head, role, circuit) with the tokens that are looked up in the rows."""
    path = direct(model).centred()
    yield DIRECT, "outs", path
    yield DIRECT, "sources", path.transposed()
    for head in heads(model):
        values, scores = ov(model, *head).centred(), qk(model, *head).centred(probability)
        yield head_name(head), "outs", values
        yield head_name(head), "sources", values.transposed()
        yield head_name(head), "attended", scores
        yield head_name(head), "destinations", scores.transposed()
