"""What the page lets its reader look up."""

from skiptrace.account.tables import ROWS
from skiptrace.evidence.tables import CHECKED
from skiptrace.mining.tables import SKIP_TRIGRAMS
from skiptrace.report.inputs import Study
from skiptrace.report.rendering.document import (
    Column,
    Section,
    Tool,
    meaning,
    prose,
)

EXPLORER = prose("""
    Type a token: what every head does with it, read from the circuits. As source it is attended to by destinations
    (QK) and raises output tokens (OV); as destination it attends to sources; as output token it is raised by
    sources. Scores are centred as in the tables; those of later layers are read as if the head's input were the
    embedding. Below it are the skip-trigrams that contain it, with their evidence, and places in the held-out text.
""")

SKIPS = (
    "Sort by any column, filter by head, by what is consistent, used on text as it is or supported by the corpus, by "
    "what survives every test, by copying (the output is the source, spaces and case aside), by words alone, by the "
    "least effect and lift; a token leads to the explorer. What is chosen "
    "stands in the page's address; CSV saves the rows that are left."
)
# The three words of evidence, which stand together wherever one is said, and whether all tests were passed.
VERDICTS = {
    "Consistent": CHECKED["consistent"],
    "On text": CHECKED["use"],
    "Corpus": CHECKED["support"],
    "Survives": CHECKED["survives"],
}
SHOWN = {
    "Mined": SKIP_TRIGRAMS["rank"],
    "Saves": ROWS["nats"],
    "QK": SKIP_TRIGRAMS["qk"],
    "OV": SKIP_TRIGRAMS["ov"],
    "Score": SKIP_TRIGRAMS["score"],
    "Effect": CHECKED["effect_nats"],
    "Lift": CHECKED["corpus_lift"],
    **VERDICTS,
}
# Beside those, in the tables of the explorer.
LOOKED_UP = {
    "QK": SKIP_TRIGRAMS["qk"],
    "OV": SKIP_TRIGRAMS["ov"],
    "Effect (nats)": CHECKED["effect_nats"],
    "Random rows": CHECKED["null_mean"],
    "p(out)": CHECKED["p_out"],
    "A … B C": CHECKED["corpus_count"],
    "Lift": CHECKED["corpus_lift"],
    **VERDICTS,
}

PATTERNS = prose("""
    Attention on short texts. Point at a token, or move with the arrow keys: the shaded tokens are those it attends
    to, or those that attend to it. Choose a head by its thumbnail; rows are destinations, columns sources. Shown by
    loss, each token is shaded by how badly it was predicted; by what the deepest paths save, orange where attention
    helps: the rise of the loss without the paths through as many heads as the model has layers.
""")

CARDS = (
    "All that is known of one head: what kind it is, where it attends, what it reads and writes, what the model loses "
    "without it, whom it works with, when it formed, and how it looks in a model of another seed. Every number stands "
    "beside what chance gives."
)

MAPS = (
    "The OV circuit of a head for its leading sources, against themselves as output tokens, and its QK circuit for the "
    "leading destinations, against these sources. Orange raises, purple lowers."
)


def explorer(study: Study) -> Section:
    """What every head does with one token."""
    columns = tuple(Column(heading, False, meaning(column)) for heading, column in LOOKED_UP.items())
    return Section("explorer", "Token explorer", [], [Tool("explorer", EXPLORER, columns)])


def all_skip_trigrams(study: Study) -> Section | None:
    """Skip-trigrams of all models in one table."""
    if not _any_heads(study):
        return None
    columns = tuple(Column(heading, False, meaning(column)) for heading, column in SHOWN.items())
    table = (
        f"At most {study.settings.report.explorer_rows:,} rows a model: those with evidence, supported by the corpus "
        "and worth most first, then the others in the order in which they were mined (sort by Mined for that order "
        f"alone). {SKIPS}"
    )
    return Section("skip-trigrams", "All skip-trigrams", [], [Tool("skips", table, columns)])


def cards(study: Study) -> Section | None:
    """What is known of each head, in one place."""
    return Section("head-cards", "Head cards", [], [Tool("cards", CARDS)]) if _any_heads(study) else None


def maps(study: Study) -> Section | None:
    """Corners of the circuits of every head."""
    return Section("maps", "QK and OV maps", [], [Tool("maps", MAPS)]) if _any_heads(study) else None


def patterns(study: Study) -> Section | None:
    """Attention on short texts."""
    return Section("patterns", "Attention patterns", [], [Tool("patterns", PATTERNS)]) if _any_heads(study) else None


def _any_heads(study: Study) -> bool:
    return any(model.params.n_layers > 0 for model in study.results.models.values())
