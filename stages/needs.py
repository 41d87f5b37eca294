"""What a stage needs at the least: refused before it starts where memory is short, said where it takes over a minute.

Only what grows with the vocabulary, the text and the parameters is counted, each with the keys that bound it.
"""

import sys
from typing import TYPE_CHECKING, NamedTuple

from skiptrace.circuits.factored import PANEL
from skiptrace.costs import RATE
from skiptrace.errors import InputError
from skiptrace.memory import available
from skiptrace.models.transformer import Transformer

if TYPE_CHECKING:  # so that a stage depends on the parameters of no other
    from skiptrace.budget import Plan
    from skiptrace.config.models import ModelParams
    from skiptrace.config.scoring import ScoringParams
    from skiptrace.config.verification import VerificationParams

LONG = 60 * RATE
SINGLE, DOUBLE, INTEGER = 4, 8, 8  # bytes of a number
PANELS = 5  # of full rows that mining holds at once: a panel, what it becomes, and what either is computed from
PAIR = 40  # bytes of a pair of adjacent tokens of the training text, as it is read and as a frame
CHARACTER = 240  # bytes that a tokenizer takes for a character of a text that it encodes whole, where each is a token
GIGABYTE = 1e9


class Needs(NamedTuple):
    """Floating-point operations, and bytes that are held at once beside the model."""

    operations: float
    memory: float


def of_mining(plan: "Plan", model: Transformer, heads: int, at_once: int, pairs: int, offsets: int = 0) -> Needs:
    """To mine so many heads, some `at_once`, with so many pairs of adjacent tokens of the training text.

    QK is looked through at so many distances besides.
    """
    return Needs(plan.operations, memory_of_mining(model, heads, at_once, pairs, offsets))


def memory_of_mining(model: Transformer, heads: int, at_once: int, pairs: int, offsets: int = 0) -> float:
    """Bytes for the factors of QK and OV, as they are and centred, and panels of full rows, of each head at once."""
    factors = SINGLE * model.d_vocab * ((6 + 2 * offsets) * model.d_head if heads else model.d_model)
    row = 2 * SINGLE * max(PANEL, model.d_vocab)
    panels = min(PANELS * SINGLE * PANEL, PANELS * SINGLE * float(model.d_vocab) ** 2) if heads else 0.0
    # Pairs are read for the direct path, and by whichever heads begin at once.
    return max(1, at_once) * (factors + row + panels) + PAIR * pairs * (1.0 + at_once)


def of_encoding(longest: int) -> Needs:
    """To encode a corpus whose longest document has so many characters: a document is encoded whole."""
    return Needs(0.0, float(CHARACTER) * longest)


def of_training(model: Transformer, params: "ModelParams", rows: int) -> Needs:
    """To train, `rows` positions of logits at once; `model` is the size of it alone."""
    weights = sum(weight.numel() for weight in model.parameters())
    positions = float(params.batch_size * params.n_ctx)
    attention = 4.0 * model.n_layers * model.n_heads * (4 * model.d_model * model.d_head + params.n_ctx * model.d_head)
    operations = 3.0 * params.steps * positions * (2.0 * model.d_model * model.d_vocab + attention)
    # Weights, gradients, the optimisers' two moments, and all but the gradients again while a state is saved.
    kept = SINGLE * 7.0 * weights
    # Of every layer the scores, the pattern, and what is read and written; logits, and what they become.
    seen = model.n_layers * (2.0 * model.n_heads * params.n_ctx + 4.0 * model.d_model)
    return Needs(operations, kept + SINGLE * (positions * seen + 2.0 * min(rows, positions) * model.d_vocab))


def of_accounting(plan: "Plan", model: Transformer, most: int) -> Needs:
    """To account for attention on text, and rank at most so many entries of either circuit."""
    running = 3.0 * SINGLE * model.n_ctx * model.d_vocab
    entries = min(most, model.n_layers * model.n_heads * model.d_vocab**2)
    # Slopes of QK and of OV; of one head of either its entries, and what they are worth.
    ranking = entries * 2.0 * SINGLE * (1 + 1 / max(1, model.n_layers * model.n_heads))
    return Needs(plan.operations, ranking + running)


def of_exploration(plan: "Plan", model: Transformer, frequent: int, pairs: int) -> Needs:
    """To look tokens up, and compare the direct path on so many `frequent` ones with the pairs of the training text."""
    rows = max(frequent, model.n_ctx)
    operations = plan.operations + 2.0 * rows * model.d_model * model.d_vocab
    return Needs(operations, 2.0 * SINGLE * rows * model.d_vocab + PAIR * pairs)


def of_expansion(model: Transformer, at_once: int, rows: int) -> Needs:
    """To expand circuits, some `at_once`, so many `rows` in memory at once; the disk is asked for elsewhere."""
    row = (SINGLE + 2 * 2.0) * model.d_vocab  # as it is, in half precision, and as it is compressed
    return Needs(0.0, at_once * (rows * row + SINGLE * 2.0 * model.d_vocab * model.d_model))


def of_scoring(plan: "Plan", model: Transformer, rows: int) -> Needs:
    """To score heads, and to turn residual streams into losses, `rows` positions at once."""
    return Needs(plan.operations, 2.0 * SINGLE * rows * model.d_vocab)


def of_verification(
    plan: "Plan",
    model: Transformer,
    at_once: int,
    tokens: int,
    mined: float,
    params: "VerificationParams",
    counted: float = 0.0,
) -> Needs:
    """To check mined rows; `mined` are the bytes it takes to mine stand-ins and twins, `counted` those of triples.

    `at_once` contexts run together; `tokens` of training text are indexed by token.
    """
    ctx = min(params.context_tokens, model.n_ctx)
    # Logits intact, with the edge cut, and their exponentials, beside the residual stream before every layer.
    running = SINGLE * at_once * (3.0 * model.d_vocab + model.n_layers * ctx * model.d_model)
    return Needs(plan.operations, max(running + INTEGER * tokens, mined, counted))


def of_composition(plan: "Plan", model: Transformer, positions: int, params: "ScoringParams") -> Needs:
    """To study pairs of heads by weights and on text. Identities are held at so many `positions`."""
    heads = 4.0 * model.n_layers * model.d_model * model.n_heads * model.d_head
    weights = sum(weight.numel() for weight in model.parameters())
    # In double precision: the model, once more with other heads or in another basis, and the logits of both sides,
    # their difference and its magnitude.
    identities = DOUBLE * (weights + (weights if model.linear else heads) + 4.0 * positions * model.d_vocab)
    # All contexts at once: what every head writes, in both precisions, and where it attends.
    head = (SINGLE + DOUBLE) * model.d_model + SINGLE * model.n_ctx
    text = params.sequences * model.n_ctx * model.n_heads * float(head)
    return Needs(plan.operations, max(identities, text))


def within(stage: str, plan: "Plan") -> None:
    """Say what a stage leaves out so that it fits its share of the time budget, and how far it goes beyond that."""
    if plan.cuts:
        print(f"{stage}: {plan.said()}, so that it fits budget.minutes of params.yaml", file=sys.stderr)
    if beyond := plan.over():
        print(f"{stage}: {beyond} of budget.minutes of params.yaml", file=sys.stderr)


def state(stage: str, needed: Needs, bounded_by: str, also: str = "the size of the vocabulary") -> None:
    """Print what is needed, if it takes long, and the keys of params.yaml that bound it, and what `also` does.

    Raises:
        InputError: it is more memory than there is.
    """
    there = available()
    remedy = f"{bounded_by} in params.yaml and {also} bound it"
    memory = f"{needed.memory / GIGABYTE:.1f} GB of memory"
    if needed.memory > there.bytes:
        left = f"{there.limit} leaves, {max(there.bytes, 0) / GIGABYTE:.1f} GB"
        raise InputError(f"{stage}: at least {memory} beside what is loaded, more than {left}; {remedy}")
    if needed.operations > LONG:
        minutes = needed.operations / RATE / 60
        print(
            f"{stage}: at least {needed.operations:.1e} floating-point operations, {minutes:.0f} minutes on two cores, "
            f"and {memory} beside what is loaded; {remedy}",
            file=sys.stderr,
        )
