import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from skiptrace.errors import InputError
from skiptrace.models import checkpoint


@pytest.fixture
def saved(make_model, tmp_path):
    model = make_model(2).float()
    checkpoint.save(model, tmp_path)
    return model, tmp_path


def test_a_model_survives_the_disk(saved, tokens):
    model, folder = saved
    loaded = checkpoint.load(folder)
    assert torch.equal(loaded(tokens), model(tokens))


def test_names_and_shapes_are_those_of_transformer_lens(saved):
    _, folder = saved
    shapes = {name: tuple(tensor.shape) for name, tensor in load_file(folder / "model.safetensors").items()}
    assert shapes["embed.W_E"] == (23, 10)
    assert shapes["pos_embed.W_pos"] == (7, 10)
    assert shapes["unembed.W_U"] == (10, 23)
    for layer in (0, 1):
        for name in ("W_Q", "W_K", "W_V"):
            assert shapes[f"blocks.{layer}.attn.{name}"] == (3, 10, 4)
        assert shapes[f"blocks.{layer}.attn.W_O"] == (3, 4, 10)
    assert len(shapes) == 11
    config = json.loads((folder / "config.json").read_text())
    assert (config["n_layers"], config["n_heads"], config["d_model"], config["d_head"]) == (2, 3, 10, 4)
    assert (config["n_ctx"], config["d_vocab"]) == (7, 23)


def test_W_Q_of_a_head_is_its_slice_of_the_matrix(make_model):
    layer = make_model(1).blocks[0]
    assert torch.equal(layer.W_Q[1], layer.q[:, 4:8])
    assert torch.equal(layer.W_O[2], layer.o[8:12])


def edit(folder, change):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("unembed.W_U"), r"tensor unembed\.W_U is missing"),
        (lambda t: t.update({"embed.W_E": torch.zeros(22, 10)}), r"embed\.W_E has shape \(22, 10\).*says \(23, 10\)"),
        (lambda t: t["blocks.1.attn.W_K"].fill_(float("nan")), r"blocks\.1\.attn\.W_K holds NaN or infinity"),
        (lambda t: t.update({"blocks.2.attn.W_Q": torch.zeros(1)}), r"blocks\.2\.attn\.W_Q has no place"),
    ],
    ids=["missing", "misshapen", "not finite", "superfluous"],
)
def test_a_checkpoint_that_does_not_match_its_config_names_the_tensor(saved, change, message):
    edit(saved[1], change)
    with pytest.raises(InputError, match=message):
        checkpoint.load(saved[1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not readable as JSON"),
        ("[]", "expected a mapping"),
        ('{"n_layers": 1}', r"config\.json: n_heads"),
        ('{"n_layers": 1, "surprise": 2}', r"config\.json: "),
        (
            '{"n_layers": 2, "n_heads": 3, "d_model": 10, "d_head": 4, "n_ctx": 7, "d_vocab": 23, '
            '"normalization_type": "LN"}',
            r"config\.json: normalization_type",
        ),
    ],
)
def test_a_bad_config_is_one_line(saved, text, message):
    (saved[1] / "config.json").write_text(text)
    with pytest.raises(InputError, match=message):
        checkpoint.load(saved[1])


def test_a_truncated_checkpoint_names_the_file(saved):
    path = saved[1] / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(InputError, match=r"model\.safetensors: damaged"):
        checkpoint.load(saved[1])
