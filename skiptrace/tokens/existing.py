"""Tokenizers that were made elsewhere: tokenizer.json, or GPT-2's vocab.json and merges.txt."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from skiptrace.errors import InputError
from skiptrace.files import read_json
from skiptrace.tokens.tokenizer import guarded

PAIRS = (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"))  # the second as GPT-2 was first released


class Existing(NamedTuple):
    """A tokenizer whose start-of-document token has the id 0, and the id which that token had before."""

    tokenizer: Tokenizer
    bos_id: int


def load_existing(path: Path, bos: str, key: str) -> Existing:
    """Read a tokenizer.json, or a folder with one or with GPT-2's two files, and give `bos` the id 0.

    The two tokens change places, all others keep their ids. Padding, truncation and templates are taken out.

    Raises:
        InputError: a file is missing or damaged, ids have gaps, or the vocabulary has no token `bos`; names it.
    """
    content = _content(path, key)
    vocabulary = content.get("model", {}).get("vocab") if isinstance(content.get("model"), dict) else None
    if not isinstance(vocabulary, dict) or not all(type(i) is int for i in vocabulary.values()):
        raise InputError(f"{path}: model.vocab: expected a mapping from tokens to ids; Unigram models have none")
    added = content.get("added_tokens") or []
    if not isinstance(added, list) or not all(isinstance(t, dict) and type(t.get("id")) is int for t in added):
        raise InputError(f"{path}: added_tokens: expected a list of tokens, each with its id")
    ids = vocabulary | {str(t.get("content")): t["id"] for t in added}
    if bos not in ids:
        raise InputError(f"{key}.bos: {path} has no token {bos!r}; name one that it has, such as its end of text")
    if sorted(set(ids.values())) != list(range(len(ids))):
        raise InputError(f"{path}: the ids of its {len(ids)} tokens are not 0 to {len(ids) - 1}")
    bos_id = ids[bos]
    exchange = {bos_id: 0, 0: bos_id}
    # Of added tokens that the model does not have, the library would count the ids anew.
    content["model"]["vocab"] = {piece: exchange.get(i, i) for piece, i in ids.items()}
    content["added_tokens"] = [t | {"id": exchange.get(t["id"], t["id"])} for t in added]
    content |= {"padding": None, "truncation": None, "post_processor": None}
    return Existing(guarded(lambda: Tokenizer.from_str(json.dumps(content)), path), bos_id)


def _content(path: Path, key: str) -> dict[str, Any]:
    """The mapping of a tokenizer.json, made from GPT-2's two files where there is none."""
    file = path / "tokenizer.json" if path.is_dir() else path
    if file.is_file():
        content = read_json(file)
        if not isinstance(content, dict):
            raise InputError(f"{file}: not a readable tokenizer (expected a mapping)")
        return content
    for names in PAIRS:
        vocabulary, merges = (path / name for name in names)
        if vocabulary.is_file() and merges.is_file():
            return _gpt2(vocabulary, merges)
    expected = " or ".join(["tokenizer.json", *(" and ".join(pair) for pair in PAIRS)])
    raise InputError(f"{key}.path: no {expected} at {path}")


def _gpt2(vocabulary: Path, merges: Path) -> dict[str, Any]:
    tokenizer = guarded(lambda: Tokenizer(models.BPE.from_file(str(vocabulary), str(merges))), vocabulary)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    content: dict[str, Any] = json.loads(tokenizer.to_str())
    return content
