"""How far the counts of heads depend on the cut-offs that make them."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.ticker import MaxNLocator

from skiptrace.circuits.cutoffs import counted, own_first
from skiptrace.config.scoring import ScoringParams
from skiptrace.report.inputs import ModelResult, Study
from skiptrace.report.rendering.document import Section, Table, numbers, prose, words
from skiptrace.report.rendering.failures import figure
from skiptrace.report.rendering.figures import COLOURS, GREY, canvas, grid


class Curve(NamedTuple):
    """A score of heads whose cut-off is varied, the cut-off in use where there is one, and what chance gives."""

    title: str
    label: str
    scores: Float[np.ndarray, " heads"]
    top: float
    used: float | None
    chance: float


def cutoffs(study: Study) -> Section | None:
    """Counts of heads against their cut-offs, and copying called by two scores."""
    if study.model.params.n_layers == 0:
        return None
    name, model, scoring = study.name, study.model, study.settings.scoring
    own = own_first(model.heads, model.d_vocab)
    both = own.assign(copies=model.heads["copies"].to_numpy())
    agree = int((both["copies"] == both["beyond_chance"]).sum())
    text = prose(f"""
        A count of heads depends on a score and on a cut-off. By their eigenvalues {_of(both["copies"])} copy: they
        score {scoring.null_sd:g} standard deviations above random heads. Token by token
        {_of(both["beyond_chance"])} copy: in their OV circuit more tokens raise themselves most than chance gives.
        The two agree on {agree}. Eigenvalues sum over the whole vocabulary, so a head that copies a few tokens and
        lowers the others is found token by token alone; a head may also score high and raise hardly any token most.
        Where a curve falls steeply at the cut-off in use, the count is a matter of convention.
    """)
    rows = [
        (
            row.name,
            "yes" if row.copies else "no",
            f"{row.share:.2%}",
            f"{row.low:.2%} to {row.high:.2%}",
            "yes" if row.beyond_chance else "no",
        )
        for row in both.itertuples(index=False)
    ]
    table = Table(
        f"Copying by eigenvalues, and token by token: the share of tokens that are first in their own OV row "
        f"with its 95 % interval (tokens taken as independent; chance is {1 / model.d_vocab:.2%}).",
        (*words("Head", "By eigenvalues"), *numbers("Own token first", "Interval"), *words("Beyond chance")),
        rows,
    )
    drawn = figure(
        f"cutoffs_{name}",
        "Heads counted, against the cut-off",
        "How many heads reach each cut-off of a score. Dashed: the cut-off in use; grey: what chance or uniform "
        "attention gives. Of the two criteria for positional heads each is counted by itself.",
        draw_cutoffs,
        model,
        scoring,
    )
    return Section(f"{name}-cutoffs", f"{name}: heads counted, against the cut-off", [text], [table, drawn])


def _of(calls: pd.Series) -> str:
    return f"{int(calls.sum())} of {len(calls)} heads"


def curves(model: ModelResult, scoring: ScoringParams) -> list[Curve]:
    """The scores that heads are counted by."""
    heads = model.heads

    def score(column: str) -> Float[np.ndarray, " heads"]:
        return heads[column].to_numpy(dtype=float)

    z = (score("copying") - score("copying_null_mean")) / score("copying_null_sd")
    share_null, even = score("position_share_null_mean").mean(), score("best_offset_uniform").mean()
    return [
        Curve("copying", "standard deviations above random heads", z, 8.0, scoring.null_sd, 0.0),
        Curve("own token first", "share of tokens", score("own_top1"), 0.5, None, 1 / model.d_vocab),
        Curve("position share", "r²", score("position_share"), 1.0, scoring.positional_share, share_null),
        Curve(
            "attention by position",
            "on the best distance",
            score("best_offset_attention"),
            1.0,
            scoring.positional_attention,
            even,
        ),
        Curve(
            "previous token", "mean attention", score("previous_token"), 1.0, None, score("previous_token_uniform")[0]
        ),
        Curve(
            "prefix matching",
            "mean attention",
            score("prefix_matching"),
            1.0,
            None,
            score("prefix_matching_uniform")[0],
        ),
    ]


def draw_cutoffs(model: ModelResult, scoring: ScoringParams) -> str:
    """One panel for each score: heads that reach the cut-off, against the cut-off."""
    shown = curves(model, scoring)
    with canvas(7.6, 4.4) as drawn:
        for axes, curve in zip(grid(drawn, len(shown), 3), shown, strict=True):
            at = np.linspace(0, curve.top, 401)
            axes.axvspan(0, min(curve.chance, curve.top), color=GREY, alpha=0.3, lw=0)
            axes.step(at, counted(curve.scores, at), where="post", color=COLOURS[0], lw=1.6)
            if curve.used is not None:
                axes.axvline(curve.used, color=COLOURS[1], lw=1.2, ls="--")
            axes.set(title=curve.title, xlim=(0, curve.top), ylim=(0, len(curve.scores) + 0.3))
            axes.set_xlabel(curve.label, fontsize=8)
            axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        drawn.supylabel("heads at or above the cut-off", fontsize=10)
    return drawn.svg
