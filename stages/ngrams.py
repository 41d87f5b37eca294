"""Count bigrams, and measure the losses of models that know nothing but n-grams.

Reads   data/tokens/<c>/train.npy, valid.npy, vocab.parquet
Writes  data/ngrams/<c>/bigrams.parquet   adjacent pairs of the training text
        data/ngrams/<c>/baselines.json    losses of unigrams and of Kneser–Ney n-grams on valid, nats/token
"""

from skiptrace.files import read_tokens, write_json
from skiptrace.layout import NGRAMS, TOKENS
from skiptrace.tokens import ngrams
from skiptrace.tokens.tables import BIGRAMS, VOCAB
from stages.common import asked_for, run, wrote


def main() -> None:
    """Count one corpus."""
    name = asked_for("corpus", __doc__)
    d_vocab = len(VOCAB.read(TOKENS / name, ["token_id"]))
    train, valid = (read_tokens(TOKENS / name / f"{split}.npy", d_vocab) for split in ("train", "valid"))
    bigrams = ngrams.count_bigrams(train, d_vocab)
    BIGRAMS.write(NGRAMS / name, bigrams.to_table())
    baselines = ngrams.baselines(bigrams, train, valid, d_vocab)
    write_json(NGRAMS / name / "baselines.json", baselines._asdict(), sealed=True)
    longest = len(baselines.ngram_losses)
    wrote(
        NGRAMS / name,
        f"loss {baselines.unigram_loss:.3f} nats by unigrams, {baselines.bigram_loss:.3f} by bigrams, "
        f"{baselines.ngram_losses[-1]:.3f} by {longest}-grams",
    )


if __name__ == "__main__":
    run(main)
