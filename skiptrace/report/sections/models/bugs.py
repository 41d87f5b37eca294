"""Crossed skip-trigrams, and what they can cost."""

from skiptrace.evidence import factoring
from skiptrace.report.inputs import ModelResult, Study
from skiptrace.report.intervals import bracketed, estimate
from skiptrace.report.rendering.document import (
    Block,
    Cell,
    Example,
    Examples,
    Section,
    Table,
    numbers,
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
        "C and A … D → E hold, the head must also raise A … B → E and A … D → C."
    )
    estimates = _costs(model)
    found = model.bugs.head(settings.report.bigrams // 2)
    if found.empty:
        return Section(anchor, title, [text, "No crossed pair was found among the checked rows."], estimates)
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
            f"{bracketed(r[f'cost_{c}'], r[f'cost_low_{c}'], r[f'cost_high_{c}'])} (n = {r[f'positions_{c}']:,}, "
            f"{r[f'support_{c}']})"
            if r[f"positions_{c}"] > 1
            else "–"
            for c in ("12", "21")
        ]
        head = f"L{r['layer']}H{r['head']}"
        rows.append((head, right, "; ".join(said[:2]), crossed, "; ".join(said[2:]), "; ".join(costs)))
    table = Table(
        f"{len(model.bugs)} crossed pairs were found; both rows of a pair are consistent and supported, neither "
        "crossing is supported. Probabilities of the output token: in the model / in the corpus. Cost: change in "
        "loss, in nats, where the crossing applies in held-out text, when its contribution alone is added, with "
        "its 95 % interval clustered by document; n positions, and what the training text says of the crossing.",
        words("Head", "Supported rows", "Model / corpus", "Crossings", "Model / corpus", "Cost of each crossing"),
        rows,
    )
    return Section(anchor, title, [text], [*estimates, table])


SAID = {
    "crossings": "one crossing, where it applies",
    "crossings: contradicted": "one that the training text contradicts",
    "crossings: too rare to say": "one of which it is too rare to say",
    "bound: unsupported rows": "all checked rows that are not supported, together, per token: at most",
    "bound: unsupported entries": "all entries of all heads that are not supported, together, per token: at most",
    "bound: contradicted entries": "those that the training text contradicts, together, per token: at most",
    factoring.PRODUCTS: "for scale, what as many products as heads save over bigrams, fitted to the text",
    factoring.TABLE: "factoring: what a free table of triples saves beyond them",
}


def _costs(model: ModelResult) -> list[Block]:
    """What crossings cost, and the bounds; nothing where no row was checked."""
    rows: list[tuple[Cell, ...]] = [
        (
            SAID[r["what"]],
            f"{r['entries']:,}" if r["entries"] else "all",
            estimate(r),
            f"{r['places']:,}",
            str(r["documents"]),
        )
        for _, r in model.costs[model.costs["nats"].notna()].iterrows()
    ]
    table = Table(
        "What skip-trigram bugs cost on held-out text, nats with their 95 % intervals, clustered by document, out of a "
        f"loss of {model.valid_loss:.3f}. A crossing: the loss with its contribution minus the loss without. The "
        "bounds take every contribution that raises an output token away where that does not follow; an entry of "
        "which the text is too rare to say may be right, so the bound over all "
        "unsupported entries is loose. Factoring, which no model is asked for: where one of the most frequent "
        f"{factoring.DESTINATIONS} tokens is read, corrections of the bigrams by which of the {factoring.SOURCES} most "
        "frequent stand before, fitted to the training text once as products of pairs and once as a free table.",
        (*words("Of"), *numbers("Crossings or rows", "Cost", "Places", "Documents")),
        rows,
    )
    return [table] if rows else []
