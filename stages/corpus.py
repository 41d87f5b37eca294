"""Gather the documents of a corpus and split them.

Reads   params.yaml  corpora.<c>
Writes  data/corpora/<c>/documents.parquet   doc_id, source, split (train | valid), text
"""

from tqdm import tqdm

from skiptrace.config.corpora import load_corpus
from skiptrace.corpora import documents, readers
from skiptrace.errors import run
from skiptrace.files import write_table
from stages.common import CORPORA, PARAMS, asked_for


def main() -> None:
    """Read one corpus."""
    name = asked_for("corpus", __doc__)
    params = load_corpus(name, PARAMS)
    found = tqdm(readers.read(params, name), f"reading {name}", unit=" files", disable=None)
    table = documents.to_table(found, params.valid_share, name)
    write_table(CORPORA / name / "documents.parquet", table)


if __name__ == "__main__":
    run(main)
