"""What the report says, section by section, from results alone."""

from pathlib import Path

from skiptrace.config.report import ReportParams
from skiptrace.report import (
    bigrams,
    composition,
    dictionary,
    evidence,
    figures,
    heads,
    origins,
    skip_trigrams,
    superposition,
)
from skiptrace.report.document import Figure, Report, Section, Table, Tool, numbers, words
from skiptrace.report.failures import attempt
from skiptrace.report.findings import findings, published
from skiptrace.report.inputs import Results, Settings
from skiptrace.report.metrics import in_context_learning, targets

EXPLORER = (
    "Type a token: what every head does with it, read off the circuits. As source it is attended to by destinations "
    "(QK) and raises outs (OV); as destination it attends to sources; as out it is raised by sources. Scores are "
    "centred as in the tables; those of later layers are read as if the head saw the embedding directly. Below "
    "stand the skip-trigrams it takes part in, with their evidence, and places in the validation text."
)
SKIPS = (
    "Sort by any column, filter by head, by what survives every test, and by copying (the output is the "
    "source, spaces and case aside); a token leads to the explorer. Effect: change of log p(out), in nats, when the "
    "attention edge is cut; lift: count in the corpus over the count expected without the source."
)
PATTERNS = (
    "Attention on short texts. Point at a token, or move with the arrow keys: the shaded tokens are those it attends "
    "to, or those that attend to it. Choose a head by its thumbnail; rows are destinations, columns sources."
)


def build(results: Results, settings: Settings, folder: Path) -> Report:
    """Draw all figures into `folder` and put the report together, provenance excepted.

    What cannot be made is a box in it (`failures`).
    """
    scoring, mining, _, _, params = settings
    sections = attempt("", _summary, results, settings, folder) + _tools(results, params)
    sections += attempt("", _corpora, results) + attempt("", _imports, results)
    for name, model in results.models.items():
        corpus = results.corpora[model.params.corpus]
        if not model.truth.empty:
            sections += attempt(name, evidence.truth, name, model)
        direct = attempt(name, bigrams.direct, name, model, params, folder)
        sections += [origins.noted(section, model.config) for section in direct]
        if model.params.n_layers > 0:
            mined = attempt(name, skip_trigrams.skip_trigrams, name, model, mining, params)
            sections += [origins.noted(section, model.config) for section in mined]
            sections += attempt(name, evidence.evidence, name, model, settings, folder)
            sections += attempt(name, evidence.bugs, name, model, settings)
            sections += attempt(name, skip_trigrams.positional, name, model, scoring, params)
            sections += attempt(name, heads.heads, name, model, scoring, params, folder)
            corner = attempt(name, heads.circuits, name, model, corpus, folder)
            sections += [origins.noted(section, model.config) for section in corner]
        sections += composition.sections(name, model, corpus, settings, folder)
    if results.superposition:
        sections += superposition.sections(results.superposition, folder)
    sections += dictionary.sections(results, folder)
    lead = (
        "What small attention-only transformers learned, read from their weights: the bigrams of the direct "
        "path, the skip-trigrams of every head, the scores that say what kind of head each one is, and how heads "
        "work together; then superposition, in toy models and in one of these."
    )
    return Report("skiptrace report", lead, sections)


def _tools(results: Results, params: ReportParams) -> list[Section]:
    """What the page lets its reader look up."""
    found = [Section("explorer", "Token explorer", [], [Tool("explorer", EXPLORER)])]
    if any(model.params.n_layers > 0 for model in results.models.values()):
        table = f"At most {params.explorer_rows:,} rows a model, those with evidence first. {SKIPS}"
        found.append(Section("skip-trigrams", "All skip-trigrams", [], [Tool("skips", table)]))
        found.append(Section("patterns", "Attention patterns", [], [Tool("patterns", PATTERNS)]))
    return found


def _summary(results: Results, settings: Settings, folder: Path) -> Section:
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
        "Validation loss in nats per token, beside an interpolated Kneser–Ney bigram model and a unigram model "
        "on the same tokens. In-context learning: loss late in the context minus loss early, in nats; "
        "a bigram model has none, so what it shows is chance.",
        (*words("Model", "Corpus"), *numbers(*measured)),
        rows,
    )
    reached = Table(
        "What a model of each depth should reach with the default parameters, and what this run reached.",
        (*words("Model", "Target"), *numbers("Wanted", "Reached"), *words("Met")),
        [(t.model, t.what, t.wanted, t.reached, "yes" if t.met else "no") for t in targets(results)],
    )
    if all(model.curve.empty for model in results.models.values()):  # nothing was trained here
        return Section("summary", "Summary", [], [models, *([reached] if reached.rows else [])])
    figures.loss_curves(folder / "loss_curves.svg", results)
    curves = Figure(
        folder / "loss_curves.svg",
        "Loss during training",
        "The zero-layer model flattens out at the smoothed bigram; each layer of attention goes below it. "
        "Measured on the first contexts of the validation text, so the ends differ slightly from the table.",
    )
    found, beside = findings(results, settings), published(results, settings)
    return Section("summary", "Summary", [], [found, beside, models, reached, curves])


def _imports(results: Results) -> list[Section]:
    return origins.imports({name: m.config for name, m in results.models.items() if m.config is not None})


def _corpora(results: Results) -> Section:
    measured = ("Documents", "Characters", "Tokens", "Characters per token", "Vocabulary")
    columns = (*words("Corpus", "Kind", "Split"), *numbers(*measured))
    rows = []
    for name, corpus in results.corpora.items():
        for split, size in (("train", corpus.train), ("valid", corpus.valid)):
            counts = (f"{n:,}" for n in (size.documents, size.characters, size.tokens))
            density = f"{size.characters / size.tokens:.2f}"
            rows.append((name, corpus.params.kind, split, *counts, density, f"{len(corpus.vocabulary):,}"))
    cards = {name: corpus.card for name, corpus in results.corpora.items() if corpus.card is not None}
    survivals = {name: corpus.survival for name, corpus in results.corpora.items() if corpus.survival is not None}
    caption = (
        "Documents are split by a hash of their names and never cut; a tokenizer that is trained here sees the train "
        "split only."
    )
    tables = [Table(caption, columns, rows), *origins.cards(cards), *origins.survivals(survivals)]
    return Section("corpora", "Corpora", [], tables)
