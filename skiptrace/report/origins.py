"""Where text and models came from: corpus cards, and what was done to imported weights."""

from dataclasses import replace

from skiptrace.corpora.card import Card, Survival
from skiptrace.models.checkpoint import ModelConfig
from skiptrace.report.document import Section, Table, numbers, words
from skiptrace.report.tokens import visible

# Each kind of notes of a corpus: the head of its column, and what is said of a file.
NOTED = {
    "unselected": ("Not selected", "not selected by include and exclude"),
    "replaced": ("Not UTF-8, replaced", "not UTF-8, replaced"),
    "skipped": ("Not UTF-8, skipped", "not UTF-8 text, skipped"),
    "unparsed": ("Not parsed", "not parsed, skipped"),
    "separators": ("With a separator", "holds a separator of documents"),
}


def cards(found: dict[str, Card]) -> list[Table]:
    """What was left out of each corpus, and what its validation text shares with training."""
    if not found:
        return []
    left_out = ("Without text", "Repeated", *(what for what, _ in NOTED.values()))
    shared = ("Longest, characters", "Leaking", "Validation lines seen in training")
    rows = []
    for name, card in found.items():
        noted = (getattr(card.notes, kind).count for kind in NOTED)
        counts = (card.empty, card.duplicates, *noted, card.longest_characters)
        share = f"{card.lines_seen / card.lines:.1%} of {card.lines:,}" if card.lines else "–"
        leaking = f"{card.leaking:,} of {card.valid.documents:,}"
        rows.append((name, *(f"{n:,}" for n in counts), leaking, share))
    caption = (
        "Corpus cards. Documents without text and exact repetitions of an earlier document are left out. A validation "
        "document leaks when more than half of its lines (of 40 characters or more) stand in the training text too: "
        "its loss then measures memory. Licence headers and imports repeat in any text."
    )
    tables = [Table(caption, (*words("Corpus"), *numbers(*left_out, *shared)), rows)]
    first = [
        (name, what, visible(source))
        for name, card in found.items()
        for kind, (_, what) in NOTED.items()
        for source in getattr(card.notes, kind).examples
    ]
    if first:
        tables.append(Table("The first files of each kind above.", words("Corpus", "What", "File"), first))
    return tables


def survivals(found: dict[str, Survival]) -> list[Table]:
    """What of each corpus's text does not come back from its tokens."""
    if not found:
        return []
    rows = [
        (name, f"{one.share_lost:.3%} of {one.tried:,}", f"{one.spaces_lost / max(one.spaces_tried, 1):.1%}",
         " ".join(map(visible, one.most_lost)) or "–")
        for name, one in found.items()
    ]  # fmt: skip
    caption = (
        "Characters that are lost when text is encoded and decoded again, of the same share of every document from its "
        "beginning, about two million in all. White space, which many tokenizers make one space, is counted apart."
    )
    heads = (*words("Corpus"), *numbers("Characters lost", "White space lost"), *words("Most often lost"))
    return [Table(caption, heads, rows)]


def noted(section: Section, config: ModelConfig | None) -> Section:
    """The section, which shows circuits, with what those of an imported model leave out."""
    if config is None or not config.approximate:
        return section
    said = f"This model was imported: {'; '.join(config.approximate)}."
    return replace(section, paragraphs=[*section.paragraphs, said])


def imports(configs: dict[str, ModelConfig]) -> list[Section]:
    """What was done to the weights of imported models, and what their circuits leave out."""
    found = {name: c for name, c in configs.items() if c.imported_from is not None}
    if not found:
        return []
    rows = []
    for name, config in found.items():
        rows += [(name, "done to the weights", step) for step in config.processing or ()]
        rows += [(name, "left out", what) for what in config.approximate or ()]
    shape = Table(
        "Imported models. A last dimension that always holds 1 turns biases into weights.",
        (*words("Model", "Format", "Positions"), *numbers("Layers", "Heads", "Width", "With constants", "Context")),
        [
            (name, c.imported_from or "", c.positional_embedding_type, str(c.n_layers), str(c.n_layers * c.n_heads),
             str(c.d_model_imported), str(c.d_model), str(c.n_ctx))
            for name, c in found.items()
        ],
    )  # fmt: skip
    steps = Table(
        "In this order, in float32. No step changes what the model predicts; verification runs the whole model.",
        words("Model", "What", "How"),
        rows,
    )
    return [Section("imports", "Imported models", [], [shape, steps])]
