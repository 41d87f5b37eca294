"""Byte-level byte-pair encoding, and the text of a token for people."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tqdm import tqdm

from skiptrace.config.tokenizers import TokenizerParams
from skiptrace.errors import InputError

BOS = "<|bos|>"
UNKNOWN = "<|unknown|>"
BOS_ID = 0


def train(texts: list[str], params: TokenizerParams, name: str) -> Tokenizer:
    """Make the tokenizer that the parameters ask for; token 0 is the start of a document.

    Raises:
        InputError: the text does not support so many tokens; names the key.
    """
    return _train_words(texts) if params.vocab_size is None else _train_bpe(texts, params.vocab_size, name)


def _train_words(texts: list[str]) -> Tokenizer:
    """One token for each word between spaces; token 1 stands for words that training text lacks."""
    tokenizer = Tokenizer(models.WordLevel(unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.WordLevelTrainer(vocab_size=2**31 - 1, special_tokens=[BOS, UNKNOWN], show_progress=False)
    tokenizer.train_from_iterator(tqdm(texts, "counting words", disable=None), trainer)
    return tokenizer


def _train_bpe(texts: list[str], vocab_size: int, name: str) -> Tokenizer:
    """Byte-level BPE: after the start of a document 256 bytes, then merges."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[BOS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(tqdm(texts, "counting words", disable=None), trainer)
    reached = tokenizer.get_vocab_size()
    if reached < vocab_size:
        raise InputError(
            f"tokenizers.{name}.vocab_size: the training text supports only {reached} tokens, "
            f"not {vocab_size}; lower it or add text"
        )
    return tokenizer


def load(path: Path) -> Tokenizer:
    """Read a tokenizer.json.

    Raises:
        InputError: the file is missing or not a tokenizer.
    """
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise InputError(f"{path}: not a readable tokenizer ({error})") from None


def encode(tokenizer: Tokenizer, texts: list[str], what: str) -> np.ndarray:
    """Encode documents into one stream of token ids `[n_tokens]`, each document led by BOS.

    Text that spells a special token is encoded as plain text.
    """
    tokenizer.encode_special_tokens = True
    small = tokenizer.get_vocab_size() <= 2**16
    pieces = [np.asarray(ids, dtype="<u2" if small else "<i4") for ids in _ids(tokenizer, texts, what)]
    return np.concatenate(pieces)


def _ids(tokenizer: Tokenizer, texts: list[str], what: str, batch: int = 64) -> Iterator[list[int]]:
    for start in tqdm(range(0, len(texts), batch), f"encoding {what}", disable=None):
        for encoding in tokenizer.encode_batch(texts[start : start + batch], add_special_tokens=False):
            yield [BOS_ID, *encoding.ids]


def vocabulary(tokenizer: Tokenizer, stream: np.ndarray) -> pa.Table:
    """The table `token_id, token, count, probability` over the training stream."""
    size = tokenizer.get_vocab_size()
    counts = np.bincount(stream, minlength=size).astype(np.int64)
    return pa.table(
        {
            "token_id": pa.array(range(size), pa.int32()),
            "token": [token_text(tokenizer, i) for i in range(size)],
            "count": counts,
            "probability": counts / counts.sum(),
        }
    )


def token_text(tokenizer: Tokenizer, token_id: int) -> str:
    r"""The text of one token; bytes that are no whole UTF-8 character read as `\xe2`."""
    piece = tokenizer.id_to_token(token_id)
    if piece is None or isinstance(tokenizer.model, models.WordLevel) or not set(piece) <= BYTE_OF.keys():
        return piece or f"<{token_id}>"
    return bytes(BYTE_OF[c] for c in piece).decode("utf-8", errors="backslashreplace")


def _byte_of() -> dict[str, int]:
    # GPT-2's alphabet: printable Latin-1 bytes stand for themselves, the others, in order,
    # for the characters from U+0100 on.
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in printable]
    return {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(others)}


BYTE_OF = _byte_of()
