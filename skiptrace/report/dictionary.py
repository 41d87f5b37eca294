"""The sections on sparse autoencoders: the toy models' features found again, and a language model's."""

from pathlib import Path
from typing import Any

import pandas as pd

from skiptrace.config.dictionaries import ModelDictionaryParams
from skiptrace.dictionary.matching import Matched, match, null
from skiptrace.report import vector_figures
from skiptrace.report.document import (
    Cell,
    Context,
    Contexts,
    Example,
    Examples,
    Figure,
    Section,
    Table,
    Tokens,
    numbers,
    words,
)
from skiptrace.report.failures import attempt
from skiptrace.report.inputs import DictionaryResult, Results

AIM = 0.95  # mean max cosine similarity that a toy dictionary should reach
DEALS = 20  # random pairings that matching features are compared with
FEATURES = 12  # shown per site


def sections(results: Results, folder: Path) -> list[Section]:
    """One section per dictionary, and one per site for its features."""
    found: list[Section] = []
    for name, result in results.dictionaries.items():
        if isinstance(result.params, ModelDictionaryParams):
            mined = results.models[result.params.model].skip_trigrams
            found += attempt(f"Dictionary {name}", _language, name, result, folder)
            found += attempt(f"Dictionary {name}", _features, name, result, mined)
        else:
            found += attempt(f"Dictionary {name}", _toy, name, result, folder)
    return found


def chosen(result: DictionaryResult) -> pd.DataFrame:
    """The rows of the sweep at the penalty that is shown."""
    return result.sweep[result.sweep["penalty"] == result.params.shown]


def _toy(name: str, result: DictionaryResult, folder: Path) -> Section:
    path, sweep = folder / f"dictionary_{name}.svg", result.sweep
    vector_figures.toy_sweep(path, sweep, AIM)
    shown = chosen(result)
    rows: list[tuple[Cell, ...]] = []
    for (sparsity, penalty), r in sweep.groupby(["sparsity", "penalty"]).mean(numeric_only=True).iterrows():
        low, high = _range(sweep, sparsity, penalty)
        rows.append(
            (
                f"{sparsity:g}",
                f"{penalty:g}",
                f"{r['mmcs']:.3f}",
                f"{low:.3f} … {high:.3f}",
                f"{r['matched']:.3f}",
                f"{r['one_entry']:.1f} of {r['features']:.0f}",
                f"{r['l0']:.1f}",
                f"{r['variance_explained']:.1%}",
                f"{r['dead_fraction']:.1%}",
            )
        )
    text = (
        "Sparse autoencoders on the hidden layer of the toy models of the last sections, whose true features "
        "are the columns "
        f"of W. Expected: mean max cosine similarity of {AIM} or more, one entry per feature. Came out at λ = "
        f"{result.params.shown:g}: {shown['mmcs'].mean():.3f} (worst model {shown['mmcs'].min():.3f}; random "
        "dictionary "
        f"{shown['random_mmcs'].mean():.3f}), and {shown['one_entry'].sum():.0f} of "
        f"{shown['features'].sum():.0f} features "
        f"have exactly one entry with a cosine of 0.9 or more."
    )
    table = Table(
        "Means over the models of a sparsity. Matched: mean cosine under the best one-to-one assignment.",
        numbers("Sparsity", "λ", "MMCS", "Range", "Matched", "One entry", "L0", "Variance explained", "Dead"),
        rows,
    )
    drawn = Figure(path, "Features found again", "Mean and range over models.")
    return Section(f"dictionary-{name}", f"Dictionary {name}: true features found again", [text], [drawn, table])


def _range(sweep: pd.DataFrame, sparsity: float, penalty: float) -> tuple[float, float]:
    mine = sweep[(sweep["sparsity"] == sparsity) & (sweep["penalty"] == penalty)]["mmcs"]
    return float(mine.min()), float(mine.max())


def _language(name: str, result: DictionaryResult, folder: Path) -> Section:
    sweep, shown = result.sweep, chosen(result)
    densities = result.densities[result.densities["penalty"] == result.params.shown]
    vector_figures.pareto(folder / f"pareto_{name}.svg", sweep)
    vector_figures.density_histogram(folder / f"densities_{name}.svg", densities)
    rows = [
        (
            r.site,
            f"{r.penalty:g}",
            f"{r.l0:.1f}",
            f"{r.variance_explained:.1%}",
            f"{r.pca_explained:.1%}",
            f"{r.loss:.3f}",
            f"{r.loss_recovered:.1%}",
            f"{r.pca_recovered:.1%}",
            f"{r.dead_fraction:.1%}",
        )
        for r in sweep.itertuples()
    ]
    told = "; ".join(
        f"{r.site}: L0 {r.l0:.1f}, {r.loss_recovered:.1%} of the loss recovered ({r.pca_recovered:.1%} by as "
        "many principal "
        f"components), {r.dead_fraction:.1%} dead"
        for r in shown.itertuples()
    )
    text = (
        f"Sparse autoencoders of {result.params.entries} entries on the residual stream after the last layer "
        "and on what its "
        "heads found, side by side before W_O. Expected: a few active entries per token keep most of what the model "
        "does; published for a one-layer transformer: 79 % of the loss recovered with 4,096 features, 94.5 % "
        "with 131,072. Came out "
        f"at λ = {result.params.shown:g}: {told}."
    )
    table = Table(
        "Loss recovered: (L_recon − L_zero)/(L_orig − L_zero), with L_orig = "
        f"{sweep['original_loss'].iloc[0]:.3f} nats and L_zero = "
        + ", ".join(f"{s.zero_loss:.3f} ({s.site})" for s in shown.itertuples())
        + ". PCA: the same from as many principal components as entries are active.",
        (*words("Site"), *numbers("λ", "L0", "Variance explained", "PCA", "Loss", "Loss recovered", "PCA", "Dead")),
        rows,
    )
    drawn = [
        Figure(folder / f"pareto_{name}.svg", "Sparsity against fidelity", "Each point is a λ, written beside it."),
        Figure(folder / f"densities_{name}.svg", "Density of the entries", f"At λ = {result.params.shown:g}."),
    ]
    return Section(f"dictionary-{name}", f"Dictionary {name}: sparse autoencoders", [text], [*drawn, table])


def _features(name: str, result: DictionaryResult, mined: pd.DataFrame) -> list[Section]:
    found = []
    for site, features in result.features.groupby("site", sort=False):
        contexts = result.contexts[result.contexts["site"] == site]
        matches = {m.feature: m for m in match(features, contexts, mined)}
        chance = null(features, contexts, mined, DEALS, result.params.seed)
        living = int(contexts["feature"].nunique())
        text = (
            f"{len(matches)} of {living} living entries match a mined skip-trigram: in a top context a head "
            "brings most of "
            "the activation from its source token, and the entry raises its out. With outs dealt to entries at "
            "random "
            f"{chance:.1f} do. Shown are the matching entries that raise their first out most, then others."
        )
        strength = features.assign(
            strength=[row[0] for row in features["logits"]], matches=features["feature"].isin(list(matches))
        )
        strength = strength[strength["feature"].isin(contexts["feature"])]
        shown = strength.sort_values(["matches", "strength"], ascending=False)
        rest = shown[~shown["matches"]].head(FEATURES // 4)
        shown = pd.concat([shown[shown["matches"]].head(FEATURES - len(rest)), rest])
        table = Table(
            "Top contexts with the activating token marked, the head and the source token that bring most of "
            "the activation "
            "there, the outs raised most with the first one's logit at mean activation, and the skip-trigrams "
            "matched.",
            (*words("Entry"), *numbers("Density", "Logit"), *words("Top contexts", "Source", "Top outs", "Matched")),
            [_row(r, contexts[contexts["feature"] == r["feature"]], matches) for r in shown.to_dict("records")],
        )
        anchor, title = f"dictionary-{name}-{site}", f"Dictionary {name}: features of the {site}"
        found.append(Section(anchor, title, [text], [table]))
    return found


def _row(feature: dict[str, Any], contexts: pd.DataFrame, matches: dict[int, Matched]) -> tuple[Cell, ...]:
    top = contexts.sort_values("rank").head(3)
    shown = Contexts(tuple(Context(tuple(r.before), r.token, tuple(r.after)) for r in top.itertuples()))
    first = top.iloc[0]
    index = feature["feature"]
    rows = matches[index].rows[:2] if index in matches else ()
    worked = Examples(tuple(Example(source, f"… (H{head}) →", (out,)) for head, source, out in rows))
    return (
        str(index),
        f"{feature['density']:.2%}",
        f"{feature['logits'][0]:+.2f}",
        shown,
        Examples((Example(first["source"], f"by H{first['head']}, {first['distance']} back", ()),)),
        Tokens(tuple(feature["outs"][:5])),
        worked,
    )
