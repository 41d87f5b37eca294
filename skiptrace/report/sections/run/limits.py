"""What a time budget, and the size of the page, leave out of a run."""

from skiptrace.report.inputs import Study
from skiptrace.report.rendering.document import Section, Table, numbers, words

STUDIES = {
    "score": "scores of heads",
    "mine": "mined rows",
    "verify": "evidence",
    "compose": "composition",
    "account": "account of attention",
    "directions": "directions of heads",
    "explore": "look-ups of this page",
}


def limits(study: Study) -> Section | None:
    """What the studies of a model leave out so that they fit the time budget, and this page its size."""
    over = [
        f"{name}, {STUDIES[which]}: {plan.over()}."
        for name, found in study.limited.items()
        for which, plan in found.items()
        if plan.over()
    ]
    rows = [
        (name, STUDIES[cut.study], cut.size.replace("_", " "), f"{cut.kept:,}", f"{cut.asked:,}")
        for name, found in study.limited.items()
        for plan in found.values()
        for cut in plan.cuts
    ]
    if not rows and not over:
        return None
    table = Table(
        "Sizes that were lowered, the others are those of the parameters. Heads are drawn at random, always the same; "
        "layers are evenly spread. Numbers of this report, and shares, are of what was looked at.",
        (*words("Model", "Of", "What"), *numbers("Looked at", "Asked for")),
        rows,
    )
    chosen = (
        "Studies fit `budget.minutes` by estimate, operations at a stated rate, so that the same is left out on every "
        "machine; a larger budget leaves out less. Look-ups are as many as keep this page small."
    )
    return Section("limits", "What the budget leaves out", [chosen, *over], [table])
