"""Where text came from, and what was left out of it."""

from skiptrace.config.corpora import PackagesCorpus, PlantedCorpus
from skiptrace.corpora.card import Card, Survival
from skiptrace.report.inputs import CorpusResult, Study
from skiptrace.report.rendering.document import (
    Section,
    Table,
    numbers,
    words,
)
from skiptrace.report.rendering.tokens import visible

NAMED = 4  # packages of a corpus that are named; of more, their number is
# Each kind of notes of a corpus: the head of its column, and what is said of a file.
NOTED = {
    "unselected": ("Not selected", "not selected by include and exclude"),
    "replaced": ("Not UTF-8, replaced", "not UTF-8, replaced"),
    "skipped": ("Not UTF-8, skipped", "not UTF-8 text, skipped"),
    "unparsed": ("Not parsed", "not parsed, skipped"),
    "repeated": ("Docstrings repeated", "repeats docstrings, or paragraphs of them"),
    "separators": ("With a separator", "holds a separator of documents"),
}


def corpora(study: Study) -> Section:
    """Sizes of all corpora, their cards, and the text that their tokens lose."""
    results = study.results
    measured = ("Documents", "Characters", "Tokens", "Characters per token", "Vocabulary")
    columns = (*words("Corpus", "Kind", "Split"), *numbers(*measured))
    rows = []
    for name, corpus in results.corpora.items():
        for split, size in (("train", corpus.train), ("valid", corpus.valid)):
            counts = (f"{n:,}" for n in (size.documents, size.characters, size.tokens))
            density = f"{size.characters / size.tokens:.2f}"
            rows.append((name, corpus.params.kind, split, *counts, density, f"{len(corpus.vocabulary):,}"))
    carded = {name: corpus.card for name, corpus in results.corpora.items() if corpus.card is not None}
    survived = {name: corpus.survival for name, corpus in results.corpora.items() if corpus.survival is not None}
    caption = (
        "Documents are split by a hash of their names and never cut; a tokenizer that is trained here sees the train "
        "split only."
    )
    tables = [Table(caption, columns, rows), *cards(carded), *survivals(survived)]
    return Section("corpora", "Corpora", [], tables)


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
        "Corpus cards. Documents without text and exact repetitions of an earlier document are left out. A "
        "validation document leaks when more than half of its lines (of 40 characters or more) occur in the training "
        "text too: its loss then measures memorisation. Licence headers and imports repeat in any text."
    )
    tables = [Table(caption, (*words("Corpus"), *numbers(*left_out, *shared)), rows)]
    first = [
        (name, what, visible(source))
        for name, card in found.items()
        for kind, (_, what) in NOTED.items()
        for source in dict.fromkeys(getattr(card.notes, kind).examples)
    ]
    if first:
        tables.append(Table("The first files of each kind above.", words("Corpus", "What", "File"), first))
    return tables


def survivals(found: dict[str, Survival]) -> list[Table]:
    """The text of each corpus that encoding and decoding lose."""
    if not found:
        return []
    rows = [
        (name, f"{one.share_lost:.3%} of {one.tried:,}", f"{one.spaces_lost / max(one.spaces_tried, 1):.1%}",
         " ".join(map(visible, one.most_lost)) or "–")
        for name, one in found.items()
    ]  # fmt: skip
    caption = (
        "Characters that are lost when text is encoded and decoded again, of the same share of every document from "
        "its beginning, about two million in all. White space, which many tokenizers collapse to one space, is "
        "counted separately."
    )
    heads = (*words("Corpus"), *numbers("Characters lost", "White space lost"), *words("Most often lost"))
    return [Table(caption, heads, rows)]


def described(name: str, corpus: CorpusResult) -> str:
    """What a corpus is, in a few words."""
    params = corpus.params
    if isinstance(params, PackagesCorpus):
        packages = [package.partition("==")[0] for package in params.packages]
        what = {"all": "source text", "strings": "string literals"}.get(params.extract, params.extract)
        if len(packages) > NAMED:
            return f"the {what} of {len(packages)} Python packages"
        *first, last = packages
        return f"the {what} of {', '.join(first)}{' and ' * bool(first)}{last}"
    if isinstance(params, PlantedCorpus):
        return "text with planted rules"
    return f"corpus {name}"
