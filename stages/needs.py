"""What a stage will compute at the least, said before it starts where that takes more than a minute.

Operations alone are counted, each with the keys that bound them; memory is not estimated.
"""

import math
import sys
from typing import TYPE_CHECKING

from skiptrace.models.transformer import Transformer

if TYPE_CHECKING:  # so that a stage depends on the parameters of no other
    from skiptrace.config.composition import CompositionParams
    from skiptrace.config.verification import VerificationParams

A_SECOND = 1e11  # floating-point operations of two cores
LONG = 60 * A_SECOND
PER_ENTRY = 115  # what looking at an entry of a circuit costs beside its product, in operations (docs/scaling.md)


def of_circuits(model: Transformer, heads: int) -> float:
    """Operations to look through the direct path and QK and OV of so many heads."""
    direct, head = 2 * model.d_model + PER_ENTRY, 2 * model.d_head + PER_ENTRY
    return float(model.d_vocab) ** 2 * (direct + 2 * heads * head)


def of_losses(model: Transformer, contexts: int) -> float:
    """Operations to turn the residual streams of so many contexts into losses."""
    return 2.0 * contexts * model.n_ctx * model.d_model * model.d_vocab


def of_verification(model: Transformer, rows: int, params: "VerificationParams") -> float:
    """Operations to run so many mined rows intact, with the edge cut and the source replaced, and the null's rows."""
    body = 8.0 * model.n_layers * min(params.context_tokens, model.n_ctx) * model.d_model * model.n_heads * model.d_head
    logits = 2.0 * model.d_model * model.d_vocab
    null = model.n_layers * model.n_heads * params.null_rows
    return params.contexts * (rows * (2 * body + 3 * logits) + null * (body + 2 * logits))


def of_composition(model: Transformer, virtual_heads: int, params: "CompositionParams") -> float:
    """Operations to measure each term with and without the others, and to look through the strongest pairs."""
    pairs = math.comb(model.n_layers, 2) * model.n_heads**2
    terms = model.n_layers + 1 + model.n_layers * (1 + model.n_heads) + pairs
    circuits = 2.0 * min(virtual_heads, pairs) * model.d_vocab**2 * (2 * model.d_head + PER_ENTRY)
    return 2 * terms * of_losses(model, params.contexts) + circuits


def say(stage: str, operations: float, bounded_by: str) -> None:
    """Print what is needed, if it is much, and the keys of params.yaml that bound it."""
    if operations > LONG:
        minutes = operations / A_SECOND / 60
        print(
            f"{stage}: at least {operations:.1e} floating-point operations, {minutes:.0f} minutes on two cores; "
            f"{bounded_by} in params.yaml and the size of the vocabulary bound it",
            file=sys.stderr,
        )
