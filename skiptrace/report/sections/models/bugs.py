"""Crossed skip-trigrams, and what they can cost."""

from skiptrace.report.inputs import Study
from skiptrace.report.rendering.document import (
    Cell,
    Example,
    Examples,
    Section,
    Table,
    words,
)


def bugs(study: Study) -> Section | None:
    """Crossed skip-trigrams, their probabilities and their cost."""
    if study.model.params.n_layers == 0:
        return None
    name, model, settings = study.name, study.model, study.settings
    anchor, title = f"{name}-bugs", f"{name}: skip-trigram bugs"
    text = (
        "A head adds a function of source and destination times a function of source and output token. So if A … B → "
        "C and A … D → E hold, the head must also raise A … B → E and A … D → C. Removing every checked row that the "
        f"corpus does not support, where its output token does not follow, lowers the loss by {model.bill:.5f} nats "
        f"per token of held-out text, out of a loss of {model.valid_loss:.3f}: an upper bound on the cost of these "
        "rows, and of no others."
    )
    found = model.bugs.head(settings.report.bigrams // 2)
    if found.empty:
        return Section(anchor, title, [text, "No crossed pair was found among the checked rows."], [])
    rows: list[tuple[Cell, ...]] = []
    for r in found.to_dict("records"):
        right, crossed = (
            Examples(
                tuple(Example(r["source"], "…", (r[f"destination_{cell[0]}"], r[f"out_{cell[1]}"])) for cell in cells)
            )
            for cells in (("11", "22"), ("12", "21"))
        )
        said = [f"{r[f'model_{c}']:.3f} / {r[f'corpus_{c}']:.3f}" for c in ("11", "22", "12", "21")]
        costs = [
            f"{r[f'cost_{c}']:+.4f} ± {r[f'cost_se_{c}']:.4f} (n = {r[f'positions_{c}']:,})"
            if r[f"positions_{c}"] > 1
            else "–"
            for c in ("12", "21")
        ]
        head = f"L{r['layer']}H{r['head']}"
        rows.append((head, right, "; ".join(said[:2]), crossed, "; ".join(said[2:]), "; ".join(costs)))
    table = Table(
        f"{len(model.bugs)} crossed pairs were found; both rows of a pair are consistent and supported, neither "
        "crossing is supported. Probabilities of the output token: in the model / in the corpus. Cost: change in "
        "loss, in nats, where the crossing applies in held-out text, when its contribution alone is added; n "
        "positions.",
        words("Head", "True", "Model / corpus", "Forced", "Model / corpus", "Cost of each"),
        rows,
    )
    return Section(anchor, title, [text], [table])
