"""What models of each depth should reach with the default recipe, and the heads that it is read from."""

from collections.abc import Collection
from typing import NamedTuple

import pandas as pd

from skiptrace.report.inputs import ModelResult, Results


class Target(NamedTuple):
    """Something a model of its depth should reach with the default recipe."""

    model: str
    what: str
    wanted: str
    reached: str
    met: bool


def targets(results: Results) -> list[Target]:
    """What each model should reach, by its number of layers, and whether it does."""
    found = []
    for name, model in results.models.items():
        if model.config is not None and model.config.imported_from is not None:
            continue  # nothing was promised of it
        if model.params.n_layers == 0:
            gap = model.valid_loss - results.corpora[model.params.corpus].bigram_loss
            found.append(Target(name, "loss above the smoothed bigram", "≤ 0.10 nats", f"{gap:+.3f} nats", gap <= 0.1))
        elif model.params.n_layers == 1:
            for other, zero in results.models.items():
                if zero.params.n_layers == 0 and zero.params.corpus == model.params.corpus:
                    gain = zero.valid_loss - model.valid_loss
                    found.append(
                        Target(
                            name, f"loss below that of model {other}", "≥ 0.80 nats", f"{gain:.3f} nats", gain >= 0.8
                        )
                    )
        else:
            for score, what, wanted in (
                ("previous_token", "best previous-token head", 0.6),
                ("prefix_matching", "best induction head, prefix matching", 0.3),
            ):
                best = best_head(model.heads, score)
                reached = f"{best[score]:.2f} ({best['name']})"
                found.append(Target(name, what, f"≥ {wanted:.1f}", reached, bool(best[score] >= wanted)))
            found += _knockout(name, model)
    return found


class Knockout(NamedTuple):
    """Prefix matching of the best induction head, intact and without the best previous-token head before it."""

    induction: str
    before: str
    intact: float
    without: float
    change: float
    change_se: float


def best_head(heads: pd.DataFrame, score: str, among: Collection[str] | None = None) -> pd.Series:
    """The head with the highest score in data/tables/<m>/heads, of all or of those named in `among`.

    Every "best head" of the report is chosen here, so that two sections never name two.
    """
    chosen = heads if among is None else heads[heads["name"].isin(among)]
    return chosen.loc[chosen[score].idxmax()]


def best_knockout(model: ModelResult) -> Knockout | None:
    """Whether the best induction head needs the best previous-token head; None where no two heads follow each other."""
    heads, cuts = model.heads, model.composed.knockouts
    if cuts.empty:
        return None
    induction = best_head(heads, "prefix_matching", cuts["to"])["name"]
    cuts = cuts[(cuts["to"] == induction) & (cuts["via"] == "all")]
    before = best_head(heads, "previous_token", cuts["from"])["name"]
    one = cuts[cuts["from"] == before].iloc[0]
    return Knockout(induction, before, *(float(one[c]) for c in ("intact", "without", "change", "change_se")))


def _knockout(name: str, model: ModelResult) -> list[Target]:
    cut = best_knockout(model)
    if cut is None:
        return []
    what = f"prefix matching of {cut.induction} when {cut.before} is cut"
    reached = f"{cut.change:+.2f} ± {cut.change_se:.2f}"
    return [Target(name, what, "lower", reached, cut.change < -2 * cut.change_se)]
