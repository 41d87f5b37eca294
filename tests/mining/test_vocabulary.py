import pandas as pd
import pytest

from skiptrace.errors import InputError
from skiptrace.mining import vocabulary
from skiptrace.tokens.tables import VOCAB


def test_rows_beyond_the_tokenizer_are_named_as_padding_and_never_eligible(tmp_path):
    counts = [1, 0, 5]
    table = {"token_id": range(3), "token": ["a", "b", "c"], "count": counts, "probability": [c / 6 for c in counts]}
    VOCAB.write(tmp_path, VOCAB.frame(pd.DataFrame(table).itertuples(index=False)))
    found = vocabulary.load(VOCAB.file(tmp_path), 5)
    assert found.token.tolist() == ["a", "b", "c", "<padding 3>", "<padding 4>"]
    assert found.eligible(0).tolist() == [False, True, True, False, False]
    assert found.most_frequent(9) == [0, 2] and len(found.probability) == 5
    assert vocabulary.load(VOCAB.file(tmp_path), 3).eligible(0).tolist() == [False, True, True]
    with pytest.raises(InputError, match="3 tokens, but the model's d_vocab is 2"):
        vocabulary.load(VOCAB.file(tmp_path), 2)
