"""Every table about pairs of heads and the residual stream of one model."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Integer

from skiptrace.circuits.factored import Head
from skiptrace.circuits.paths import MOST, Path, path_count
from skiptrace.composition import examples, features, stream, tables
from skiptrace.composition.deletion import deletion
from skiptrace.composition.heads import composition, strongest_keys
from skiptrace.composition.identities import identities
from skiptrace.composition.induction import induction, knockouts
from skiptrace.composition.terms import term_importance
from skiptrace.composition.virtual import virtual_heads
from skiptrace.composition.virtual_weights import virtual_weights
from skiptrace.config.composition import CompositionParams
from skiptrace.config.scoring import ScoringParams
from skiptrace.models.transformer import Transformer
from skiptrace.models.windows import spread_windows
from skiptrace.tables import Table

IDENTITY_CONTEXTS, IDENTITY_TOKENS = 2, 64  # float64 and every path: a little text is enough


def study(
    model: Transformer,
    valid: Integer[np.ndarray, " n"],
    vocabulary: pd.DataFrame,
    scored: pd.DataFrame,
    scoring: ScoringParams,
    params: CompositionParams,
    pairs: int | None = None,
    among: Sequence[Head] | None = None,
) -> Iterator[tuple[Table, pd.DataFrame]]:
    """(table, rows) of all that needs the model, validation text, `vocabulary` (`token, count`) and `scored` (`HEADS`).

    What needs more layers than there are is a table without rows. Of virtual heads, the `pairs` strongest are studied;
    what heads write on text, and what later ones lack without them, is measured of those `among` all; as many of those
    that match prefixes best have their K-composition circuit.
    """
    windows = spread_windows(valid, model.n_ctx, scoring.sequences)
    texts = windows[:, :-1]
    yield tables.IDENTITIES, identities(model, texts[:IDENTITY_CONTEXTS, :IDENTITY_TOKENS])

    # Where paths are too many to list, or do not add up, nothing is said of them one by one.
    listed = model.linear and path_count(model.n_layers, model.n_heads) <= MOST
    logits = examples.to_next_token(model, windows) if listed else {}
    yield tables.PATHS, examples.path_table(logits)
    sure, spoken = examples.probability(model, windows), examples.in_sentences(windows, vocabulary["token"])
    chosen, before = examples.examples(model, windows, logits, sure, spoken, params)
    yield tables.EXAMPLES, chosen
    yield tables.EXAMPLE_TEXTS, before

    composed = composition(model, scoring)
    yield tables.COMPOSITION, composed
    yield tables.VIRTUAL_HEADS, virtual_heads(model, scoring, pairs)
    yield tables.PATTERNS, examples.shown_patterns(model, windows, _shown(composed, logits), sure, spoken, params)
    yield tables.INDUCTION, induction(model, valid, scored, composed, scoring, None if among is None else len(among))
    yield tables.KNOCKOUTS, knockouts(model, scoring, among)
    yield tables.TERMS, term_importance(model, windows)

    yield tables.VIRTUAL_WEIGHTS, virtual_weights(model, scoring)
    written = stream.on_text(model, texts, params.subspace_share, among)
    yield tables.WRITERS, stream.writers(model, written, scoring)
    yield tables.OVERLAPS, stream.overlaps(model, written, scoring)
    yield tables.DELETION, deletion(model, written, scoring)

    families = features.families(vocabulary["token"], vocabulary["count"], params)
    yield tables.DIRECTIONS, features.directions(model, families, scoring)
    yield tables.PLANE, features.plane(model, families, params.pairs_per_family)


def _shown(composed: pd.DataFrame, logits: examples.Logits) -> dict[str, tuple[Path, examples.Contributions]]:
    """The pair with the strongest K-composition, and the virtual head that contributes most of all others."""
    virtual = {path: values for path, values in logits.items() if len(path) == 2}
    pair = strongest_keys(composed)
    if not virtual or pair is None:
        return {}
    # A later head does its own work through the keys: its text is the one where it contributes alone.
    shown: dict[str, tuple[Path, examples.Contributions]] = {"strongest K-composition": (pair, logits[pair[1:]])}
    others = [path for path in virtual if path != pair]
    if others:
        most = max(others, key=lambda path: virtual[path].abs().mean(1).mean().item())
        shown["largest other virtual head"] = (most, virtual[most])
    return shown
