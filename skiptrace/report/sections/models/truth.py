"""Mined tables against planted truth."""

from skiptrace.report.inputs import Study
from skiptrace.report.rendering.document import (
    Cell,
    Section,
    Table,
    numbers,
    words,
)


def truth(study: Study) -> Section | None:
    """Precision and recall against the planted truth, beside the baselines."""
    name, model = study.name, study.model
    if model.truth.empty:
        return None
    rows: list[tuple[Cell, ...]] = []
    for (kind, ranking), scores in model.truth.groupby(["kind", "ranking"], sort=False):
        by_k = {int(r.k // r.planted): r for r in scores.itertuples()}
        first = by_k[1]
        false = f"{first.false_forced} / {first.false_real} / {first.false_wrong}" if kind == "skip_trigrams" else "–"
        recalls = [f"{by_k[f].recall:.2f}" if f in by_k else "–" for f in (1, 2, 5, 20)]
        rows.append((kind.replace("_", "-"), ranking, str(first.planted), f"{first.precision:.2f}", *recalls, false))
    table = Table(
        "K is the number planted. False rows among the first K: crossings that the factored form forces / other rows "
        "that the running model does do, by the check below / rows that it does not do, or that were not checked.",
        (
            *words("Kind", "Ranking"),
            *numbers("Planted", "Precision at K", "Recall at K", "at 2K", "at 5K", "at 20K", "False rows"),
        ),
        rows,
    )
    text = (
        "The corpus of this model was written by a known grammar, so mined tables can be held against the truth: "
        "planted bigrams, skip-trigrams, copies, and the crossings of planted quartets. Three baselines rank the same "
        "rows by OV alone or QK alone, or rank triples by their pointwise mutual information in the corpus, without "
        "any model."
    )
    return Section(f"{name}-truth", f"{name}: mined tables against planted truth", [text], [table])
