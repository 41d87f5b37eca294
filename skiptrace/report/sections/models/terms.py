"""What each term of the path expansion is worth."""

import numpy as np
import pandas as pd

from skiptrace.composition.tables import TERMS
from skiptrace.report import published
from skiptrace.report.inputs import Study
from skiptrace.report.rendering.document import (
    Cell,
    Section,
    Table,
    explained,
    numbers,
    words,
)
from skiptrace.report.rendering.failures import figure
from skiptrace.report.rendering.figures import (
    COLOURS,
    canvas,
)


def terms(study: Study) -> Section | None:
    """What each term of the path expansion is worth in nats."""
    name, model = study.name, study.model
    if model.params.n_layers == 0 or model.composed.terms.empty:
        return None
    table = model.composed.terms
    orders = table[table["scope"] == "order"]
    paper = model.params.n_layers == 2
    text = (
        "How much each term of the expansion lowers the loss on held-out text: attention patterns are frozen, and "
        "the outputs of heads are added order by order, as in the paper's term importance analysis. The direct path "
        "is compared with uniform guessing. Each term is also removed from the whole model."
    )
    rows: list[tuple[Cell, ...]] = []
    for r in orders.itertuples():
        each = r.added / r.paths
        given = (str(published.TERMS[r.order]),) if paper else ()
        added, removed = f"{r.added:.3f} ± {r.added_se:.3f}", f"{r.removed:.3f} ± {r.removed_se:.3f}"
        rows.append((order_name(r.order), str(r.paths), added, f"{each:.4f}", removed, *given))
    for r in table[table["scope"] == "layer"].itertuples():
        added, removed = f"{r.added:.3f} ± {r.added_se:.3f}", f"{r.removed:.3f} ± {r.removed_se:.3f}"
        given = ("–",) if paper else ()
        rows.append((f"heads of layer {r.name}", str(r.paths), added, f"{r.added / r.paths:.4f}", removed, *given))
    columns = numbers("Paths", "Added", "Each", "Removed", *(["Published model"] if paper else []))
    reductions = Table(
        "Reduction of the loss in nats per token, ± standard error over contexts. Added: when all lower orders are "
        "present; each: per path. Removed: how much the loss rises when the term alone is removed from the whole model."
        + (" Published: 24 heads and 144 virtual heads of the authors' two-layer model." if paper else ""),
        explained((*words("Term"), *columns), TERMS, "name paths added - removed" + " -" * bool(paper)),
        rows,
    )

    drawn = figure(
        f"terms_{name}",
        "Term importance",
        "What the direct path, single heads and the strongest virtual heads are worth, with standard errors."
        + _of_virtual_heads(orders, paper),
        draw_terms,
        table,
        paper,
    )
    return Section(f"{name}-terms", f"{name}: term importance", [text], [reductions, drawn])


def _of_virtual_heads(orders: pd.DataFrame, paper: bool) -> str:
    """What virtual heads add in all, beside the published model's; nothing for a model without any."""
    virtual = orders[orders["order"] == 2]
    if virtual.empty:
        return ""
    one = virtual.iloc[0]
    gain = f" Virtual heads lower the loss by {one['added']:.2f} nats per token here"
    return gain + (f", by {published.TERMS[2].nats:g} in the published model." if paper else ".")


def order_name(order: int) -> str:
    """What the paths through so many heads are called."""
    return {0: "direct path", 1: "single heads", 2: "virtual heads"}.get(order, f"paths of {order} heads")


def draw_terms(table: pd.DataFrame, paper: bool) -> str:
    """Loss reduction of each order, and of each head and the strongest virtual heads."""
    orders, parts = table[table["scope"] == "order"], table[table["scope"].isin(["head", "virtual"])]
    best = parts[parts["scope"] == "virtual"].nlargest(6, "removed")
    single = pd.concat([parts[parts["scope"] == "head"], best])
    with canvas(8.0, 2.0 + 0.24 * max(6, len(single))) as drawn:
        left, right = drawn.subplots(1, 2, width_ratios=[1, 1.5])
        labels = [f"{order_name(n)}\n({k} {'path' if k == 1 else 'paths'})"
                  for n, k in zip(orders["order"], orders["paths"], strict=True)]  # fmt: skip
        place = np.arange(len(orders))
        left.barh(place, orders["added"], 0.55, xerr=orders["added_se"], color=COLOURS[0], label="this model")
        if paper:
            given = [published.TERMS[n].nats for n in orders["order"]]
            left.plot(given, place, "D", ms=6, mfc="white", mec=COLOURS[1], mew=1.6, label="published model", ls="")
        left.set_yticks(place, labels, fontsize=8)
        left.invert_yaxis()
        left.set(xlabel="loss reduction (nats per token)", title="by order")
        place = np.arange(len(single))
        right.barh(place - 0.2, single["added"], 0.38, xerr=single["added_se"], color=COLOURS[0],
                   label="added to all lower orders")  # fmt: skip
        right.barh(place + 0.2, single["removed"], 0.38, xerr=single["removed_se"], color=COLOURS[4],
                   label="removed from the whole model")  # fmt: skip
        right.set_yticks(place, single["name"], fontsize=8)
        right.invert_yaxis()
        right.set(xlabel="loss reduction (nats per token)", title="by path")
        # Of the bars on the left the model's have the colour of those on the right, and need no line of their own.
        shown = [*right.get_legend_handles_labels()[0], *(left.get_lines() if paper else [])]
        drawn.legend(handles=shown, fontsize=8, loc="outside lower center", ncols=3)
    return drawn.svg
