"""The features of one site of a language model."""

from typing import Any

import pandas as pd

from skiptrace.config.dictionaries import ModelDictionaryParams
from skiptrace.dictionary.matching import Matched, match, null
from skiptrace.report.inputs import Study
from skiptrace.report.rendering.document import (
    Cell,
    Context,
    Contexts,
    Example,
    Examples,
    Section,
    Table,
    Tokens,
    numbers,
    prose,
    words,
)

DEALS = 20  # random pairings that matching features are compared with

FEATURES = 12  # shown per site


def features(study: Study) -> Section | None:
    """The entries of one site that match mined skip-trigrams, and others."""
    name, site, result = study.name, study.site, study.dictionary
    if not site or not isinstance(result.params, ModelDictionaryParams):
        return None
    mined = study.results.models[result.params.model].skip_trigrams
    features = result.features[result.features["site"] == site]
    contexts = result.contexts[result.contexts["site"] == site]
    matches = {m.feature: m for m in match(features, contexts, mined)}
    chance = null(features, contexts, mined, DEALS, result.params.seed)
    active = int(contexts["feature"].nunique())
    text = prose(f"""
        {len(matches)} of the {active} entries that are ever active {"matches" if len(matches) == 1 else "match"} a
        mined skip-trigram: in a top context a head contributes most of the activation from its source token, and the
        entry raises its output token. With output tokens assigned to entries at random {chance:.1f} do. Shown are the
        matching entries that raise their first output token most, then others.
    """)
    strength = features.assign(
        strength=[row[0] for row in features["logits"]], matches=features["feature"].isin(list(matches))
    )
    strength = strength[strength["feature"].isin(contexts["feature"])]
    shown = strength.sort_values(["matches", "strength"], ascending=False)
    rest = shown[~shown["matches"]].head(FEATURES // 4)
    shown = pd.concat([shown[shown["matches"]].head(FEATURES - len(rest)), rest])
    table = Table(
        "Top contexts with the activating token marked, the head and the source token that contribute most of the "
        "activation there, the output tokens raised most with the first one's logit at mean activation, and the "
        "skip-trigrams matched.",
        (
            *words("Entry"),
            *numbers("Density", "Logit"),
            *words("Top contexts", "Source", "Top output tokens", "Matched"),
        ),
        [_row(r, contexts[contexts["feature"] == r["feature"]], matches) for r in shown.to_dict("records")],
    )
    anchor, title = f"dictionary-{name}-{site}", f"Dictionary {name}: features of the {site}"
    return Section(anchor, title, [text], [table])


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
