"""What a stage needs at the least: refused before it starts where memory is short, said where it takes over a minute.

Only what grows with the vocabulary, the text and the parameters is counted, each with the keys that bound it.
"""

import math
import sys
from typing import TYPE_CHECKING, NamedTuple

from skiptrace.circuits.factored import PANEL
from skiptrace.errors import InputError
from skiptrace.memory import available
from skiptrace.models.transformer import Transformer

if TYPE_CHECKING:  # so that a stage depends on the parameters of no other
    from skiptrace.config.scoring import ScoringParams
    from skiptrace.config.verification import VerificationParams

A_SECOND = 1e11  # floating-point operations of two cores
LONG = 60 * A_SECOND
PER_ENTRY = 115  # what looking at an entry of a circuit costs beside its product, in operations (docs/scaling.md)
SINGLE, DOUBLE, INTEGER = 4, 8, 8  # bytes of a number
GIGABYTE = 1e9


class Needs(NamedTuple):
    """Floating-point operations, and bytes that are held at once beside the model."""

    operations: float
    memory: float


def of_circuits(model: Transformer, heads: int, offsets: int = 0) -> Needs:
    """To look through the direct path and QK and OV of so many heads, QK at so many distances besides."""
    direct, head = 2 * model.d_model + PER_ENTRY, 2 * model.d_head + PER_ENTRY
    operations = float(model.d_vocab) ** 2 * (direct + (2 + offsets) * heads * head)
    # The factors of QK and OV, as they are and centred, and a panel of full rows with its attention.
    factors = SINGLE * model.d_vocab * ((6 + 2 * offsets) * model.d_head if heads else model.d_model)
    return Needs(operations, factors + 2 * SINGLE * max(PANEL, model.d_vocab))


def of_losses(model: Transformer, contexts: int, rows: int) -> Needs:
    """To turn the residual streams of so many contexts into losses, `rows` positions at once."""
    operations = 2.0 * contexts * model.n_ctx * model.d_model * model.d_vocab
    return Needs(operations, 2.0 * SINGLE * rows * model.d_vocab)


def of_verification(model: Transformer, rows: int, at_once: int, tokens: int, params: "VerificationParams") -> Needs:
    """To run so many mined rows intact, with the edge cut and the source replaced, and the null's rows.

    `at_once` contexts run together; `tokens` of training text are indexed by token.
    """
    ctx = min(params.context_tokens, model.n_ctx)
    body = 8.0 * model.n_layers * ctx * model.d_model * model.n_heads * model.d_head
    logits = 2.0 * model.d_model * model.d_vocab
    null = model.n_layers * model.n_heads * params.null_rows
    operations = params.contexts * (rows * (2 * body + 3 * logits) + null * (body + 2 * logits))
    # Logits intact, with the edge cut, and their exponentials, beside the residual stream before every layer.
    batch = min(at_once, params.contexts * max(rows, null))
    running = SINGLE * batch * (3.0 * model.d_vocab + model.n_layers * ctx * model.d_model)
    return Needs(operations, max(running, INTEGER * tokens))


def of_composition(model: Transformer, virtual_heads: int, positions: int, params: "ScoringParams") -> Needs:
    """To measure each term with and without the others, and to look through the strongest pairs.

    Identities are held at so many `positions`.
    """
    pairs = math.comb(model.n_layers, 2) * model.n_heads**2
    terms = model.n_layers + 1 + model.n_layers * (1 + model.n_heads) + pairs
    losses = 2.0 * params.sequences * model.n_ctx * model.d_model * model.d_vocab
    # Scored by virtual OV and by K-composition, then mined for outs; mining for sources looks at frequent tokens alone.
    circuits = 3.0 * min(virtual_heads, pairs) * model.d_vocab**2 * (2 * model.d_head + PER_ENTRY)
    # In double precision: two copies of both embeddings, the logits of both sides, their difference and its magnitude.
    identities = DOUBLE * model.d_vocab * (4.0 * model.d_model + 4.0 * positions)
    # All contexts at once: what every head writes, in both precisions, and where it attends.
    head = (SINGLE + DOUBLE) * model.d_model + SINGLE * model.n_ctx
    text = params.sequences * model.n_ctx * model.n_heads * float(head)
    return Needs(2 * terms * losses + circuits, max(identities, text))


def state(stage: str, needed: Needs, bounded_by: str) -> None:
    """Print what is needed, if it takes long, and the keys of params.yaml that bound it.

    Raises:
        InputError: it is more memory than there is.
    """
    there = available()
    remedy = f"{bounded_by} in params.yaml and the size of the vocabulary bound it"
    memory = f"{needed.memory / GIGABYTE:.1f} GB of memory"
    if needed.memory > there.bytes:
        left = f"{there.limit} leaves, {max(there.bytes, 0) / GIGABYTE:.1f} GB"
        raise InputError(f"{stage}: at least {memory} beside the model, more than {left}; {remedy}")
    if needed.operations > LONG:
        minutes = needed.operations / A_SECOND / 60
        print(
            f"{stage}: at least {needed.operations:.1e} floating-point operations, {minutes:.0f} minutes on two cores, "
            f"and {memory} beside the model; {remedy}",
            file=sys.stderr,
        )
