"""Dictionary features against mined skip-trigrams."""

from typing import NamedTuple

import numpy as np
import pandas as pd


class Matched(NamedTuple):
    """A feature and the skip-trigrams that it matches, as (head, source, out) with the texts of source and out."""

    feature: int
    rows: tuple[tuple[int, str, str], ...]


def match(features: pd.DataFrame, contexts: pd.DataFrame, mined: pd.DataFrame) -> list[Matched]:
    """The features of one site that match a mined skip-trigram of the last layer.

    A feature matches (head, source, out) when in one of its top contexts that head brings most of its activation
    from that source token, and it raises that out among its top outs.
    """
    reached, known = _reached(contexts), _known(mined)
    found = []
    for row in features.itertuples():
        pairs = sorted(reached.get(row.feature, set()))
        rows = [known[h, s, out] for out in row.out_ids for h, s in pairs if (h, s, out) in known]
        if rows:
            found.append(Matched(int(row.feature), tuple(rows)))
    return found


def null(features: pd.DataFrame, contexts: pd.DataFrame, mined: pd.DataFrame, draws: int, seed: int) -> float:
    """The mean number of matching features when the outs are dealt to the features at random."""
    rng, live = np.random.default_rng(seed), features[features["feature"].isin(contexts["feature"])]
    reached, known = _reached(contexts), _known(mined)
    pairs, outs = [reached[feature] for feature in live["feature"]], live["out_ids"].tolist()
    counts = []
    for _ in range(draws):
        dealt = rng.permutation(len(live))
        counts.append(
            sum(
                any((head, source, out) in known for out in outs[other] for head, source in pairs[place])
                for place, other in enumerate(dealt)
            )
        )
    return float(np.mean(counts)) if counts else 0.0


def _reached(contexts: pd.DataFrame) -> dict[int, set[tuple[int, int]]]:
    """(head, source) of every top context, by feature."""
    found: dict[int, set[tuple[int, int]]] = {}
    for row in contexts[["feature", "head", "source_id"]].itertuples(index=False):
        found.setdefault(row.feature, set()).add((row.head, row.source_id))
    return found


def _known(mined: pd.DataFrame) -> dict[tuple[int, int, int], tuple[int, str, str]]:
    if mined.empty:
        return {}
    last = mined[mined["layer"] == mined["layer"].max()].drop_duplicates(["head", "source_id", "out_id"])
    return {(int(r.head), int(r.source_id), int(r.out_id)): (int(r.head), r.source, r.out) for r in last.itertuples()}
