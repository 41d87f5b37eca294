"""What was planted and is found: in a model's own corpus, and in grammars that nothing was chosen on."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from skiptrace.evidence.intervals import clustered
from skiptrace.evidence.truth import CONSISTENT, SURVIVING
from skiptrace.report.inputs import ModelResult
from skiptrace.report.intervals import rounded


def planted(model: ModelResult, tables: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """What was planted and is found; nothing where nothing was planted.

    `skip_trigrams`: of the control's grammars on which nothing was chosen (`control`). `own_grammar`: of the model's
    own corpus, on which thresholds were chosen. Of bigrams, copies and bugs recall and precision at the number planted.
    """
    found: dict[str, Any] = {}
    if model.truth.empty:
        return found
    if tables:
        found["skip_trigrams"] = {name: rounded(value) for name, value in control(tables).items()}
    for kind, ranking in {"bigrams": "weights", "copies": "weights", "bugs": "crossed and consistent"}.items():
        rows = model.truth[(model.truth["kind"] == kind) & (model.truth["ranking"] == ranking)]
        if len(rows):
            first = rows.iloc[0]
            found[kind] = {"recall": rounded(first["recall"]), "precision": rounded(first["precision"])}
    if own := own_grammar(model.truth):
        found["own_grammar"] = {name: rounded(value) for name, value in own.items()}
    return found


def own_grammar(truth: pd.DataFrame) -> dict[str, float]:
    """Skip-trigrams of the model's own corpus: recall at K, the number planted, which is also the precision there.

    Beside the best of the counts; the precision of all rows that are consistent and of all that survive.
    """
    skips = truth[truth["kind"] == "skip_trigrams"]
    at_k = skips[skips["k"] == skips["planted"]].set_index("ranking")["recall"]
    found = {"recall_at_k": at_k.get("consistent, by evidence"), "best_baseline": _max(at_k.filter(like="corpus"))}
    for name, ranking in (("consistent_precision", CONSISTENT), ("surviving_precision", SURVIVING)):
        accepted = truth[truth["ranking"] == ranking]
        found[name] = accepted["precision"].iloc[0] if len(accepted) else None
    return {name: float(value) for name, value in found.items() if value is not None}


def _max(values: pd.Series) -> float | None:
    return float(values.max()) if len(values) else None


def reported(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the control's grammars but the first, on which its choices were made."""
    return table[table["grammar"] != table["grammar"].min()]


def control(tables: Mapping[str, pd.DataFrame]) -> dict[str, float]:
    """Weights and the best of the counts on the grammars that nothing was chosen on: means over grammars.

    `recall`, `precision`: of all rows that are accepted as rules; `best_baseline…`: of those that the best of the
    counts accepts. `average_precision`: over the whole ranking. `learned`: the share of the rules without whose source
    the model's log p(output) falls by ¼ nat or more; `…learned_recall`, `…unlearned_recall`: of those, of the others.
    """
    found: dict[str, float] = {}
    for name, values in _control(tables).items():
        found[name] = float(values.mean())
    return found


def control_intervals(tables: Mapping[str, pd.DataFrame]) -> dict[str, list[float]]:
    """The 95 % intervals of `control`, over grammars, from 0 to 1."""
    found = {}
    for name, values in _control(tables).items():
        known = values.dropna().to_numpy()
        mean = clustered(known, np.arange(len(known)))
        found[name] = [rounded(max(0.0, mean.low)), rounded(min(1.0, mean.high))]
    return found


def _control(tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.Series]:
    """The numbers of `control`, a value for each grammar."""
    rankings, accepted = reported(tables["rankings"]), reported(tables["accepted"])
    rankings = rankings[rankings["best"] & (rankings["kind"] == "planted")]
    found: dict[str, pd.Series] = {}
    for of, prefix in (("weights", ""), ("counts", "best_baseline_")):
        taken = accepted[accepted["best"] & (accepted["of"] == of)].set_index("grammar")
        ranked = rankings[rankings["of"] == of].set_index("grammar")
        others = (taken["found"] - taken["learned_found"]) / (taken["planted"] - taken["learned"])
        found |= {
            f"{prefix}recall": taken["recall"],
            f"{prefix}precision": taken["precision"],
            f"{prefix}average_precision": ranked["average_precision"],
            f"{prefix}learned_recall": taken["learned_found"] / taken["learned"],
            f"{prefix}unlearned_recall": others,
        }
        found["learned"] = taken["learned"] / taken["planted"]
    return {"best_baseline" if name == "best_baseline_recall" else name: values for name, values in found.items()}
