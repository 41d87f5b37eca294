"""Tokenizers that were made elsewhere: tokenizer.json, or GPT-2's vocab.json and merges.txt, and the files beside."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from skiptrace.errors import InputError
from skiptrace.files import pointer, read_json
from skiptrace.tokens.texts import BYTE_OF
from skiptrace.tokens.tokenizer import guarded

PAIRS = (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"))  # the second as GPT-2 was first released
ADDED, SPECIAL, SETTINGS = "added_tokens.json", "special_tokens_map.json", "tokenizer_config.json"
PLAIN = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
UNLIKELY = -100.0  # the log-probability, below all others, of an added token as a piece of text
# What regular expressions that try again and again need long for, or panic on.
TRIAL = """
import sys
from tokenizers import Tokenizer
tokenizer = Tokenizer.from_str(sys.stdin.read())
runs = ("a", "A", " ", "1", ".", "a ", "aA1_", "\\n")
for text in ["A text.", *(run * 1000 + end for run in runs for end in ("", "!", "a"))]:
    try:
        tokenizer.encode(text, add_special_tokens=False)
    except Exception:
        pass
"""
PATIENCE = 30  # seconds for these


class Existing(NamedTuple):
    """A tokenizer whose start-of-document token has the id 0, and the id which that token had before."""

    tokenizer: Tokenizer
    bos_id: int


def load_existing(path: Path, bos: str, key: str) -> Existing:
    """Read a tokenizer.json, or a folder with one or with GPT-2's two files, and give `bos` the id 0.

    The two tokens change places, all others keep their ids. Padding, truncation and templates are taken out. Of a
    folder, the files beside say which tokens were added and which are special.

    Raises:
        InputError: a file is missing, damaged or a pointer, ids have gaps, the vocabulary has no token `bos`, or a
            regular expression fails or takes too long on plain text; names it.
    """
    content = _content(path, key)
    model: Any = content.get("model")
    ids = _ids(model, path)
    added = content.get("added_tokens") or []
    if not isinstance(added, list) or not all(isinstance(t, dict) and type(t.get("id")) is int for t in added):
        raise InputError(f"{path}: added_tokens: expected a list of tokens, each with its id")
    if os.path.isdir(path):  # which no path is too long for, unlike those of pathlib
        added = _beside(path, added, ids)
    ids |= {str(t.get("content")): t["id"] for t in added}
    if bos not in ids:
        raise InputError(f"{key}.bos: {path} has no token {bos!r}; name one that it has, such as its end of text")
    if sorted(set(ids.values())) != list(range(len(ids))):
        missing = min(set(range(len(ids))) - set(ids.values()))
        raise InputError(
            f"{path}: the ids of its {len(ids)} tokens are not 0 to {len(ids) - 1}: no token has {missing}"
        )
    bos_id = ids[bos]
    exchange = {bos_id: 0, 0: bos_id}
    # Of added tokens that the model does not have, the library would count the ids anew.
    renumbered = {piece: exchange.get(i, i) for piece, i in ids.items()}
    if isinstance(model["vocab"], list):
        likely = {piece: score for piece, score in model["vocab"]}
        model["vocab"] = [[p, likely.get(p, UNLIKELY)] for p in sorted(renumbered, key=lambda p: renumbered[p])]
        model["unk_id"] = exchange.get(model.get("unk_id"), model.get("unk_id"))
    else:
        model["vocab"] = renumbered
    content["added_tokens"] = [t | {"id": exchange.get(t["id"], t["id"])} for t in added]
    content |= {"padding": None, "truncation": None, "post_processor": None}
    said = json.dumps(content)
    if '"Regex"' in said:
        _try_expressions(said, path)
    return Existing(guarded(lambda: Tokenizer.from_str(said), path), bos_id)


def _ids(model: Any, path: Path) -> dict[str, int]:
    """The id of each piece of a model: a mapping, or the places in the list of a Unigram model."""
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(vocabulary, list):
        pieces = [entry[0] for entry in vocabulary if isinstance(entry, list) and len(entry) == 2]
        numbers = {piece: i for i, piece in enumerate(pieces) if isinstance(piece, str)}
        if len(numbers) == len(vocabulary) and type(model.get("unk_id")) in (int, type(None)):
            return numbers
    elif isinstance(vocabulary, dict) and all(type(i) is int for i in vocabulary.values()):
        return dict(vocabulary)
    raise InputError(f"{path}: model.vocab: expected a mapping from tokens to ids, or a list of tokens and scores")


def _content(path: Path, key: str) -> dict[str, Any]:
    """The mapping of a tokenizer.json, made from GPT-2's two files where there is none."""
    file = path / "tokenizer.json" if os.path.isdir(path) else path
    if os.path.isfile(file):
        content = read_json(_fetched(file))
        if not isinstance(content, dict):
            raise InputError(f"{file}: not a readable tokenizer (expected a mapping)")
        return content
    for names in PAIRS:
        vocabulary, merges = (path / name for name in names)
        if os.path.isfile(vocabulary) and os.path.isfile(merges):
            return _gpt2(vocabulary, merges, path)
    expected = " or ".join(["tokenizer.json", *(" and ".join(pair) for pair in PAIRS)])
    raise InputError(f"{key}.path: no {expected} at {path}")


def _fetched(file: Path) -> Path:
    if said := pointer(file):
        raise InputError(f"{file}: {said}")
    return file


def _gpt2(vocabulary: Path, merges: Path, folder: Path) -> dict[str, Any]:
    pair = [str(_fetched(file)) for file in (vocabulary, merges)]
    tokenizer = guarded(lambda: Tokenizer(models.BPE.from_file(*pair)), vocabulary)
    settings, named = _mapping(folder / SETTINGS), _mapping(folder / SPECIAL)
    pieces = tokenizer.get_vocab().keys() - _mapping(folder / ADDED).keys() - _special(settings) - _special(named)
    strange = [piece for piece in pieces if piece.endswith("</w>") or not set(piece) <= BYTE_OF.keys()]
    if strange:
        raise InputError(
            f"{vocabulary}: not byte-level as GPT-2's vocabulary is: it has {min(strange)!r}; use a tokenizer.json"
        )
    prefix = settings.get("add_prefix_space") is True
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    tokenizer.decoder = decoders.ByteLevel()
    content: dict[str, Any] = json.loads(tokenizer.to_str())
    return content


def _beside(folder: Path, added: list[dict[str, Any]], ids: dict[str, int]) -> list[dict[str, Any]]:
    """The added tokens, with those that the files beside a tokenizer add, and made special where they say so."""
    settings, extra, named = (_mapping(folder / name) for name in (SETTINGS, ADDED, SPECIAL))
    found = {str(t.get("content")): t for t in added}
    for number, token in _entries(folder / SETTINGS, settings.get("added_tokens_decoder")).items():
        if isinstance(token, dict) and isinstance(token.get("content"), str) and number.isdecimal():
            flags = {k: v for k, v in token.items() if k in PLAIN and isinstance(v, bool)}
            found.setdefault(token["content"], PLAIN | flags | {"content": token["content"], "id": int(number)})
    for text, place in extra.items():
        if type(place) is not int:
            raise InputError(f"{folder / ADDED}: {text!r}: expected its id, got {place!r}")
        found.setdefault(text, PLAIN | {"content": text, "id": place})
    for text in _special(settings) | _special(named):
        if text in found or text in ids:
            token = found.get(text, PLAIN | {"content": text, "id": ids.get(text)})
            found[text] = token | {"special": True}
    for text, token in found.items():
        if ids.get(text, token["id"]) != token["id"]:
            raise InputError(f"{folder}: {text!r} has the id {ids[text]} in the vocabulary and {token['id']} beside it")
    return sorted(found.values(), key=lambda t: int(t["id"]))


def _special(content: dict[str, Any]) -> set[str]:
    """The texts under keys such as bos_token, each a string or a mapping with one."""
    values = [value for key, value in content.items() if key.endswith("_token")]
    several = content.get("additional_special_tokens")
    values += several if isinstance(several, list) else []
    texts = [value.get("content") if isinstance(value, dict) else value for value in values]
    return {text for text in texts if isinstance(text, str) and text}


def _mapping(file: Path) -> dict[str, Any]:
    """A JSON mapping; an empty one where there is no file."""
    return _entries(file, read_json(_fetched(file))) if file.is_file() else {}


def _entries(file: Path, value: Any) -> dict[str, Any]:
    if value is not None and not isinstance(value, dict):
        raise InputError(f"{file}: expected a mapping")
    return value or {}


def _try_expressions(content: str, path: Path) -> None:
    """Encode texts in another process, which can be ended when it does not end by itself.

    Raises:
        InputError: it fails, or takes too long.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-c", TRIAL], input=content.encode(), capture_output=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        why = f"takes more than {PATIENCE} seconds for plain text"
    else:
        if not done.returncode:
            return
        why = f"fails on plain text ({_panic(done.stderr.decode(errors='replace'))})"
    raise InputError(f"{path}: not a readable tokenizer: a regular expression of it {why}")


def _panic(printed: str) -> str:
    lines = [line for line in printed.splitlines() if line.strip()]
    return lines[-1].rpartition("PanicException: ")[2] if lines else "without a word"
