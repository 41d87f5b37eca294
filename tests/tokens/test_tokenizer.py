import re
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from skiptrace.config.tokenizers import TokenizerParams
from skiptrace.errors import InputError
from skiptrace.files import sha256
from skiptrace.tokens import tokenizer as tk
from skiptrace.tokens.texts import token_text

TEXTS = ["def f(x):\n    return x\n", "def g(y):\n    return y + 1\n", "naïve café — ∑ x\n" * 3] * 5


def encode(tokenizer: Tokenizer, texts: list[str], what: str) -> np.ndarray:
    return np.concatenate(list(tk.encode(tokenizer, texts, what)))


TRAINED = tk.train(TEXTS, TokenizerParams(vocab_size=280), "code")


def test_the_vocabulary_has_the_size_asked_for_and_starts_with_bos():
    assert TRAINED.get_vocab_size() == 280
    assert TRAINED.id_to_token(0) == tk.BOS


@given(st.text(max_size=60))
def test_any_text_survives_encoding(text):
    ids = encode(TRAINED, [text], "x")
    assert ids[0] == tk.BOS_ID
    assert TRAINED.decode([int(i) for i in ids[1:]]) == text


@given(st.text(max_size=60))
def test_the_texts_of_tokens_join_to_the_text(text):
    ids = encode(TRAINED, [text], "x")[1:]
    joined = "".join(token_text(TRAINED, int(i)) for i in ids)
    if all(ord(c) < 128 and c != "\\" for c in text):
        assert joined == text


def test_text_that_spells_the_special_token_is_plain_text():
    ids = encode(TRAINED, [f"a{tk.BOS}b"], "x")
    assert (ids == tk.BOS_ID).sum() == 1


def test_documents_are_led_by_bos():
    ids = encode(TRAINED, ["ab", "", "c"], "x")
    assert (ids == 0).nonzero()[0].tolist() == [0, len(encode(TRAINED, ["ab"], "x")), len(ids) - 2]
    assert ids.dtype == np.dtype("<u2")


def test_bytes_that_are_no_character_are_spelled_out():
    ids = encode(TRAINED, ["\N{SNOWMAN}"], "x")[1:]
    texts = [token_text(TRAINED, int(i)) for i in ids]
    assert "".join(texts).encode().decode("unicode_escape").encode("latin-1").decode() == "\N{SNOWMAN}"


def test_a_vocabulary_larger_than_the_text_supports_is_named():
    with pytest.raises(
        InputError, match=r"tokenizers\.tiny\.vocab_size: the training text supports only 25\d tokens, not 400"
    ):
        tk.train(["ab"], TokenizerParams(vocab_size=400), "tiny")


def test_training_is_deterministic():
    assert tk.train(TEXTS, TokenizerParams(vocab_size=280), "code").to_str() == TRAINED.to_str()


def test_the_vocabulary_table_counts_the_stream():
    stream = encode(TRAINED, TEXTS, "x")
    table = tk.vocabulary(TRAINED, stream).to_pandas()
    assert table["token_id"].tolist() == list(range(280))
    assert table["count"].sum() == len(stream)
    assert table["probability"].sum() == pytest.approx(1)
    assert table.loc[0, "count"] == len(TEXTS)
    i = int(stream[5])
    assert table.loc[i, "count"] == (stream == i).sum()


@pytest.mark.parametrize("content", [None, b"", b"{}", b"\xff\xfe", b'{"version": "9"}'])
def test_a_bad_tokenizer_file_is_named(tmp_path, content):
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"tokenizer\.json: not a readable tokenizer"):
        tk.load(path)


def test_a_damaged_tokenizer_file_is_named(tmp_path):
    """It may still be well formed."""
    path = tmp_path / "tokenizer.json"
    TRAINED.save(str(path))
    digest = sha256(path)
    assert tk.load(path, digest).to_str() == TRAINED.to_str()
    path.write_bytes(path.read_bytes().replace(b"false", b"true ", 1))
    assert tk.load(path)
    with pytest.raises(InputError, match=r"tokenizer\.json: damaged, its checksum"):
        tk.load(path, digest)


def test_words_become_tokens_of_their_own():
    tokenizer = tk.train(["b a a", "c b a"], TokenizerParams(kind="words"), "w")
    ids = encode(tokenizer, ["a c d"], "x").tolist()
    assert [token_text(tokenizer, i) for i in ids] == [tk.BOS, "a", "c", tk.UNKNOWN]
    assert tokenizer.get_vocab_size() == 5


def test_batches_do_not_change_the_stream(monkeypatch):
    whole = encode(TRAINED, TEXTS, "x")
    monkeypatch.setattr(tk, "CHARACTERS", 40)
    assert np.array_equal(encode(TRAINED, iter(TEXTS), "x"), whole)


@given(st.lists(st.sampled_from(["a", "b" * 7, " ", "\n" * 6, "c" * 3 + " ", "  "]), max_size=12).map("".join))
def test_what_is_cut_for_the_trainer_is_the_text_in_pieces(text):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tk, "WORD", 5)
        patch.setattr(tk, "LONG", re.compile(tk.LONG.pattern.replace(str(2**12 + 1), "6")))
        pieces = list(tk._divided([text]))
    assert "".join(pieces) == text
    runs = re.findall(r"\S+|\s+", text)
    assert all(len(run) <= 5 for piece in pieces for run in re.findall(r"\S+|\s+", piece))
    assert max(map(len, runs), default=0) > 5 or pieces == [text]


def test_a_text_without_blanks_is_learned_from_in_proportion():
    started = time.process_time()
    bases = "".join(np.random.default_rng(0).choice(list("acgt"), 2**17))
    assert tk.train([bases], TokenizerParams(vocab_size=300), "dna").get_vocab_size() == 300
    assert time.process_time() - started < 3  # as one word, 10 s and more
