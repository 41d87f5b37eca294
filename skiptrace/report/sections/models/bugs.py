"""Crossed skip-trigrams, and what they can cost."""

from collections.abc import Hashable
from typing import Any

import pandas as pd

from skiptrace.evidence import factoring
from skiptrace.evidence.used import Use
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
    prose,
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
    for number, r in enumerate(found.to_dict("records"), 1):
        # A line for each supported row, beside the crossing with its destination.
        for own, crossing in (("11", "12"), ("22", "21")):
            cost = bracketed(*(r[f"{name}_{crossing}"] for name in ("cost", "cost_low", "cost_high")))
            counted = f"{cost} (n = {r[f'positions_{crossing}']:,}, {r[f'support_{crossing}']})"
            rows.append(
                (
                    str(number),
                    f"L{r['layer']}H{r['head']}",
                    *_cell(r, own),
                    *_cell(r, crossing),
                    counted if r[f"positions_{crossing}"] > 1 else "–",
                )
            )
    table = Table(
        prose(f"""
            {len(model.bugs)} crossed pairs were found; both rows of a pair are consistent and supported ({_used(model)}
            rows are used in held-out text as it is), neither crossing is supported. Probabilities of the output token:
            in the model / in the corpus. Cost: change in loss, in nats, where the crossing applies in held-out text,
            when its contribution alone is added, with its 95 % interval clustered by document; n positions, and what
            the training text says of the crossing.
        """),
        words("Pair", "Head", "Supported row", "Model / corpus", "Crossing", "Model / corpus", "Cost of the crossing"),
        rows,
    )
    return Section(anchor, title, [text], [*estimates, table])


def _used(model: ModelResult) -> str:
    """How many of the distinct rows of crossed pairs are used, of how many."""
    names = ["layer", "head", "source_id", "destination_id", "out_id"]
    ends = [model.bugs[[*names[:3], f"destination_{i}_id", f"out_{i}_id"]].set_axis(names, axis=1) for i in (1, 2)]
    rows = pd.concat(ends).drop_duplicates().merge(model.evidence[[*names, "use"]], on=names)
    return f"{(rows['use'] == Use.USED).sum()} of {len(rows)}"


def _cell(r: dict[Hashable, Any], which: str) -> tuple[Cell, Cell]:
    """One of the four skip-trigrams of a crossed pair, and its probability in the model and in the corpus."""
    shown = Example(r["source"], "…", (r[f"destination_{which[0]}"], r[f"out_{which[1]}"]))
    return Examples((shown,)), f"{r[f'model_{which}']:.3f} / {r[f'corpus_{which}']:.3f}"


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
        prose(f"""
            What skip-trigram bugs cost on held-out text, nats with their 95 % intervals, clustered by document, out of
            a loss of {model.valid_loss:.3f}. A crossing: the loss with its contribution minus the loss without. The
            bounds take every contribution that raises an output token away where that does not follow; an entry of
            which the text is too rare to say may be right, so the bound over all unsupported entries is loose.
            Factoring, which no model is asked for: where one of the most frequent {factoring.DESTINATIONS} tokens is
            read, corrections of the bigrams by which of the {factoring.SOURCES} most frequent stand before, fitted to
            the training text once as products of pairs and once as a free table.
        """),
        (*words("Of"), *numbers("Crossings or rows", "Cost", "Places", "Documents")),
        rows,
    )
    return [table] if rows else []
