"""Make a tokenizer from the training documents, or take one that exists, and encode both splits.

Reads   params.yaml  tokenizers.<c>
        data/corpora/<c>/documents.parquet, card.json
        imports/, the tokenizer that tokenizers.<c>.path names
Writes  data/tokens/<c>/tokenizer.json
        data/tokens/<c>/vocab.parquet            the tokens and how often they occur
        data/tokens/<c>/train.npy, valid.npy     token ids, each document led by token 0
        data/tokens/<c>/sizes.json               documents, characters and tokens per split; characters that a
                                                 sample of them loses when it is encoded and decoded; the digest
                                                 of tokenizer.json, which has no place for a checksum of its own
        data/tokens/<c>/origin.json              of a tokenizer that existed: the id that token 0 had there
"""

from dataclasses import asdict
from functools import partial
from itertools import chain

from skiptrace.config.base import load
from skiptrace.config.tokenizers import TokenizerParams
from skiptrace.corpora import card
from skiptrace.corpora.documents import texts
from skiptrace.corpora.tables import DOCUMENTS
from skiptrace.files import read_tokens, sha256, write_json, write_stream, write_text
from skiptrace.layout import CORPORA, IMPORTS, PARAMS, TOKENS
from skiptrace.tokens import survival, tokenizer
from skiptrace.tokens.existing import load_existing
from skiptrace.tokens.tables import VOCAB
from stages import needs
from stages.common import asked_for, run, wrote


def main() -> None:
    """Tokenize one corpus."""
    name = asked_for("corpus", __doc__)
    params = load(TokenizerParams, f"tokenizers.{name}", PARAMS)
    folder, of_split = TOKENS / name, partial(texts, DOCUMENTS.file(CORPORA / name))
    sizes = card.read(CORPORA / name / "card.json")
    encoded = needs.of_encoding(sizes.longest_characters)
    needs.state(f"tokens {name}", encoded, f"corpora.{name}.cut", f"the length of {sizes.longest_source}")
    bos_id = None
    place = params.place(IMPORTS)
    if place is not None and params.bos is not None:
        made, bos_id = load_existing(place, params.bos, f"tokenizers.{name}")
    else:
        made = tokenizer.train(of_split("train"), params, name)
    lost = survival.survival(
        made,
        chain(of_split("train"), of_split("valid")),
        sizes.train.characters + sizes.valid.characters,
        f"corpora.{name}",
    )
    survival.check(lost, params.max_lost, name)
    if bos_id is None:
        (folder / "origin.json").unlink(missing_ok=True)
    else:
        write_json(folder / "origin.json", {"bos": params.bos, "bos_id": bos_id}, sealed=True)
    write_text(folder / "tokenizer.json", made.to_str(pretty=True))
    lengths = {
        split: write_stream(
            folder / f"{split}.npy",
            tokenizer.dtype_of(made),
            tokenizer.encode(made, of_split(split), f"corpora.{name}, {split}"),
        )
        for split in ("train", "valid")
    }
    VOCAB.write(folder, tokenizer.vocabulary(made, read_tokens(folder / "train.npy", made.get_vocab_size())))
    splits = {"train": sizes.train, "valid": sizes.valid}
    content: dict[str, object] = {
        split: {"documents": size.documents, "characters": size.characters, "tokens": lengths[split]}
        for split, size in splits.items()
    }
    content |= {"survival": asdict(lost), "tokenizer_sha256": sha256(folder / "tokenizer.json")}
    write_json(folder / "sizes.json", content, sealed=True)
    wrote(folder, f"{made.get_vocab_size():,} tokens in the vocabulary, {lengths['train']:,} in the training text")


if __name__ == "__main__":
    run(main)
