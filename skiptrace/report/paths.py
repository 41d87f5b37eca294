"""The sections on the path expansion of the logits, and what its terms are worth."""

from pathlib import Path

import pandas as pd

from skiptrace.report import composition_figures as figures
from skiptrace.report.document import Cell, Figure, Section, Table, Tokens, numbers, words
from skiptrace.report.inputs import ModelResult

SHOWN = 12  # paths drawn
PATHS_SHOWN = 4  # paths of each prediction taken apart


def expansion(name: str, model: ModelResult, texts: pd.Series, folder: Path) -> Section:
    """What each path says on text, predictions taken apart, and the identities behind it."""
    composed = model.composed
    error = composed.identities["error"].max()
    linear = model.config is None or (model.config.norm is None and model.config.attn_only)
    text = (
        "The logits are exactly the sum of one term per path from the embedding to the unembedding: the direct path "
        "W_E W_U, one term for each head, and one for each virtual head, two heads in turn. Every prediction can be "
        f'taken apart this way; `skiptrace explain --model {name} "text"` does it for any text.'
    )
    numeric = Table(
        "The identities this reading rests on: largest absolute difference between both sides, in float64, on real "
        f"text. The worst of them is {error:.0e}.",
        (*words("Identity"), *numbers("Error", "Largest entry")),
        [(r.identity, f"{r.error:.1e}", f"{r.scale:.1f}") for r in composed.identities.itertuples()],
    )
    if not linear:
        text = (
            "This model has layer norm or MLPs, which depend on the residual stream in ways that no path has: its "
            "logits are not the sum of its paths, and what each of them is worth is not said."
        )
    elif composed.paths.empty:
        text += " This model has too many paths to list them one by one."
    if composed.paths.empty:
        return Section(f"{name}-paths", f"{name}: path expansion", [text], [numeric])
    path = folder / f"paths_{name}.svg"
    figures.paths(path, composed.paths.nlargest(SHOWN, "size"))
    drawn = Figure(
        path,
        "What each path says",
        "What the largest paths add to the logit of the token that does come next, less what they add to all tokens on "
        "average, over validation text. A blue bar as long as its grey one always helps; a short one helps and hurts.",
    )
    return Section(f"{name}-paths", f"{name}: path expansion", [text], [drawn, _examples(model, texts), numeric])


def _examples(model: ModelResult, texts: pd.Series) -> Table:
    rows: list[tuple[Cell, ...]] = []
    spoken = model.composed.example_texts.groupby("example")["token_id"]
    for example, ranked in model.composed.examples.groupby("example"):
        tokens = spoken.get_group(example).tail(8)
        first = ranked.iloc[0]
        head: tuple[Cell, ...] = (
            Tokens(tuple(texts.iloc[tokens])),
            Tokens((texts.iloc[int(first["out_id"])],)),
            f"{first['probability']:.2f}",
        )
        for r in ranked.sort_values("rank").head(PATHS_SHOWN).itertuples():
            source = "the last token" if r.source_back == 0 else f"{r.source_back} back"
            rows.append((*head, r.name, f"{r.logit:+.2f}", Tokens((texts.iloc[r.source_id],)), source))
            head = ("", "", "")
    return Table(
        "Right predictions of validation text taken apart: the paths that add most to the logit of the next token, and "
        "the token that most of it comes from. For each number of heads, predictions in which such a path counts most.",
        (*words("Text", "Next"), *numbers("p(next)"), *words("Path"), *numbers("Logit"), *words("From", "Where")),
        rows,
    )


def terms(name: str, model: ModelResult, folder: Path) -> Section:
    """What each term of the path expansion is worth in nats."""
    table = model.composed.terms
    orders = table[table["scope"] == "order"]
    paper = model.params.n_layers == 2
    text = (
        "How much each term of the expansion lowers the loss on validation text: attention patterns are frozen, and "
        "the outputs of heads are let in one order at a time, as in the paper's term importance analysis. The direct "
        "path is compared with uniform guessing. A term is also taken out of the whole model."
    )
    rows: list[tuple[Cell, ...]] = []
    for r in orders.itertuples():
        each = r.added / r.paths
        given = (figures.PAPER_TERMS_TOLD[r.order],) if paper else ()
        added, removed = f"{r.added:.3f} ± {r.added_se:.3f}", f"{r.removed:.3f} ± {r.removed_se:.3f}"
        rows.append((figures.order_name(r.order), str(r.paths), added, f"{each:.4f}", removed, *given))
    for r in table[table["scope"] == "layer"].itertuples():
        added, removed = f"{r.added:.3f} ± {r.added_se:.3f}", f"{r.removed:.3f} ± {r.removed_se:.3f}"
        given = ("–",) if paper else ()
        rows.append((f"heads of layer {r.name}", str(r.paths), added, f"{r.added / r.paths:.4f}", removed, *given))
    columns = numbers("Paths", "Added", "Each", "Taken out", *(["Published model"] if paper else []))
    told = Table(
        "Reduction of the loss in nats per token, ± standard error over contexts. Added: when all lower orders are "
        "there; each: per path. Taken out: how much the loss rises when the term alone leaves the whole model."
        + (" Published: 24 heads and 144 virtual heads of the authors' two-layer model." if paper else ""),
        (*words("Term"), *columns),
        rows,
    )
    path = folder / f"terms_{name}.svg"
    figures.terms(path, table, paper)
    drawn = Figure(
        path,
        "Term importance",
        "What the direct path, single heads and the strongest virtual heads carry, with standard errors. In the "
        "published model virtual heads add little, each of them almost nothing: see whether they do here.",
    )
    return Section(f"{name}-terms", f"{name}: term importance", [text], [told, drawn])
