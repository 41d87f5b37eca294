"""Mine the largest circuit entries into tables.

Reads   params.yaml  mining
        data/circuits/<m>/, data/models/<m>/config.json, data/tables/<m>/heads.parquet
        data/tokens/<corpus of m>/vocab.parquet, data/ngrams/<corpus of m>/bigrams.parquet
Writes  data/tables/<m>/bigrams.parquet         largest entries of the direct path
        data/tables/<m>/agreement.parquet       rank correlation with the corpus, per token
        data/tables/<m>/skip_trigrams.parquet   source … destination → out, all heads
        data/tables/<m>/positional.parquet      source → out of primarily positional heads
        data/tables/<m>/copies.parquet          the tokens that each head copies most
"""

from pathlib import Path

from tqdm import tqdm

from skiptrace.config.base import load
from skiptrace.config.mining import MiningParams
from skiptrace.config.models import ModelParams
from skiptrace.expansion.reader import Tiles
from skiptrace.files import read_table, write_table
from skiptrace.mining import bigrams, skip_trigrams, vocabulary
from skiptrace.models.checkpoint import read_config
from stages.common import CIRCUITS, MODELS, NGRAMS, PARAMS, TABLES, TOKENS, asked_for, run


def main() -> None:
    """Mine one model."""
    name = asked_for("model", __doc__)
    params = load(MiningParams, "mining", PARAMS)
    corpus = load(ModelParams, f"models.{name}", PARAMS).corpus
    folder, out = CIRCUITS / name, TABLES / name
    vocab = vocabulary.load(TOKENS / corpus / "vocab.parquet", read_config(MODELS / name / "config.json").d_vocab)
    counts = read_table(NGRAMS / corpus / "bigrams.parquet").to_pandas()
    heads = read_table(out / "heads.parquet").to_pandas()

    table, agreement = bigrams.mine(Tiles(folder, "direct", "none", "none"), counts, vocab, params)
    write_table(out / "bigrams.parquet", table)
    write_table(out / "agreement.parquet", agreement)
    every = [of(folder, *head) for head in heads[["layer", "head"]].itertuples(index=False)]
    positional = [circuits for circuits, chosen in zip(every, heads["positional"], strict=True) if chosen]
    shown = tqdm(every, "mining heads", disable=None)
    write_table(out / "skip_trigrams.parquet", skip_trigrams.mine(shown, vocab, params))
    write_table(out / "positional.parquet", skip_trigrams.mine_positional(positional, vocab, params))
    write_table(out / "copies.parquet", skip_trigrams.mine_copies(every, vocab, params))


def of(folder: Path, layer: int, head: int) -> skip_trigrams.Circuits:
    """The circuits of one head, read when they are iterated over."""
    qk, ov = (Tiles(folder, name, str(layer), str(head)) for name in ("qk", "ov"))
    return skip_trigrams.Circuits(layer, head, qk, ov)


if __name__ == "__main__":
    run(main)
