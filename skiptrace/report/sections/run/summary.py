"""What the run found, what it was trained on, and the losses of all models."""

from skiptrace.report.inputs import ModelResult, Results, Study
from skiptrace.report.intervals import with_error
from skiptrace.report.metrics import NORMAL, in_context_learning, loss_error
from skiptrace.report.rendering.document import (
    Block,
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
from skiptrace.report.sections.run.corpora import described
from skiptrace.report.sections.run.findings import findings
from skiptrace.report.sections.run.papers import beside_the_papers
from skiptrace.report.targets import targets


def lead(study: Study) -> str:
    """What was trained on what: a clause for every corpus, planted text last."""
    results = study.results
    clauses = []
    for name in sorted(results.corpora, key=lambda name: results.corpora[name].params.kind == "planted"):
        models = {m: model for m, model in results.models.items() if model.params.corpus == name}
        if not models:
            continue
        corpus = results.corpora[name]
        imported = any(m.config is not None and m.config.imported_from is not None for m in models.values())
        plural = len(models) > 1
        verb = ("are" if plural else "is") + " studied on" if imported else "read" if plural else "reads"
        read = described(name, corpus)
        if corpus.params.kind != "planted":
            amount = _amount(corpus.train.characters + corpus.valid.characters)
            read = f"{read} ({amount}{'' if clauses else ' characters'})"
        shapes = _joined([_model(m, model) for m, model in models.items()])
        clauses.append(f"{shapes} {verb} {read}")
    bare = all(m.config is None or m.config.attn_only for m in results.models.values())
    return f"{'Attention-only transformers' if bare else 'Transformers'}: {'; '.join(clauses)}."


def _model(name: str, model: ModelResult) -> str:
    """A model and its size: `two (2 layers of 4 heads)`."""
    p = model.params
    count = str(p.n_layers or "no")
    heads = f" of {p.n_heads} head{'s' * (p.n_heads != 1)}" if p.n_layers else ""
    return f"{name} ({count} layer{'s' * (p.n_layers != 1)}{heads})"


def _joined(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if names[1:] else names[0]


def _amount(characters: int) -> str:
    return f"{characters / 1e6:.0f} million" if characters >= 5e5 else f"{characters:,}"


def summary(study: Study) -> Section:
    """One answer to each question."""
    return Section("summary", "Findings", [], [findings(study)])


def losses(study: Study) -> Section:
    """The losses of all models, the papers' numbers beside this run's, and the course of the training."""
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
                with_error(model.valid_loss, NORMAL * loss_error(model)),
                f"{corpus.bigram_loss:.3f}",
                f"{corpus.unigram_loss:.3f}",
                *(f"{loss:.3f}" for loss in (corpus.ngram_losses[2], corpus.ngram_losses[-1])),
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
        "Trigram",
        "5-gram",
        "Copying heads",
        "Positional heads",
        "In-context learning",
    )
    models = Table(
        "Loss on held-out text in nats per token, beside interpolated Kneser–Ney n-gram models and a unigram model "
        "on the same tokens. In-context learning: loss late in the context minus loss early in it, in nats; a bigram "
        "model has none, so its value is noise. ±: half of the 95 % interval, errors clustered by document.",
        (*words("Model", "Corpus"), *numbers(*measured)),
        rows,
    )
    beside = beside_the_papers(results, settings)
    reached = Table(
        "What a model of each depth should reach with the default parameters, and what this run reached.",
        (*words("Model", "Quantity"), *numbers("Target", "Reached"), *words("Met")),
        [(t.model, t.what, t.wanted, t.reached, "yes" if t.met else "no") for t in targets(results)],
    )
    blocks: list[Block] = [beside, models, *([reached] if reached.rows else [])]
    if any(len(model.curve) for model in results.models.values()):  # else nothing was trained here
        blocks.append(
            figure(
                "loss_curves",
                "Loss during training",
                "The zero-layer model flattens out at the smoothed bigram; each layer of attention goes below it. The "
                "smoothed 5-gram is what the four tokens before say alone: a model above that line may know no more. "
                "Measured on the first contexts of the held-out text, so the ends differ slightly from the table.",
                draw_loss_curves,
                results,
            )
        )
    return Section("losses", "This run beside the papers", [], blocks)


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
            known = (("unigram", baseline.unigram_loss), ("smoothed bigram", baseline.bigram_loss))
            for label, value in (*known, ("smoothed 5-gram", baseline.ngram_losses[-1])):
                axes.axhline(value, color=GREY, lw=1, ls="--")
                place = axes.get_yaxis_transform()
                axes.annotate(label, (1, value), (0, 3), place, "offset points", color=INK, ha="right", fontsize=8)
            axes.set(xlabel="training tokens (millions)", ylabel="validation loss (nats per token)")
            axes.set_title(f"corpus {corpus}")
    return drawn.svg
