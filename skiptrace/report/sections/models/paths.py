"""The path expansion of the logits."""

import numpy as np
import pandas as pd

from skiptrace.composition.tables import EXAMPLES
from skiptrace.report.inputs import ModelResult, Study
from skiptrace.report.rendering.document import (
    Cell,
    Section,
    Table,
    Tokens,
    explained,
    numbers,
    words,
)
from skiptrace.report.rendering.failures import figure
from skiptrace.report.rendering.figures import (
    COLOURS,
    GREY,
    canvas,
)

SHOWN = 12  # paths drawn

PATHS_SHOWN = 4  # paths of each prediction taken apart


def expansion(study: Study) -> Section | None:
    """The contribution of each path on text, predictions split into paths, and the identities."""
    if study.model.params.n_layers == 0:
        return None
    name, model = study.name, study.model
    texts = study.corpus.vocabulary["token"]
    composed = model.composed
    error = composed.identities["error"].max()
    linear = model.config is None or model.config.linear
    text = (
        "The logits are exactly the sum of one term per path from the embedding to the unembedding: the direct path "
        "W_E W_U, one term for each head, and one for each virtual head, two heads in sequence. Every prediction can "
        f'be split this way; `skiptrace explain --model {name} "text"` does it for any text.'
    )
    numeric = Table(
        "The identities that the path expansion relies on: largest absolute difference between both sides, in "
        f"float64, on real text. The worst of them is {error:.0e}.",
        (*words("Identity"), *numbers("Error", "Largest entry")),
        [(r.identity, f"{r.error:.1e}", f"{r.scale:.1f}") for r in composed.identities.itertuples()],
    )
    if not linear:
        text = (
            "This model has layer norm or MLPs, which are not linear in the residual stream, so its logits are not "
            "the sum of its paths and contributions of paths are not measured."
        )
    elif composed.paths.empty:
        text += " This model has too many paths to list them one by one."
    if composed.paths.empty:
        return Section(f"{name}-paths", f"{name}: path expansion", [text], [numeric])

    drawn = figure(
        f"paths_{name}",
        "What each path adds",
        "What the largest paths add to the logit of the token that does come next, minus what they add to all tokens "
        "on average, over held-out text. A path whose blue bar is as long as its grey one always raises the right "
        "token; a shorter blue bar means that it sometimes lowers it.",
        draw_paths,
        composed.paths.nlargest(SHOWN, "size"),
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
        "Right predictions on held-out text, split into paths: the paths that add most to the logit of the next "
        "token, and the token that most of it comes from. For each number of heads, the predictions to which such a "
        "path contributes most, in sentences where the text has any.",
        explained(
            (*words("Text", "Next"), *numbers("p(next)"), *words("Path"), *numbers("Logit"), *words("From", "Where")),
            EXAMPLES,
            "- out_id probability name logit source_id source_back",
        ),
        rows,
    )


def draw_paths(table: pd.DataFrame) -> str:
    """Mean contribution of each path to the right next token, with its standard error, and its mean size."""
    with canvas(7.0, 0.9 + 0.27 * len(table)) as drawn:
        axes, place = drawn.subplots(), np.arange(len(table))
        axes.barh(place, table["size"], 0.7, color=GREY, alpha=0.35, lw=0, label="mean absolute value")
        axes.barh(place, table["logit"], 0.4, xerr=table["se"], color=COLOURS[0], label="mean, ± standard error")
        axes.axvline(0, color="black", lw=0.6)
        axes.set_yticks(place, table["name"], fontsize=8)
        axes.invert_yaxis()
        axes.set_xlabel("contribution to the logit of the right next token")
        axes.legend(fontsize=8, loc="lower right")
    return drawn.svg
