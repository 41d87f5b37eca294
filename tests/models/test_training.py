import contextlib
from pathlib import Path

import numpy as np
import pytest
import torch

from skiptrace.config.models import ModelParams
from skiptrace.errors import InputError
from skiptrace.models import checkpoint, training
from skiptrace.models.evaluation import clustered_error, losses_by_position, mean_loss
from skiptrace.models.windows import context_starts, tiled_windows

PARAMS = ModelParams(
    corpus="words", seed=0, n_layers=2, n_heads=2, d_head=3, d_model=8, n_ctx=12, steps=30, batch_size=4,
    warmup_steps=3, lr_embedding=0.02, lr_attention=0.05, weight_decay=0.0,
)  # fmt: skip


def stream(n: int, seed: int) -> np.ndarray:
    """Tokens 1 … 10, each followed by the next with probability 0.9."""
    generator = np.random.default_rng(seed)
    return (np.where(generator.random(n) < 0.9, 1, generator.integers(0, 10, n)).cumsum() % 10 + 1).astype(np.uint16)


def weights(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([w.flatten() for w in model.parameters()])


def test_training_learns_and_is_deterministic(tmp_path):
    runs = [training.train(PARAMS, stream(5000, 0), stream(500, 1), 11, tmp_path / str(i), "m") for i in range(2)]
    assert torch.equal(weights(runs[0][0]), weights(runs[1][0]))
    curve = runs[0][1]
    assert curve.equals(runs[1][1])
    assert curve["valid_loss"].iloc[-1] < curve["valid_loss"].iloc[0] - 0.5
    assert curve["tokens"].iloc[-1] == 30 * 4 * 11


def test_a_training_without_a_curve_ends_with_the_same_weights(tmp_path):
    whole, curve = training.train(PARAMS, stream(5000, 0), stream(500, 1), 11, tmp_path / "a", "m", points=5)
    other, none = training.train(PARAMS, stream(5000, 0), stream(500, 1), 11, tmp_path / "b", "m", points=0)
    assert curve["step"].tolist() == [6, 12, 18, 24, 30] and none.columns.equals(curve.columns) and none.empty
    assert torch.equal(weights(whole), weights(other))


def test_a_model_without_layers_learns_what_every_place_of_a_token_says(tmp_path):
    params = PARAMS.model_copy(update={"n_layers": 0, "n_heads": 0, "d_head": 0})
    run = training.Run(params, stream(5000, 0), stream(500, 1), 11, tmp_path, "m")
    tokens = training.random_windows(run.stream, params.n_ctx, params.batch_size, 0, 0)
    places = run.model(tokens[:, :-1])[:, 1:]
    dense = torch.nn.functional.cross_entropy(places.flatten(0, 1), tokens[:, 2:].flatten())
    with training.deterministic():
        found = run._loss(tokens)
    torch.testing.assert_close(found, dense)
    expected = torch.autograd.grad(dense, [run.model.W_E, run.model.W_U])
    for got, wanted in zip(torch.autograd.grad(found, [run.model.W_E, run.model.W_U]), expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-6)


def test_a_training_that_stops_half_way_ends_with_the_same_weights(tmp_path, monkeypatch):
    whole, curve = training.train(PARAMS, stream(5000, 0), stream(500, 1), 11, tmp_path / "a", "m")
    monkeypatch.setenv("SKIPTRACE_CHECKPOINT_SECONDS", "0")
    step = training.Run.step

    def interrupted(self, number):
        if number == 17:
            raise KeyboardInterrupt
        step(self, number)

    monkeypatch.setattr(training.Run, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        training.train(PARAMS, stream(5000, 0), stream(500, 1), 11, tmp_path / "b", "m")
    done = []
    monkeypatch.setattr(training.Run, "step", lambda self, number: (done.append(number), step(self, number)))
    resumed, resumed_curve = training.train(PARAMS, stream(5000, 0), stream(500, 1), 11, tmp_path / "b", "m")
    assert done == list(range(17, 30))
    assert torch.equal(weights(whole), weights(resumed))
    assert curve.equals(resumed_curve)


def test_a_damaged_state_is_started_over(tmp_path):
    whole, _ = training.train(PARAMS, stream(5000, 0), stream(500, 1), 11, tmp_path / "a", "m")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "state.pt").write_bytes(b"PK\x03\x04 half of a file")
    again, _ = training.train(PARAMS, stream(5000, 0), stream(500, 1), 11, tmp_path / "b", "m")
    assert torch.equal(weights(whole), weights(again))


@pytest.mark.parametrize(("train", "valid", "split"), [(11, 500, "training"), (500, 11, "validation")])
def test_a_corpus_shorter_than_one_context_is_named(tmp_path, train, valid, split):
    with pytest.raises(InputError, match=rf"corpora\.words: its {split} split has 11 tokens.*n_ctx = 12"):
        training.train(PARAMS, stream(train, 0), stream(valid, 1), 11, tmp_path, "m")


def test_a_loss_that_is_not_finite_names_the_model(tmp_path):
    wild = PARAMS.model_copy(update={"lr_embedding": 1e30})
    with pytest.raises(InputError, match=r"models\.m: the loss is not finite after \d+ steps; lower lr_"):
        training.train(wild, stream(5000, 0), stream(500, 1), 11, tmp_path, "m")


def test_the_schedule_warms_up_and_ends_near_zero():
    rates = [training.schedule(step, PARAMS) for step in range(PARAMS.steps)]
    assert rates[0] == pytest.approx(0.25)
    assert max(rates) < 1
    assert np.argmax(rates) == 3
    assert rates[-1] < 0.01


def test_losses_by_position_agree_with_the_dense_cross_entropy(make_model):
    model = make_model(2)
    tokens = np.random.default_rng(0).integers(0, 23, 200)
    table = losses_by_position(model, tokens, 10**6)
    windows = torch.cat(list(tiled_windows(tokens, 7, 4)))
    dense = -model(windows[:, :-1]).log_softmax(-1).gather(2, windows[:, 1:, None])[:, 1:, 0]
    np.testing.assert_allclose(table["loss"], dense.mean(0), atol=1e-12)
    assert table["position"].tolist() == [1, 2, 3, 4, 5, 6]
    assert mean_loss(model, [windows]) == pytest.approx(table["loss"].mean())


def test_the_error_of_the_loss_is_that_of_documents_drawn_anew():
    """Values of one document are the same: the error is that of as many values as there are documents."""
    generator = np.random.default_rng(0)
    means = generator.normal(size=30)
    values, document = np.repeat(means, 5), np.repeat(np.arange(30), 5)
    found = clustered_error(values, document)
    assert found == pytest.approx(means.std(ddof=1) / np.sqrt(30))
    drawn = [generator.choice(means, 30).mean() for _ in range(4000)]
    assert found == pytest.approx(np.std(drawn), rel=0.1)
    assert np.isnan(clustered_error(values, np.zeros(150, dtype=np.int64)))


def test_contexts_begin_where_their_windows_do():
    stream = np.arange(1, 60)
    for most in (None, 3, 100):
        firsts = [int(first) for window in tiled_windows(stream, 7, 4, most) for first in window[:, 1]]
        assert stream[context_starts(59, 7, most)].tolist() == firsts


def test_two_threads_give_the_same_bits(tmp_path):
    """At a size at which torch does use both, since indexing with `W_E[tokens]` would then differ."""
    wide = PARAMS.model_copy(update={"n_ctx": 64, "batch_size": 64, "d_model": 64, "d_head": 32, "steps": 6})
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        runs = [
            training.train(wide, stream(20_000, 0), stream(500, 1), 11, tmp_path / str(i), "m")[0] for i in range(3)
        ]
    finally:
        torch.set_num_threads(before)
    assert torch.equal(weights(runs[0]), weights(runs[1]))
    assert torch.equal(weights(runs[0]), weights(runs[2]))


def test_an_odd_checkpoint_interval_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("SKIPTRACE_CHECKPOINT_SECONDS", "5s")
    with pytest.raises(InputError, match=r"SKIPTRACE_CHECKPOINT_SECONDS: expected a number of seconds, got '5s'"):
        training.train(PARAMS, stream(5000, 0), stream(500, 1), 11, tmp_path, "m")


def test_the_model_is_kept_along_the_way(tmp_path):
    params = PARAMS.model_copy(update={"checkpoints": 4, "steps": 100})
    assert training.checkpoint_steps(params) == [2, 6, 25, 100]
    assert training.checkpoint_steps(params.model_copy(update={"checkpoints": 1})) == [100]
    short = PARAMS.model_copy(update={"checkpoints": 2, "steps": 6, "warmup_steps": 1})
    model, _ = training.train(short, stream(5000, 0), stream(500, 1), 11, tmp_path, "m")
    kept = sorted((tmp_path / "checkpoints").iterdir())
    assert [place.name for place in kept] == ["step-000001", "step-000006"]
    torch.testing.assert_close(weights(checkpoint.load(kept[1])), weights(model), rtol=1e-3, atol=1e-6)
    assert not torch.allclose(weights(checkpoint.load(kept[0])), weights(model), atol=1e-3)


def interrupted_training(folder, monkeypatch, steps=17, params=PARAMS):
    """Train some steps with a state saved after each."""
    monkeypatch.setenv("SKIPTRACE_CHECKPOINT_SECONDS", "0")
    step = training.Run.step

    def interrupted(self, number):
        if number == steps:
            raise KeyboardInterrupt
        step(self, number)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training.Run, "step", interrupted)
        training.train(params, stream(5000, 0), stream(500, 1), 11, folder, "m")


def test_no_flipped_bit_of_a_state_is_continued_from(tmp_path, monkeypatch, capsys):
    interrupted_training(tmp_path, monkeypatch)
    content = (tmp_path / "state.pt").read_bytes()
    run = training.Run(PARAMS, stream(5000, 0), stream(500, 1), 11, tmp_path, "m")
    fresh = weights(run.model).clone()
    for at in np.random.default_rng(0).integers(0, len(content), 60):
        flipped = bytearray(content)
        flipped[at] ^= 1 << int(at) % 8
        (tmp_path / "state.pt").write_bytes(flipped)
        run._restore()
        assert torch.equal(weights(run.model), fresh) and run.losses == []
        assert capsys.readouterr().err == f"models.m: {tmp_path / 'state.pt'} is damaged; the training starts over\n"
    (tmp_path / "state.pt").write_bytes(content)
    run._restore()
    assert len(run.losses) == 17 and not torch.equal(weights(run.model), fresh)


@pytest.mark.parametrize("damage", ["flipped", "gone"])
def test_a_damaged_checkpoint_on_the_way_is_started_over_from(tmp_path, monkeypatch, capsys, damage):
    params = PARAMS.model_copy(update={"checkpoints": 4})
    whole, _ = training.train(params, stream(5000, 0), stream(500, 1), 11, tmp_path / "a", "m")
    interrupted_training(tmp_path / "b", monkeypatch, params=params)
    kept = tmp_path / "b" / "checkpoints" / "step-000001" / "model.safetensors"
    content = bytearray(kept.read_bytes())
    content[-5] ^= 2
    kept.write_bytes(content) if damage == "flipped" else kept.unlink()
    again, _ = training.train(params, stream(5000, 0), stream(500, 1), 11, tmp_path / "b", "m")
    assert f"{kept.parent} is damaged; the training starts over\n" in capsys.readouterr().err
    assert torch.equal(weights(whole), weights(again))
    for place in ("a", "b"):
        files = {p.name: p.read_bytes() for p in (tmp_path / place / "checkpoints").rglob("*") if p.is_file()}
        assert files == {p.name: p.read_bytes() for p in (tmp_path / "a" / "checkpoints").rglob("*") if p.is_file()}


def test_a_full_disk_at_a_state_is_warned_of_and_training_goes_on(tmp_path, monkeypatch, capsys, full_disk):
    whole, _ = training.train(PARAMS, stream(5000, 0), stream(500, 1), 11, tmp_path / "a", "m")
    monkeypatch.setenv("SKIPTRACE_CHECKPOINT_SECONDS", "0")
    with full_disk():
        model, _ = training.train(PARAMS, stream(5000, 0), stream(500, 1), 11, tmp_path / "b", "m")
    lines = capsys.readouterr().err.splitlines()
    assert lines and all(line.startswith("models.m: ") and "could not be saved (" in line for line in lines)
    assert list((tmp_path / "b").iterdir()) == []
    assert torch.equal(weights(whole), weights(model))


def checkpoints(scratch: Path) -> dict[str, bytes]:
    return {str(p.relative_to(scratch)): p.read_bytes() for p in (scratch / "checkpoints").rglob("*") if p.is_file()}


@pytest.mark.parametrize("room", [7, 40], ids=["in time", "never"])
def test_a_full_disk_at_a_checkpoint_that_is_kept_loses_none_of_them(tmp_path, monkeypatch, capsys, full_disk, room):
    """`room`: the step from which on there is room again."""
    params = PARAMS.model_copy(update={"checkpoints": 4})
    arguments = params, stream(5000, 0), stream(500, 1), 11
    whole, _ = training.train(*arguments, tmp_path / "a", "m")
    monkeypatch.setenv("SKIPTRACE_CHECKPOINT_SECONDS", "0")
    step, disk = training.Run.step, contextlib.ExitStack()

    def stepping(run, number):
        if number == 2:
            disk.enter_context(full_disk())
        if number == room:
            disk.close()
        step(run, number)

    monkeypatch.setattr(training.Run, "step", stepping)
    with disk:
        if room < params.steps:
            model, _ = training.train(*arguments, tmp_path / "b", "m")
        else:
            with pytest.raises(InputError, match=r"models.m: .*step-\d+ could not be written .* run the same command"):
                training.train(*arguments, tmp_path / "b", "m")
    assert "the training goes on" in capsys.readouterr().err
    if room >= params.steps:
        monkeypatch.setattr(training.Run, "step", step)
        model, _ = training.train(*arguments, tmp_path / "b", "m")
    assert torch.equal(weights(whole), weights(model))
    assert checkpoints(tmp_path / "a") == checkpoints(tmp_path / "b")
