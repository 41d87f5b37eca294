"""Gather the documents of a corpus, split them, and say what was found.

Reads   params.yaml  corpora.<c>
Writes  data/corpora/<c>/documents.parquet   the documents, each in one split
        data/corpora/<c>/card.json           sizes, what was left out, what validation text shares with training
        data/corpora/<c>/truth.parquet       of a planted corpus: what it holds
"""

from functools import partial

from skiptrace.config.corpora import PlantedCorpus, load_corpus
from skiptrace.corpora import card, documents, planted, readers
from skiptrace.corpora.tables import DOCUMENTS, TRUTH
from skiptrace.layout import CORPORA, PARAMS
from skiptrace.progress import progress
from stages.common import asked_for, run, wrote


def main() -> None:
    """Read one corpus."""
    name = asked_for("corpus", __doc__)
    params, folder, notes = load_corpus(name, PARAMS), CORPORA / name, card.Notes()
    found = progress(readers.read(params, name, notes), f"reading {name}", unit=" documents")
    path = DOCUMENTS.file(folder)
    written = documents.write(found, params.valid_share, name, notes, path)
    card.write(folder / "card.json", card.with_leak(written, partial(documents.texts, path)))
    if isinstance(params, PlantedCorpus):
        TRUTH.write(folder, planted.truth(params))
    wrote(folder, f"{written.train.documents:,} documents to train on, {written.valid.documents:,} to validate on")


if __name__ == "__main__":
    run(main)
