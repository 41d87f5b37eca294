import numpy as np
import pytest

from skiptrace.errors import InputError
from skiptrace.tokens import streams


def test_a_stream_is_read_as_it_was_written(tmp_path):
    np.save(tmp_path / "train.npy", np.array([0, 4, 2], "<u2"))
    assert streams.read_stream(tmp_path / "train.npy", 5).tolist() == [0, 4, 2]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (np.array([0, 1, 2, 3, 4, 5, 9], "<u2"), r"token 5 is 5, but the ids of its vocabulary run from 0 to 4"),
        (np.array([0, 1, -1], "<i4"), r"token 2 is -1, but"),
        (np.zeros((2, 2), "<u2"), r"not a stream of token ids but uint16\[2, 2\]"),
        (np.zeros(3), r"not a stream of token ids but float64\[3\]"),
    ],
    ids=["beyond", "negative", "matrix", "floats"],
)
def test_ids_beyond_the_vocabulary_are_named(tmp_path, monkeypatch, ids, message):
    monkeypatch.setattr(streams, "CHUNK", 2)
    np.save(tmp_path / "train.npy", ids)
    with pytest.raises(InputError, match=rf"train\.npy: {message}.*; reproduce its stage"):
        streams.read_stream(tmp_path / "train.npy", 5)
