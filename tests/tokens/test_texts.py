"""Tokens of every kind of tokenizer, as text."""

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

from skiptrace.errors import InputError
from skiptrace.tokens import lookup
from skiptrace.tokens.texts import TokenTexts
from skiptrace.tokens.tokenizer import unknown_id, vocabulary


def word_level(unknown: str | None = "[UNK]") -> Tokenizer:
    names = [] if unknown is None else [unknown]
    words = {w: i for i, w in enumerate([*names, "the", "für", "moon"])}
    tokenizer = Tokenizer(models.WordLevel(words, **({} if unknown is None else {"unk_token": unknown})))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


def word_piece() -> Tokenizer:
    pieces = ["<nix>", "für", "##en", "moon", "the", "##s"]
    tokenizer = Tokenizer(models.WordPiece({p: i for i, p in enumerate(pieces)}, unk_token="<nix>"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def unigram() -> Tokenizer:
    pieces = [("▁the", -2.0), ("<what>", 0.0), ("▁", -3.0), ("moon", -2.5), ("s", -4.0), ("é", -4.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=1))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer


def byte_fallback() -> Tokenizer:
    pieces = ["<unk>", "▁the", "<0xE2>", "<0x41>", "s"]
    tokenizer = Tokenizer(models.BPE({p: i for i, p in enumerate(pieces)}, [], unk_token="<unk>", byte_fallback=True))
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(parts)
    return tokenizer


def ends_of_words() -> Tokenizer:
    pieces = {"the</w>": 0, "moon": 1, "s</w>": 2}
    tokenizer = Tokenizer(models.BPE(pieces, [], end_of_word_suffix="</w>"))
    tokenizer.decoder = decoders.BPEDecoder("</w>")
    return tokenizer


def characters() -> Tokenizer:
    """A vocabulary of letters, some of which are in the alphabet that byte-level vocabularies use."""
    return Tokenizer(models.BPE({c: i for i, c in enumerate("abcé Ġü")}, []))


def byte_level(where: str) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE({p: i for i, p in enumerate(["Ġthe", "Ã¼", "Ã", "Ċ"])}, []))
    if where == "decoder":
        tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Fuse()])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(), pre_tokenizers.ByteLevel()])
    return tokenizer


@pytest.mark.parametrize(
    ("tokenizer", "expected"),
    [
        (word_level(), ["[UNK]", "the", "für", "moon"]),
        (word_piece(), [" <nix>", " für", "en", " moon", " the", "s"]),
        (unigram(), [" the", "<what>", " ", "moon", "s", "é"]),
        (byte_fallback(), ["<unk>", " the", r"\xe2", "A", "s"]),
        (ends_of_words(), ["the ", "moon", "s "]),
        (characters(), list("abcé Ġü")),
        (byte_level("decoder"), [" the", "ü", r"\xc3", "\n"]),
        (byte_level("pre-tokenizer"), [" the", "ü", r"\xc3", "\n"]),
    ],
    ids=[
        "words",
        "word pieces",
        "unigram",
        "byte fallback",
        "ends",
        "characters",
        "byte decoder",
        "byte pre-tokenizer",
    ],
)
def test_the_text_of_a_token_is_what_its_decoder_makes_of_it(tokenizer, expected):
    text_of = TokenTexts(tokenizer)
    assert [text_of(i) for i in range(tokenizer.get_vocab_size())] == expected


def test_added_tokens_are_shown_as_they_were_added():
    tokenizer = byte_level("decoder")
    tokenizer.add_tokens([AddedToken("Ġ extra")])
    tokenizer.add_special_tokens(["<|end|>"])
    assert [TokenTexts(tokenizer)(i) for i in (4, 5, 6)] == ["Ġ extra", "<|end|>", "<6>"]


def test_a_decoder_that_changes_letters_is_obeyed():
    tokenizer = word_level()
    tokenizer.decoder = decoders.Replace("a", "o")
    assert [TokenTexts(tokenizer)(i) for i in (2, 3)] == ["für", "moon"]
    tokenizer.decoder = decoders.Replace("o", "a")
    assert TokenTexts(tokenizer)(3) == "maan"


def test_a_decoder_that_panics_is_one_line(capfd):
    tokenizer = word_level()
    tokenizer.decoder = decoders.Strip("a", 5, 5)
    with pytest.raises(InputError, match=r"the decoder of the tokenizer fails on a token \(index out of bounds"):
        vocabulary(tokenizer, np.array([0, 1]))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("tokenizer", "expected"),
    [(word_level("<nix>"), 0), (word_level(None), None), (word_piece(), 0), (unigram(), 1), (characters(), None)],
    ids=["words", "words without", "word pieces", "unigram", "characters"],
)
def test_unknown_tokens_are_known_whatever_their_name(tokenizer, expected):
    assert unknown_id(tokenizer) == expected


@pytest.mark.parametrize(
    ("tokenizer", "text", "named"),
    [
        (word_level(), "the Elefant", "Elefant"),
        (word_level("<nix>"), "Elefant", "Elefant"),
        (word_level(None), "Elefant", "Elefant"),
        (word_piece(), "Elefant", "Elefant"),
        (unigram(), "the q", "q"),
        (characters(), "abq", "q"),
        (word_level(), "[UNK]", "["),
    ],
)
def test_text_that_becomes_the_unknown_token_is_refused_by_name(tokenizer, text, named):
    with pytest.raises(InputError, match=r"the (vocabulary|tokenizer) of this model") as caught:
        lookup.ids(tokenizer, text)
    assert str(caught.value).startswith(repr(named))


def test_text_that_a_normaliser_changes_is_still_a_token():
    tokenizer = word_piece()
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFD(), normalizers.Lowercase(), normalizers.StripAccents()]
    )
    assert lookup.single(tokenizer, "Möon") == 3
