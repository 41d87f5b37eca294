"""Compute what the report's page looks up in a model.

Reads   params.yaml  exploration, mining
        data/models/<m>/, data/tables/<m>/heads.parquet, agreement.parquet, skip_trigrams.parquet
        data/tokens/<corpus of m>/, data/ngrams/<corpus of m>/bigrams.parquet, data/compose/<m>/example_texts.parquet
Writes  data/explore/<m>/entries.parquet    the largest entries of every token in every head, by role
        data/explore/<m>/texts.parquet      texts, and the likeliest next tokens at each place
        data/explore/<m>/patterns.parquet   attention patterns on these texts
        data/explore/<m>/corners.parquet    a corner of both circuits of the head that copies most
        data/explore/<m>/layers.parquet     copying by the summed heads of each layer
        data/explore/<m>/direct.parquet     zero layers: the direct path beside the corpus
"""

import numpy as np
import pyarrow as pa

from skiptrace.config.base import load
from skiptrace.config.exploration import ExplorationParams
from skiptrace.config.mining import MiningParams
from skiptrace.config.models import load_model
from skiptrace.exploration.study import Known, Text, explore
from skiptrace.files import atomic_folder, read_table, read_tokens, write_table
from skiptrace.layout import COMPOSE, EXPLORE, MODELS, NGRAMS, PARAMS, TABLES, TOKENS
from skiptrace.mining import vocabulary
from skiptrace.models import checkpoint
from stages.common import asked_for, run, wrote


def main() -> None:
    """Look one model up."""
    name = asked_for("model", __doc__)
    params, mining = load(ExplorationParams, "exploration", PARAMS), load(MiningParams, "mining", PARAMS)
    corpus = load_model(name, PARAMS).corpus
    model = checkpoint.load(MODELS / name)
    words = vocabulary.load(TOKENS / corpus / "vocab.parquet", model.d_vocab)
    tables = [TABLES / name / f"{file}.parquet" for file in ("heads", "skip_trigrams", "agreement")]
    known = Known(*(read_table(path).to_pandas() for path in (*tables, COMPOSE / name / "example_texts.parquet")))
    valid = np.asarray(read_tokens(TOKENS / corpus / "valid.npy", model.d_vocab))
    text = Text(valid, read_table(NGRAMS / corpus / "bigrams.parquet").to_pandas())

    found = explore(model, known, words, text, mining.min_count, params)
    with atomic_folder(EXPLORE / name) as folder:
        for file, table in found.items():
            write_table(folder / f"{file}.parquet", pa.Table.from_pandas(table, preserve_index=False))
    wrote(EXPLORE / name, f"{found['entries']['token_id'].nunique():,} tokens in {len(known.heads)} heads")


if __name__ == "__main__":
    run(main, "exploration.tokens")
