"""Mined tables against planted truth."""

import pandas as pd

from skiptrace.evidence.truth import ACCEPTED, FACTORS
from skiptrace.report.inputs import Study
from skiptrace.report.rendering.document import (
    Cell,
    Section,
    Table,
    numbers,
    prose,
    words,
)


def truth(study: Study) -> Section | None:
    """Precision and recall against the planted truth, beside the baselines."""
    name, model = study.name, study.model
    if model.truth.empty:
        return None
    rows: list[tuple[Cell, ...]] = []
    for (kind, ranking), scores in model.truth.groupby(["kind", "ranking"], sort=False):
        by_k = {r.k / r.planted: r for r in scores.itertuples()}
        first = next(scores.itertuples())
        false = (
            f"{first.false_forced} / {first.false_real} / {first.false_wrong}"
            if kind in ("skip_trigrams", ACCEPTED)
            else "–"
        )
        recalls = [f"{by_k[f].recall:.2f}" if f in by_k else "–" for f in FACTORS]
        if kind == ACCEPTED:
            recalls = [f"{first.recall:.2f}", *("–" for _ in FACTORS[1:])]
        rows.append(
            (
                kind.replace("_", "-"),
                ranking,
                str(first.planted),
                str(first.k),
                f"{first.precision:.2f}",
                *recalls,
                false,
            )
        )
    table = Table(
        "K is the number planted; for accepted skip-trigrams, the number accepted. False rows among the first K: "
        "crossings that the factored form forces / other rows "
        "that are causally consistent in the running model / rows that are not, or that were not checked.",
        (
            *words("Kind", "Ranking"),
            *numbers("Planted", "K", "Precision at K", "Recall at K", "at 2K", "at 5K", "at 20K", "False rows"),
        ),
        rows,
    )
    text = prose(f"""
        The corpus of this model was written by a known grammar, so mined tables can be compared with the truth:
        planted bigrams, skip-trigrams, copies, and the crossings of planted quartets. Baselines rank the same rows
        by OV alone or QK alone, or rank all triples of the training text by counts in four ways, without any model.
        {_against_counting(model.truth)} This is one grammar and one text, on which the thresholds of the method
        were chosen; another `seed` of the corpus {model.params.corpus} draws another text. None of its rules is
        beyond counting: each stands in the text far more often than chance would have it. Grammars in which
        counting is not enough, and on which nothing was chosen, are in the section before.
    """)
    return Section(f"{name}-truth", f"{name}: mined tables against planted truth", [text], [table])


def _against_counting(scores: pd.DataFrame) -> str:
    """Which of weights and counts finds more of the planted skip-trigrams, and what only weights can say."""
    first = scores[(scores["kind"] == "skip_trigrams") & (scores["k"] == scores["planted"])]
    counts = first[first["ranking"].str.startswith("corpus")]
    ours = first[first["ranking"] == "consistent, by evidence"]
    if counts.empty or ours.empty:
        return ""
    best, own = counts.loc[counts["recall"].idxmax()], ours["recall"].iloc[0]
    verdict = "finds more" if best["recall"] > own else "finds as many" if best["recall"] == own else "finds fewer"
    return (
        f"The best of these counts ({best['ranking']}, recall {best['recall']:.2f} at K) {verdict} than the weights "
        f"({own:.2f})".replace("as many than", "as many as")
        + ": what stands in the text can be counted. What weights can say and counts cannot is what the model does: "
        "which head carries a rule, which planted rules it never learned, and the crossings that its factored form "
        "forces, which the text does not contain."
    )
