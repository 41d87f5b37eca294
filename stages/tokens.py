"""Train a tokenizer on the training documents and encode both splits.

Reads   params.yaml  tokenizers.<c>
        data/corpora/<c>/documents.parquet
Writes  data/tokens/<c>/tokenizer.json
        data/tokens/<c>/vocab.parquet            token_id, token, count, probability
        data/tokens/<c>/train.npy, valid.npy     token ids, each document led by token 0
        data/tokens/<c>/sizes.json               documents, characters and tokens per split
"""

from skiptrace.config.base import load
from skiptrace.config.tokenizers import TokenizerParams
from skiptrace.corpora.documents import texts
from skiptrace.files import write_array, write_json, write_table, write_text
from skiptrace.tokens import tokenizer
from stages.common import CORPORA, PARAMS, TOKENS, asked_for, run


def main() -> None:
    """Tokenize one corpus."""
    name = asked_for("corpus", __doc__)
    params = load(TokenizerParams, f"tokenizers.{name}", PARAMS)
    split_texts = {split: texts(CORPORA / name / "documents.parquet", split) for split in ("train", "valid")}
    trained = tokenizer.train(split_texts["train"], params, name)
    streams = {split: tokenizer.encode(trained, t, f"{name} {split}") for split, t in split_texts.items()}
    folder = TOKENS / name
    write_text(folder / "tokenizer.json", trained.to_str(pretty=True))
    write_table(folder / "vocab.parquet", tokenizer.vocabulary(trained, streams["train"]))
    for split, stream in streams.items():
        write_array(folder / f"{split}.npy", stream)
    sizes = {
        split: {"documents": len(t), "characters": sum(map(len, t)), "tokens": len(streams[split])}
        for split, t in split_texts.items()
    }
    write_json(folder / "sizes.json", sizes)


if __name__ == "__main__":
    run(main)
