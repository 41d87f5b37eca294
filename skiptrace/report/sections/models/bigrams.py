"""The direct path beside the corpus."""

import numpy as np
import pandas as pd

from skiptrace.mining.tables import AGREEMENT, BIGRAMS
from skiptrace.report.inputs import Study
from skiptrace.report.rendering.document import (
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
    PLAIN,
    canvas,
)
from skiptrace.report.sections.run.imports import left_out


def direct(study: Study) -> Section:
    """The largest bigrams of the direct path, and how well it agrees with the corpus."""
    name, model, params = study.name, study.model, study.settings.report
    rows = [
        (
            Tokens((row.token,)),
            Tokens((row.next,)),
            f"{row.value:.2f}",
            f"{np.exp(row.model_logprob):.3f}",
            "–" if np.isnan(row.corpus_logprob) else f"{np.exp(row.corpus_logprob):.3f}",
            f"{row.corpus_count:,}",
        )
        for row in model.bigrams.head(params.bigrams).itertuples()
    ]
    columns = explained(
        (*words("Token", "Next token"), *numbers("Logit", "p(next) by direct path", "p(next) in corpus", "Count")),
        BIGRAMS,
        "token next value - - corpus_count",
    )
    agreement = model.agreement["spearman"].mean()
    unigram = model.agreement["spearman_unigram"].mean()
    table = Table(
        "The largest entries of W_E W_U. Logit: the entry minus the mean of its row, which softmax ignores. "
        "Probability: softmax of the row, beside the relative frequency in the training text.",
        columns,
        rows,
    )
    whole = (
        "Without attention this path is the whole model, so W_E W_U should approximate the bigram log-likelihoods."
        if model.params.n_layers == 0
        else "With heads beside it, the direct path has to supply only the bigrams that the heads do not."
    )
    text = (
        f"{whole} Over the continuations of the {len(model.agreement.dropna())} most frequent tokens, the rank "
        f"correlation of the direct path's log-probabilities with the corpus counts is {agreement:.2f} on average (a "
        f"unigram model: {unigram:.2f})."
    )
    if unigram >= agreement:
        text += " It orders them no better than the frequency of tokens alone does."
    paragraphs = [text, *left_out(model)]
    if model.params.n_layers > 0:
        return Section(f"{name}-bigrams", f"{name}: bigrams of the direct path", paragraphs, [table])

    scatter = figure(
        f"bigrams_{name}",
        "Direct path against corpus",
        "Each point is a pair of tokens seen in the corpus, the first of them frequent. On the line the model's "
        "log-probability equals the corpus's; pairs seen once or twice lie to the left and the model smooths them.",
        draw_bigram_scatter,
        model.explored.direct,
    )
    worst = model.agreement.dropna().nsmallest(8, "spearman")
    disagreement = Table(
        "Frequent tokens for which the direct path's order of continuations agrees least with the corpus, beside a "
        "unigram model.",
        explained(
            (*words("Token"), *numbers("Continuations seen", "Rank correlation", "Unigram")),
            AGREEMENT,
            "token observed spearman spearman_unigram",
        ),
        [
            (Tokens((r.token,)), f"{r.observed:,}", f"{r.spearman:.2f}", f"{r.spearman_unigram:.2f}")
            for r in worst.itertuples()
        ],
    )
    return Section(f"{name}-bigrams", f"{name}: bigrams of the direct path", paragraphs, [scatter, table, disagreement])


def draw_bigram_scatter(pairs: pd.DataFrame) -> str:
    """Log-probabilities of the direct path against the corpus's, with the line of agreement.

    Both axes begin where all pairs but one in a thousand are to be seen, whichever is the lower.
    """
    with canvas(5.4, 4.6) as drawn:
        axes = drawn.subplots()
        low = float(np.floor(min(pairs["corpus"].min(), pairs["model"].quantile(0.001), -1.0)))
        cells = axes.hexbin(
            pairs["corpus"], pairs["model"], gridsize=45, bins="log", cmap="cividis_r", mincnt=1,
            extent=(low, 0, low, 0), linewidths=0,
        )  # fmt: skip
        axes.plot([low, 0], [low, 0], color=COLOURS[1], lw=1)
        axes.set(xlabel="log p(next) in the corpus (nats)", ylabel="log p(next) by W_E W_U (nats)")
        drawn.colorbar(cells, ax=axes, label="pairs of tokens", format=PLAIN)
    return drawn.svg
