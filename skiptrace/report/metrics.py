"""The few numbers by which runs are compared."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from skiptrace.account.tables import BY_LOSS, GREEDY, HEADLINE_RUNGS, MINED
from skiptrace.circuits import seeds
from skiptrace.config.dictionaries import ToyDictionaryParams
from skiptrace.evidence import factoring
from skiptrace.evidence.intervals import clustered
from skiptrace.features.tables import LEARNED, RANDOM, ROUNDS, TOKENS
from skiptrace.models import evaluation
from skiptrace.report.grammars import control_intervals, planted
from skiptrace.report.inputs import DictionaryResult, ModelResult, Results
from skiptrace.report.intervals import rounded
from skiptrace.report.targets import best_head
from skiptrace.rules.tables import CLOSEST

NORMAL = 1.96  # standard errors on each side of a 95 % interval
# Of each model what its finding on the first screen says; `dvc metrics show` has no room for more.
HEADLINES = (
    "valid_loss",
    "bigram_loss",
    "evidence.survives",
    "evidence.matched_null",
    "account.direct",
    "account.salience",
    "account.recovered.10000",
    "skip_trigrams.recall",
    "skip_trigrams.best_baseline",
    "prefix_matching_max",
    "loss_recovered",
    "token_mean_null",
)
NAMED = {"token_mean_recovered": "token_mean_null"}


def metrics(results: Results, min_p_out: float) -> dict[str, Any]:
    """The content of metrics.json: losses in nats per token, scores and counts of heads.

    `models.<m>.intervals` has 95 % intervals [low, high] under the names of what they are about.

    `min_p_out` is the least p(out) of a row that survives.
    """
    found: dict[str, Any] = {
        "models": {name: _model(model, results, min_p_out) for name, model in results.models.items()}
    }
    if results.superposition:
        cells = results.superposition["phase"]
        agrees = cells.loc[cells["n"] == 2, "agrees"]
        exact = binomtest(int(agrees.sum()), len(agrees)).proportion_ci(0.95)  # Clopper and Pearson 1934
        found["superposition"] = {
            "phase_agreement": rounded(agrees.mean()),
            "intervals": {"phase_agreement": [rounded(exact.low), rounded(exact.high)]},
        }
    if results.dictionaries:
        found["dictionary"] = {name: _dictionary(d) for name, d in results.dictionaries.items()}
    numbers: dict[str, Any] = _finite(found)
    return numbers


def headlines(numbers: dict[str, Any]) -> dict[str, Any]:
    """The content of headlines.json: those of the metrics that the first screen is about, under the same names."""
    few: dict[str, Any] = {}
    for group in ("models", "dictionary"):
        for name, measured in numbers.get(group, {}).items():
            for key in HEADLINES:
                path = key.split(".")
                if (value := _at(measured, path)) is not None:
                    place = few.setdefault(group, {}).setdefault(name, {})
                    for part in path[:-1]:
                        place = place.setdefault(part, {})
                    place[path[-1]] = value
    return few


def _at(numbers: Any, path: list[str]) -> Any:
    """What stands under nested keys; None where nothing does."""
    for part in path:
        numbers = numbers.get(part) if isinstance(numbers, dict) else None
    return numbers


def _finite(value: Any) -> Any:
    """The value without undefined and infinite numbers, which JSON lacks; the open end of an interval is null."""
    if isinstance(value, dict):
        return {name: _finite(v) for name, v in value.items() if not isinstance(v, float) or math.isfinite(v)}
    if isinstance(value, list):
        return [v if math.isfinite(v) else None for v in value]
    return value


def _dictionary(result: DictionaryResult) -> dict[str, Any]:
    """At the penalty or the k shown: of toy models the mean match, of a language model its heads, then the stream."""
    shown = result.shown
    if isinstance(result.params, ToyDictionaryParams):
        mean = clustered(shown["mmcs"].to_numpy(), np.arange(len(shown)))
        return {"mmcs": rounded(mean.mean), "intervals": {"mmcs": [rounded(mean.low), rounded(mean.high)]}}
    names = ("loss_recovered", "token_mean_recovered", "l0", "dead_fraction", "variance_explained")
    sites: dict[str, dict[str, Any]] = {
        str(site): {NAMED.get(n, n): rounded(rows[n].iloc[0]) for n in names}
        for site, rows in shown.groupby("site", sort=False)
    }
    for site, row in shown.groupby("site", sort=False):
        low, high = (rounded(row[f"loss_recovered_{end}"].iloc[0]) for end in ("low", "high"))
        sites[str(site)]["intervals"] = {"loss_recovered": [low, high]}
    return sites.pop("heads") | sites


def _model(model: ModelResult, results: Results, min_p_out: float) -> dict[str, Any]:
    corpus = results.corpora[model.params.corpus]
    numbers: dict[str, Any] = {
        "valid_loss": rounded(model.valid_loss),
        "unigram_loss": rounded(corpus.unigram_loss),
        "bigram_loss": rounded(corpus.bigram_loss),
        "ngram_loss": rounded(corpus.ngram_losses[-1]),
        "bigram_rank_correlation": rounded(model.agreement["spearman"].mean()),
        "bigram_rank_correlation_unigram": rounded(model.agreement["spearman_unigram"].mean()),
        **rules(model),
    }
    numbers["intervals"] = _loss_intervals(model)
    if model.params.n_layers == 0:
        return numbers
    heads = model.heads
    checked = model.evidence
    numbers |= {
        "evidence": evidence(model, min_p_out) if len(checked) else {},
        "account": account(model),
        **twins(model),
        **features(model),
    }
    numbers |= {name: rounded(row["nats"]) for name, row in _costs(model)}
    numbers["intervals"] |= {name: [rounded(row["low"]), rounded(row["high"])] for name, row in _costs(model)}
    numbers["intervals"] |= _head_intervals(model)
    if len(checked):
        numbers["intervals"]["evidence"] = _evidence_intervals(model, min_p_out)
    numbers |= planted(model, results.control)
    if "skip_trigrams" in numbers:
        numbers["intervals"]["skip_trigrams"] = control_intervals(results.control)
    orders = model.composed.terms.query("scope == 'order'")
    errors = dict(zip(orders["order"], orders["added_se"], strict=True))
    terms = dict(zip(orders["order"], orders["added"], strict=True))
    names = {0: "direct", 1: "heads", 2: "virtual_heads"}
    numbers["term_nats"] = {names[order]: rounded(terms[order]) for order in names if order in terms}
    numbers["intervals"]["term_nats"] = {
        names[order]: [rounded(terms[order] - NORMAL * errors[order]), rounded(terms[order] + NORMAL * errors[order])]
        for order in names
        if order in terms
    }
    if model.params.n_layers > 1:
        scored = model.composed.induction
        matching = scored["prefix_matching"] > scored["prefix_matching_uniform"]
        numbers["induction_heads"] = int((scored["in_corner"] & matching).sum())
    first = {
        name: value if isinstance(value, int) else rounded(value)
        for name, value in seeds.numbers(heads, model.losses).items()
    }
    return numbers | first | {"in_context_learning": rounded(in_context_learning(model))}


def around(value: float, error: float) -> list[float]:
    """The 95 % interval of an estimate with a standard error."""
    return [rounded(value - NORMAL * error), rounded(value + NORMAL * error)]


def loss_error(model: ModelResult) -> float:
    """Standard error of the validation loss, clustered by document, nats per token."""
    return float(model.losses["mean_se"].iloc[0]) if len(model.losses) else math.nan


def _loss_intervals(model: ModelResult) -> dict[str, list[float]]:
    """Of the loss, over documents, and of the rank correlation with the text, over tokens."""
    found = {"valid_loss": around(model.valid_loss, loss_error(model))}
    known = model.agreement["spearman"].dropna()
    if len(known) > 1:
        found["bigram_rank_correlation"] = around(known.mean(), known.std() / math.sqrt(len(known)))
    return found


def _head_intervals(model: ModelResult) -> dict[str, list[float]]:
    """Of the best heads' scores over contexts and sequences, and of learning within the context, over documents."""
    found = {"in_context_learning": around(in_context_learning(model), float(model.losses["learning_se"].iloc[0]))}
    for score in ("previous_token", "prefix_matching"):
        best = best_head(model.heads, score)
        found[f"{score}_max"] = around(best[score], best[f"{score}_se"])
    return found


def recovered(model: ModelResult, order: str = GREEDY) -> dict[int, float]:
    """The share of what interactions of tokens add that so many entries of QK and of OV recover, in the best order."""
    curve = model.accounted.curve
    points = curve[(curve["circuit"] == "both") & (curve["order"] == order)]
    return dict(zip(points["entries"], points["recovered"], strict=True))


def features(model: ModelResult) -> dict[str, Any]:
    """What entries between features recover: every one, and the first ones; nothing where none were studied."""
    if model.featured is None:
        return {}
    rungs = model.featured.rungs.set_index(["basis", "rung"])["recovered"]
    curve = model.featured.curve[model.featured.curve["order"] == ROUNDS].set_index("basis")
    names = {LEARNED: "recovered", RANDOM: "recovered_random", TOKENS: "recovered_tokens"}
    found: dict[str, Any] = {"every_entry": rounded(rungs[LEARNED, "every entry"])}
    for basis, name in names.items():
        rows = curve[curve.index == basis]  # tokens stand beside features in models of one layer alone
        found[name] = {str(r.entries): rounded(r.recovered) for r in rows.itertuples()}
    return {"features": found}


def rules(model: ModelResult) -> dict[str, Any]:
    """How often the model says what the closest rule of the corpus says, and by chance; nothing where none is known.

    Chance is of predictions exchanged between places of one current token.
    """
    if model.rules is None:
        return {}
    last = model.rules[model.rules["step"] == model.rules["step"].max()].set_index("rule").loc[CLOSEST]
    names = {"closest": "agrees", "closest_null": "chance", "closest_position_null": "chance_position"}
    return {"rules": {name: rounded(last[column]) for name, column in names.items()}}


def salience_left(model: ModelResult) -> float:
    """The share of what attention adds to the direct path that is left without interactions of tokens in its scores."""
    numbers = account(model)
    gain = numbers["direct"] - numbers["whole"]
    return float((numbers["direct"] - numbers["salience"]) / gain) if gain else math.nan


def account(model: ModelResult) -> dict[str, Any]:
    """Losses on the ladder, the price of competition (nats per token), and what entries and mined rows recover."""
    ladder = model.accounted.ladder
    rungs = ladder[ladder["layers"] == "all"].set_index("rung")
    found: dict[str, Any] = {name: rounded(rungs.loc[rung, column]) for name, (rung, column) in HEADLINE_RUNGS.items()}
    if shares := recovered(model):
        found["recovered"] = {str(n): rounded(share) for n, share in shares.items()}
        by_attribution = recovered(model, BY_LOSS).items()
        found["recovered_attribution"] = {str(n): rounded(share) for n, share in by_attribution}
    mined = model.accounted.curve[model.accounted.curve["order"] == MINED]
    if len(mined):
        found["table_rows"] = rounded(mined.sort_values("entries")["recovered"].iloc[0])
    return found


def twins(model: ModelResult) -> dict[str, Any]:
    """By ranking the share of the first rows that recur in a twin, and by chance; of headline numbers the spread."""
    overlap, known = twin_overlap(model), [model.spreads, model.accounted.headlines]
    spread = pd.concat([each[["name", "spread"]] for each in known])
    found: dict[str, Any] = {}
    if len(overlap):
        for name, column in (("twin_overlap", "overlap"), ("twin_overlap_matched_null", "chance_matched")):
            found[name] = {ranking: rounded(share) for ranking, share in overlap[column].items()}
    if len(spread):
        found["twin_spread"] = _nested(zip(spread["name"], spread["spread"].map(rounded), strict=True))
    return found


def _nested(named: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Values by names such as `account.whole`, in mappings of mappings."""
    found: dict[str, Any] = {}
    for name, value in named:
        place, (*path, last) = found, name.split(".")
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
    return found


def twin_overlap(model: ModelResult) -> pd.DataFrame:
    """By ranking, the share of the first rows that recur in a twin, and by either chance: means over twins."""
    return model.accounted.overlaps.groupby("ranking", sort=False)[
        ["rows", "overlap", "chance", "chance_matched"]
    ].mean()


COSTS = {
    "crossing_cost_nats": "crossings",
    "bug_cost_nats": "bound: unsupported rows",
    "bug_cost_unsupported_nats": "bound: unsupported entries",
    "bug_cost_contradicted_nats": "bound: contradicted entries",
    "factoring_cost_nats": factoring.TABLE,
}


def _costs(model: ModelResult) -> list[tuple[str, pd.Series]]:
    """Name and estimate of what there was to measure."""
    rows = ((name, model.cost(what)) for name, what in COSTS.items())
    return [(name, row) for name, row in rows if row is not None]


def by_source(checked: pd.DataFrame, column: str) -> list[float]:
    """The 95 % interval of a share of checked rows; rows of one source token are not independent."""
    found = clustered(checked[column].to_numpy(dtype=float), checked["source_id"].to_numpy())
    return [rounded(found.low), rounded(found.high)]


def evidence(model: ModelResult, min_p_out: float) -> dict[str, float]:
    """Shares of the checked rows that pass each test by itself, and all of them.

    `matched_null` is the share that is consistent of rows mined from heads whose weights were rotated at random,
    `used_matched_null` the share of them that is used on text as it is.
    """
    found = {name: passed.mean() for name, (passed, _) in _tests(model, min_p_out).items()}
    return {name: rounded(share) for name, share in found.items() if np.isfinite(share)}


def _evidence_intervals(model: ModelResult, min_p_out: float) -> dict[str, list[float]]:
    """The 95 % intervals of `evidence`; rows of one source token are not independent."""
    found = {}
    for name, (passed, source) in _tests(model, min_p_out).items():
        share = clustered(passed.to_numpy(dtype=float), source.to_numpy())
        found[name] = [rounded(share.low), rounded(share.high)]
    return found


def _tests(model: ModelResult, min_p_out: float) -> dict[str, tuple[pd.Series, pd.Series]]:
    """Which rows pass each test by itself, and their sources."""
    checked, rotated = model.evidence, model.matched[model.matched["heads"] == "rotated"]
    found = {
        "consistent": checked["consistent"],
        "p_out": checked["p_out"] >= min_p_out,
        "supported": checked["support"] == "supported",
        "contradicted": checked["support"] == "contradicted",
        "used": checked["use"] == "used",
        "survives": checked["survives"],
    }
    if checked["recurs"].notna().any():
        found["recurring"] = checked["recurs"] >= 0.5
    tests = {name: (passed, checked["source_id"]) for name, passed in found.items()}
    nulls = {"matched_null": rotated["consistent"], "used_matched_null": rotated["use"] == "used"}
    return tests | {name: (passed, rotated["source_id"]) for name, passed in nulls.items() if len(rotated)}


def attention_by_offset(model: ModelResult) -> pd.DataFrame:
    """Mean attention on text, one row per distance in tokens and one column per head."""
    near = model.offsets[model.offsets["offset"] < 32].astype({"offset": int, "layer": int, "head": int})
    near = near.assign(name="L" + near["layer"].astype(str) + "H" + near["head"].astype(str))
    table = near.pivot(index="offset", columns="name", values="text")
    return table.rename_axis(columns=None).reset_index()


def in_context_learning(model: ModelResult) -> float:
    """Loss late in the context minus loss early, nats; below 0 is learning."""
    position, loss = (model.losses[column].to_numpy() for column in ("position", "loss"))
    return evaluation.in_context_learning(position, loss, model.params.n_ctx)


def late_against_early(model: ModelResult, digits: int) -> str:
    """By how much the loss is lower, or higher, late in the context, in words; nats."""
    change = in_context_learning(model)
    return f"{abs(change):.{digits}f} nats {'lower' if change < 0 else 'higher'} late in the context than early in it"
