from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from skiptrace.config.tokenizers import TokenizerParams
from skiptrace.corpora.card import Survival
from skiptrace.errors import InputError
from skiptrace.tokens import survival
from skiptrace.tokens import tokenizer as tk
from tests.tokens.test_texts import byte_fallback, characters, unigram, word_level, word_piece


def measured(tokenizer: Tokenizer, *texts: str) -> Survival:
    return survival.survival(tokenizer, texts, sum(map(len, texts)), "corpora.mine")


@given(st.lists(st.text(max_size=30)))
def test_byte_level_vocabularies_lose_nothing(texts):
    trained = tk.train(["some text to learn from"], TokenizerParams(vocab_size=257), "x")
    found = measured(trained, *texts)
    assert found.tried + found.spaces_tried == sum(map(len, texts))
    assert (found.lost, found.spaces_lost, found.most_lost) == (0, 0, "")


@pytest.mark.parametrize(
    ("make", "text", "lost", "most"),
    [
        (word_level, "the moon", 0, ""),
        (word_level, "the Elefant", 7, "Eaeflnt"),
        (word_piece, "moons für", 0, ""),
        (word_piece, "moon zoo", 3, "oz"),
        (unigram, "the moons", 0, ""),
        (unigram, "the q", 1, "q"),
        (characters, "abba q", 1, "q"),
    ],
)
def test_what_is_unknown_is_lost(make: Callable[[], Tokenizer], text, lost, most):
    found = measured(make(), text)
    assert (found.lost, set(found.most_lost)) == (lost, set(most))


def test_what_a_normaliser_changes_is_lost_and_what_it_adds_is_no_gain():
    tokenizer = word_piece()
    tokenizer.normalizer = normalizers.Lowercase()
    assert measured(tokenizer, "Moon moon", "mOOn") == Survival(12, 3, 1, 0, "OM")


def test_white_space_is_counted_apart():
    found = measured(word_level(), "the\nmoon\n\nthe  moon")
    assert (found.lost, found.spaces_tried, found.spaces_lost) == (0, 5, 3)


def test_a_sample_is_the_same_share_of_every_document(monkeypatch):
    monkeypatch.setattr(survival, "SAMPLE", 100)
    texts = ["the moon " * 100, "the moon", "für " * 25]
    found = measured(word_level(), *texts)
    assert 0 < found.tried + found.spaces_tried <= 100 and found.lost == 0
    assert found == measured(word_level(), *texts)


def test_more_loss_than_allowed_is_refused_with_the_characters():
    found = measured(word_level(), "the moon Elefant")
    survival.check(found, 0.6, "mine")
    with pytest.raises(InputError, match=r"tokenizers\.mine: 50\.0% of the characters of corpora\.mine are lost .*"
                       r"most often those of 'Eaeflnt'; .*max_lost \(now 0\.05\)"):  # fmt: skip
        survival.check(found, 0.05, "mine")


def test_bytes_that_fall_back_survive():
    assert measured(byte_fallback(), "A").lost == 0


@pytest.mark.parametrize("special", [tk.BOS, tk.UNKNOWN])
def test_words_that_spell_a_special_token_are_unknown_words(special):
    texts = [f"a {special} b b {special} a"] * 3
    trained = tk.train(texts, TokenizerParams(kind="words"), "x")
    plain = tk.train(["a b b a"] * 3, TokenizerParams(kind="words"), "x")
    assert trained.get_vocab() == plain.get_vocab() == {tk.BOS: 0, tk.UNKNOWN: 1, "a": 2, "b": 3}
    stream = np.concatenate(list(tk.encode(trained, texts[:1], "x")))
    assert stream.tolist() == [0, 2, 1, 3, 3, 1, 2]


def test_text_for_which_there_is_only_a_special_token_is_named():
    tokenizer = word_level(None)
    tokenizer.add_special_tokens(["the"])
    with pytest.raises(InputError, match=r"corpora\.mine: a text spells 'the', for which its tokenizer has no other"):
        measured(tokenizer, "the")


def test_text_without_a_token_is_one_line(capfd):
    with pytest.raises(InputError, match=r"corpora\.mine: its tokenizer fails on the text \(WordLevel error: Missing"):
        measured(word_level(None), "Elefant")
    assert "Missing" not in capfd.readouterr().err


def test_a_regular_expression_that_panics_on_the_corpus_is_one_line(capfd):
    tokenizer = word_level()
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("(x+x+)+y"), "isolated")
    with pytest.raises(InputError, match=r"corpora\.mine: its tokenizer fails on the text \(Onig: .*retry-limit"):
        measured(tokenizer, "x" * 40)
    assert "panicked" not in capfd.readouterr().err


def test_a_vocabulary_of_some_letters_is_readable(tmp_path):
    letters = Tokenizer(models.WordLevel({"b": 0}))
    letters.save(str(tmp_path / "tokenizer.json"))
    assert tk.load(tmp_path / "tokenizer.json").get_vocab() == {"b": 0}
