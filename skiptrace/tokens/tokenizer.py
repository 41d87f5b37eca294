"""Byte-level byte-pair encoding, words as tokens, and encoding with any tokenizer."""

import contextlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from skiptrace.config.tokenizers import TokenizerParams
from skiptrace.errors import InputError
from skiptrace.files import sha256
from skiptrace.progress import progress
from skiptrace.seals import damaged
from skiptrace.tokens.texts import TokenTexts

BOS = "<|bos|>"
UNKNOWN = "<|unknown|>"
BOS_ID = 0
CHARACTERS = 2**21  # of the documents that are encoded at once
WORD = 2**12  # characters of a word that merges are learned from: the trainer takes time with the square of it
LONG = re.compile(rf"(?<!\S)\S{{{WORD + 1},}}|(?<!\s)\s{{{WORD + 1},}}")


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
    tokenizer.train_from_iterator(map(_without_special, progress(texts, "counting words")), trainer)
    return tokenizer


def _without_special(text: str) -> str:
    # The trainer would give a word that spells a special token a second id.
    if BOS not in text and UNKNOWN not in text:
        return text
    return " ".join(word for word in text.split() if word not in (BOS, UNKNOWN))


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
    tokenizer.train_from_iterator(_divided(progress(texts, "counting words")), trainer)
    reached = tokenizer.get_vocab_size()
    if reached < vocab_size:
        raise InputError(
            f"tokenizers.{name}.vocab_size: the training text supports only {reached} tokens, "
            f"not {vocab_size}; lower it or add text"
        )
    return tokenizer


def _divided(texts: Iterable[str]) -> Iterator[str]:
    """The texts, what has no blank in it (such as a sequence of bases) or nothing else cut into pieces of `WORD`."""
    for text in texts:
        start = 0
        for run in LONG.finditer(text):
            yield text[start : run.start()]
            yield from (text[i : min(i + WORD, run.end())] for i in range(run.start(), run.end(), WORD))
            start = run.end()
        yield text[start:]


def load(path: Path, digest: str | None = None) -> Tokenizer:
    """Read a tokenizer.json, which has no place for a checksum; `digest` is the SHA-256 it was written with, if known.

    Raises:
        InputError: the file is missing, damaged or not a tokenizer.
    """
    if digest is not None and path.is_file() and sha256(path) != digest:
        raise damaged(path)
    return guarded(lambda: Tokenizer.from_file(str(path)), path)


def guarded(make: Callable[[], Tokenizer], path: Path) -> Tokenizer:
    """Make a tokenizer from a file of unknown worth and try it on a text, whose letters it need not know.

    Raises:
        InputError: it does not succeed; names the file.
    """
    with held_back(f"{path}: not a readable tokenizer"):
        made = make()
        with contextlib.suppress(Exception):
            made.encode("A text.", add_special_tokens=False)
    return made


@contextlib.contextmanager
def held_back(said: str) -> Iterator[None]:
    """Turn whatever the tokenizers library raises into one line that begins with `said`.

    It panics on some contents and texts, which is no Exception and prints lines of its own; they are held back.

    Raises:
        InputError: the block raised anything but an interruption or an InputError of its own.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit, InputError):
        raise
    except BaseException as error:
        raise InputError(f"{said} ({error})") from None
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def unknown_id(tokenizer: Tokenizer) -> int | None:
    """The token that stands for text which the vocabulary lacks, whatever its name; None if there is none."""
    if isinstance(tokenizer.model, models.Unigram):
        number = json.loads(tokenizer.to_str())["model"].get("unk_id")
        return None if number is None else int(number)
    name = getattr(tokenizer.model, "unk_token", None)
    return None if name is None else tokenizer.token_to_id(name)


def special_ids(tokenizer: Tokenizer) -> set[int]:
    """The tokens that text never becomes, even if it spells them."""
    return {i for i, token in tokenizer.get_added_tokens_decoder().items() if token.special}


def dtype_of(tokenizer: Tokenizer) -> np.dtype:
    """The smallest type of an array that holds the ids of a tokenizer."""
    return np.dtype("<u2" if tokenizer.get_vocab_size() <= 2**16 else "<i4")


def encode(tokenizer: Tokenizer, texts: Iterable[str], what: str) -> Iterator[np.ndarray]:
    """Encode documents, some of them at once on all processors; yield the ids `[n_tokens]` of each, led by BOS.

    Text that spells a special token is encoded as plain text, or as unknown where no other token is that text.

    Raises:
        InputError: the tokenizer fails on a text, or has nothing but a special token for it; names `what`.
    """
    tokenizer.encode_special_tokens = True
    dtype, unknown, special = dtype_of(tokenizer), unknown_id(tokenizer), special_ids(tokenizer)
    for batch in _batches(iter(progress(texts, f"encoding {what}", unit=" documents"))):
        with held_back(f"{what}: its tokenizer fails on the text"):
            encodings = tokenizer.encode_batch_fast(batch, add_special_tokens=False)
        for encoding in encodings:
            found = encoding.ids
            if not special.isdisjoint(found):
                if unknown is None:
                    spelled = next(tokenizer.id_to_token(i) for i in found if i in special)
                    raise InputError(f"{what}: a text spells {spelled!r}, for which its tokenizer has no other token")
                found = [unknown if i in special else i for i in found]
            yield np.array([BOS_ID, *found], dtype)


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
    """The vocabulary with its counts in the training stream (`VOCAB`).

    Raises:
        InputError: the tokenizer's decoder fails on a token.
    """
    size, text_of = tokenizer.get_vocab_size(), TokenTexts(tokenizer)
    counts = np.zeros(size, np.int64)
    for start in range(0, len(stream), 2**22):
        counts += np.bincount(stream[start : start + 2**22], minlength=size)
    with held_back("the decoder of the tokenizer fails on a token"):
        texts = [text_of(i) for i in range(size)]
    return pa.table(
        {
            "token_id": pa.array(range(size), pa.int32()),
            "token": texts,
            "count": counts,
            "probability": counts / counts.sum(),
        }
    )
