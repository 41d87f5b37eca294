"""Byte-level byte-pair encoding, and the text of a token for people."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from skiptrace.config.tokenizers import TokenizerParams
from skiptrace.errors import InputError
from skiptrace.progress import progress

BOS = "<|bos|>"
UNKNOWN = "<|unknown|>"
BOS_ID = 0
CHARACTERS = 2**21  # of the documents that are encoded at once


def train(texts: Iterable[str], params: TokenizerParams, name: str) -> Tokenizer:
    """Make the tokenizer that the parameters ask for; token 0 is the start of a document.

    Raises:
        InputError: the text does not support so many tokens; names the key.
    """
    return _train_words(texts) if params.vocab_size is None else _train_bpe(texts, params.vocab_size, name)


def _train_words(texts: Iterable[str]) -> Tokenizer:
    """One token for each word between spaces; token 1 stands for words that training text lacks."""
    tokenizer = Tokenizer(models.WordLevel(unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.WordLevelTrainer(vocab_size=2**31 - 1, special_tokens=[BOS, UNKNOWN], show_progress=False)
    tokenizer.train_from_iterator(progress(texts, "counting words"), trainer)
    return tokenizer


def _train_bpe(texts: Iterable[str], vocab_size: int, name: str) -> Tokenizer:
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
    tokenizer.train_from_iterator(progress(texts, "counting words"), trainer)
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
    return guarded(lambda: Tokenizer.from_file(str(path)), path)


def guarded(make: Callable[[], Tokenizer], path: Path) -> Tokenizer:
    """Make a tokenizer from a file of unknown worth and try it on a text.

    The library panics on some contents, which is no Exception and prints lines of its own; they are held back.

    Raises:
        InputError: it does not succeed; names the file.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        made = make()
        made.encode("A text.", add_special_tokens=False)
        return made
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        raise InputError(f"{path}: not a readable tokenizer ({error})") from None
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def dtype_of(tokenizer: Tokenizer) -> np.dtype:
    """The smallest type of an array that holds the ids of a tokenizer."""
    return np.dtype("<u2" if tokenizer.get_vocab_size() <= 2**16 else "<i4")


def encode(tokenizer: Tokenizer, texts: Iterable[str], what: str) -> Iterator[np.ndarray]:
    """Encode documents, some of them at once on all processors; yield the ids `[n_tokens]` of each, led by BOS.

    Text that spells a special token is encoded as plain text.
    """
    tokenizer.encode_special_tokens = True
    dtype = dtype_of(tokenizer)
    for batch in _batches(iter(progress(texts, f"encoding {what}", unit=" documents"))):
        for encoding in tokenizer.encode_batch_fast(batch, add_special_tokens=False):
            yield np.array([BOS_ID, *encoding.ids], dtype)


def _batches(texts: Iterator[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    waiting = 0
    for text in texts:
        batch.append(text)
        waiting += len(text)
        if waiting >= CHARACTERS:
            yield batch
            batch, waiting = [], 0
    if batch:
        yield batch


def vocabulary(tokenizer: Tokenizer, stream: np.ndarray) -> pa.Table:
    """The table `token_id, token, count, probability` over the training stream."""
    size = tokenizer.get_vocab_size()
    counts = np.zeros(size, np.int64)
    for start in range(0, len(stream), 2**22):
        counts += np.bincount(stream[start : start + 2**22], minlength=size)
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
