"""Losses and counts of all models, headlines first."""

from skiptrace.report.inputs import Results, Study
from skiptrace.report.metrics import in_context_learning, targets
from skiptrace.report.rendering.document import (
    Section,
    Table,
    numbers,
    words,
)
from skiptrace.report.rendering.failures import figure
from skiptrace.report.rendering.figures import (
    GREY,
    INK,
    canvas,
    grid,
)
from skiptrace.report.sections.run.findings import findings
from skiptrace.report.sections.run.papers import beside_the_papers


def summary(study: Study) -> Section:
    """Headlines, the papers' numbers beside this run's, and the losses of all models."""
    results, settings = study.results, study.settings
    rows = []
    for name, model in results.models.items():
        p, scored = model.params, model.heads
        corpus = results.corpora[p.corpus]
        attends = p.n_layers > 0
        rows.append(
            (
                name,
                p.corpus,
                str(p.n_layers),
                str(p.n_layers * p.n_heads),
                f"{model.valid_loss:.3f}",
                f"{corpus.bigram_loss:.3f}",
                f"{corpus.unigram_loss:.3f}",
                f"{scored['copies'].sum()} of {len(scored)}" if attends else "–",
                f"{scored['positional'].sum()} of {len(scored)}" if attends else "–",
                f"{in_context_learning(model):+.3f}",
            )
        )
    measured = (
        "Layers",
        "Heads",
        "Loss",
        "Bigram",
        "Unigram",
        "Copying heads",
        "Positional heads",
        "In-context learning",
    )
    models = Table(
        "Validation loss in nats per token, beside an interpolated Kneser–Ney bigram model and a unigram model on "
        "the same tokens. In-context learning: loss late in the context minus loss early, in nats; a bigram model "
        "has none, so its value is noise.",
        (*words("Model", "Corpus"), *numbers(*measured)),
        rows,
    )
    reached = Table(
        "What a model of each depth should reach with the default parameters, and what this run reached.",
        (*words("Model", "Quantity"), *numbers("Target", "Reached"), *words("Met")),
        [(t.model, t.what, t.wanted, t.reached, "yes" if t.met else "no") for t in targets(results)],
    )
    if all(model.curve.empty for model in results.models.values()):  # nothing was trained here
        return Section("summary", "Summary", [], [models, *([reached] if reached.rows else [])])

    curves = figure(
        "loss_curves",
        "Loss during training",
        "The zero-layer model flattens out at the smoothed bigram; each layer of attention goes below it. Measured on "
        "the first contexts of the validation text, so the ends differ slightly from the table.",
        draw_loss_curves,
        results,
    )
    found, beside = findings(results, settings), beside_the_papers(results, settings)
    return Section("summary", "Summary", [], [found, beside, models, reached, curves])


def draw_loss_curves(results: Results) -> str:
    """Validation loss against training tokens, one line per model trained here, with the n-gram baselines."""
    trained = {name: model for name, model in results.models.items() if len(model.curve)}
    corpora = list(dict.fromkeys(m.params.corpus for m in trained.values()))
    with canvas(7.0, 3.6 * len(corpora)) as drawn:
        for axes, corpus in zip(grid(drawn, len(corpora), 1), corpora, strict=True):
            models = {n: m for n, m in trained.items() if m.params.corpus == corpus}
            for name, model in models.items():
                curve = model.curve
                (line,) = axes.plot(curve["tokens"] / 1e6, curve["valid_loss"], lw=1.8)
                end = (curve["tokens"].iloc[-1] / 1e6, curve["valid_loss"].iloc[-1])
                axes.annotate(name, end, (5, 0), "data", "offset points", color=line.get_color(), va="center")
            baseline = results.corpora[corpus]
            for value, label in ((baseline.unigram_loss, "unigram"), (baseline.bigram_loss, "smoothed bigram")):
                axes.axhline(value, color=GREY, lw=1, ls="--")
                place = axes.get_yaxis_transform()
                axes.annotate(label, (1, value), (0, 3), place, "offset points", color=INK, ha="right", fontsize=8)
            axes.set(xlabel="training tokens (millions)", ylabel="validation loss (nats per token)")
            axes.set_title(f"corpus {corpus}")
    return drawn.svg
