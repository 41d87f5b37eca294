"""The section on the direct path."""

from pathlib import Path

import numpy as np

from skiptrace.config.report import ReportParams
from skiptrace.report import figures
from skiptrace.report.document import Figure, Section, Table, Tokens, numbers, words
from skiptrace.report.inputs import ModelResult


def direct(name: str, model: ModelResult, params: ReportParams, folder: Path) -> Section:
    """The largest bigrams of the direct path, and how well it agrees with the corpus."""
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
    columns = (*words("Token", "Next token"), *numbers("Logit", "p(next) by direct path", "p(next) in corpus", "Count"))
    agreement = model.agreement["spearman"].mean()
    unigram = model.agreement["spearman_unigram"].mean()
    table = Table(
        "The largest entries of W_E W_U. Logit: the entry minus the mean of its row, which softmax ignores. "
        "Probability: softmax of the row, beside the relative frequency in the training text.",
        columns,
        rows,
    )
    whole = (
        "Without attention this path is the whole model, so it should be the table of bigram log-likelihoods."
        if model.params.n_layers == 0
        else "With heads beside it, the direct path need only hold the bigrams that the heads do not supply."
    )
    text = (
        f"{whole} Over the continuations of the {len(model.agreement.dropna())} most frequent tokens, the rank "
        f"correlation of the direct path's log-probabilities with the corpus counts is {agreement:.2f} on average "
        f"(a unigram model: {unigram:.2f})."
    )
    if model.params.n_layers > 0:
        return Section(f"{name}-bigrams", f"{name}: bigrams of the direct path", [text], [table])
    path = folder / f"bigrams_{name}.svg"
    figures.bigram_scatter(path, model.explored.direct)
    scatter = Figure(
        path,
        "Direct path against corpus",
        "Each point is a pair of tokens seen in the corpus, the first of them frequent. On the line the model's "
        "log-probability is the corpus's; pairs seen once or twice lie to the left and the model smooths them.",
    )
    worst = model.agreement.dropna().nsmallest(8, "spearman")
    disagreement = Table(
        "Frequent tokens whose continuations the direct path orders least like the corpus, beside a unigram model.",
        (*words("Token"), *numbers("Continuations seen", "Rank correlation", "Unigram")),
        [
            (Tokens((r.token,)), f"{r.observed:,}", f"{r.spearman:.2f}", f"{r.spearman_unigram:.2f}")
            for r in worst.itertuples()
        ],
    )
    return Section(f"{name}-bigrams", f"{name}: bigrams of the direct path", [text], [scatter, table, disagreement])
