"""Gather the documents of a corpus and split them.

Reads   params.yaml  corpora.<c>
Writes  data/corpora/<c>/documents.parquet   doc_id, source, split (train | valid), text
        data/corpora/<c>/truth.parquet       of a planted corpus: kind, source, destination, out, probability
"""

from tqdm import tqdm

from skiptrace.config.corpora import PlantedCorpus, load_corpus
from skiptrace.corpora import documents, planted, readers
from skiptrace.files import write_table
from stages.common import CORPORA, PARAMS, asked_for, run


def main() -> None:
    """Read one corpus."""
    name = asked_for("corpus", __doc__)
    params = load_corpus(name, PARAMS)
    found = tqdm(readers.read(params, name), f"reading {name}", unit=" files", disable=None)
    table = documents.to_table(found, params.valid_share, name)
    write_table(CORPORA / name / "documents.parquet", table)
    if isinstance(params, PlantedCorpus):
        write_table(CORPORA / name / "truth.parquet", planted.truth(params))


if __name__ == "__main__":
    run(main)
