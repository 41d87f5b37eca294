import numpy as np
import pytest

from skiptrace.errors import InputError
from skiptrace.models.windows import BOS_ID, random_windows, require_context, spread_windows, tiled_windows


@pytest.mark.parametrize("n", [8, 9, 50, 57])
def test_tiled_windows_predict_every_token_once_from_the_token_before(n):
    stream = np.arange(100, 100 + n)
    n_ctx = 8
    seen = []
    for batch in tiled_windows(stream, n_ctx, 3):
        assert (batch[:, 0] == BOS_ID).all()
        inputs, targets = batch[:, :-1][:, 1:], batch[:, 2:]
        assert (targets - inputs == 1).all()
        seen += targets.flatten().tolist()
    assert seen == stream[1 : 1 + len(seen)].tolist()
    assert n - 1 - len(seen) < n_ctx - 1


def test_some_tiled_windows_are_spread_over_the_stream():
    every, some = (np.concatenate([b.numpy() for b in tiled_windows(np.arange(90), 8, 3, most)]) for most in (None, 4))
    assert len(every) == 12
    assert (some == every[[0, 3, 6, 9]]).all()
    assert len(np.concatenate(list(tiled_windows(np.arange(90), 8, 3, 50)))) == 12


def test_a_training_batch_is_a_function_of_seed_and_step():
    stream = np.arange(1000)
    first = random_windows(stream, 6, 4, seed=1, step=10)
    assert first.shape == (4, 7)
    assert (first == random_windows(stream, 6, 4, seed=1, step=10)).all()
    assert not (first == random_windows(stream, 6, 4, seed=1, step=11)).all()
    assert not (first == random_windows(stream, 6, 4, seed=2, step=10)).all()


def test_a_stream_of_exactly_one_context_gives_that_context():
    window = random_windows(np.arange(5), 5, 2, seed=0, step=0)
    assert window[:, 1:].tolist() == [[0, 1, 2, 3, 4]] * 2


def test_spread_windows_reach_from_the_first_token_to_the_last():
    windows = spread_windows(np.arange(1000), 10, 5)
    assert windows.shape == (5, 11)
    assert windows[0, 1:].tolist() == list(range(10))
    assert windows[-1, 1:].tolist() == list(range(990, 1000))
    assert (windows[:, 0] == BOS_ID).all()


@pytest.mark.parametrize(("train", "valid", "short"), [(7, 9, "training"), (9, 7, "validation")])
def test_a_split_shorter_than_one_context_is_named(train, valid, short):
    streams = {"training": np.arange(train), "validation": np.arange(valid)}
    require_context(streams, 7, "mine", "one")
    with pytest.raises(InputError, match=rf"corpora\.mine: its {short} split has 7 tokens, .* models\.one\.n_ctx = 8"):
        require_context(streams, 8, "mine", "one")
