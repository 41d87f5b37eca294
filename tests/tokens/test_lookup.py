import pytest
from tokenizers import Tokenizer, models

from skiptrace.config.tokenizers import TokenizerParams
from skiptrace.errors import InputError
from skiptrace.tokens import lookup, tokenizer
from skiptrace.tokens.texts import token_text


@pytest.fixture
def words():
    return tokenizer.train(["the moon is the moon"], TokenizerParams(kind="words"), "x")


def test_a_text_is_looked_up_as_its_tokens(words):
    ids = lookup.ids(words, "moon the")
    assert [token_text(words, i) for i in ids] == ["moon", "the"]
    assert lookup.single(words, "moon") == ids[0]
    assert lookup.ids(words, "") == []


def test_text_that_spells_a_special_token_is_text():
    bpe = tokenizer.train(["a <|bos|> b"], TokenizerParams(vocab_size=257), "x")
    assert tokenizer.BOS_ID not in lookup.ids(bpe, tokenizer.BOS)


def test_a_character_that_the_tokenizer_leaves_out_is_named_wherever_it_stands():
    letters = Tokenizer(models.BPE({c: i for i, c in enumerate("^abc")}, []))
    for text in ("qab", "aqb", "abq", "a qb"):
        with pytest.raises(InputError, match=r"^'q': the vocabulary"):
            lookup.ids(letters, text)
    assert lookup.ids(letters, "ab c") == [1, 2, 3]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("moon the", "'moon the': not a single token; it is 2: 'moon', 'the'"),
        ("", "'': not a single token; it is 0: none"),
        ("moon star", "'star': the vocabulary of this model has no token for it"),
    ],
)
def test_what_is_no_token_is_told(words, text, message):
    with pytest.raises(InputError, match=f"^{message}"):
        lookup.single(words, text)
