"""Models in the format of transformers: read again, and run by the library where it is installed, they are the same."""

import json
import warnings

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from skiptrace.config.tokenizers import TokenizerParams
from skiptrace.errors import InputError
from skiptrace.models import checkpoint
from skiptrace.models.export_transformers import to_transformers
from skiptrace.models.importing import import_model, read_as
from skiptrace.models.transformer import Transformer
from skiptrace.tokens.tokenizer import train
from tests.models import families
from tests.models.conftest import write_gpt2, write_lens
from tests.models.test_families import EXPECTED, weights, write

WRITTEN = [case for case in families.CASES if case not in ("bloom", "mpt")]
# OPT and GPT-NeoX without biases of their own, whose layer norms have some: these must come out of what was folded.
BARE = {
    "opt-bare": ("opt", {"enable_bias": False}, ("proj.bias", "fc1.bias", "fc2.bias")),
    "gpt_neox-bare": ("gpt_neox", {"attention_bias": False}, ("query_key_value.bias", "dense.bias")),
}


def theirs(folder, tokens):
    """The logits that the library computes for what was written, nothing of which may be missing or left over."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformers = pytest.importorskip("transformers", reason="pip install -e '.[interop]'")
        made, told = transformers.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(told[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")), told
    with torch.no_grad():
        return made(tokens).logits


def same(folder, model: Transformer, tokens, library: bool = False) -> None:
    found = theirs(folder, tokens) if library else import_model(folder, None, 0)(tokens)
    expected = model(tokens)
    for each in (found, expected):  # which softmax ignores
        each -= each.mean(-1, keepdim=True)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * max(1.0, float(expected.abs().max())))


@pytest.mark.parametrize("library", [False, True], ids=["read again", "library"])
@pytest.mark.parametrize("case", WRITTEN)
def test_a_model_of_a_family_is_written_as_that_family(tmp_path, case, library):
    model = import_model(write(tmp_path / "in", case), 8, 5)
    checkpoint.save(model, tmp_path / "ours")
    model = checkpoint.load(tmp_path / "ours")
    name = to_transformers(model, tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["architectures"] == [name] and config["model_type"] == EXPECTED[case]["config"]["model_type"]
    names = load_file(tmp_path / "out" / "model.safetensors").keys()
    assert set(EXPECTED[case]["shapes"]) | {"lm_head.weight"} == set(names)
    same(tmp_path / "out", model, families.CONTEXTS, library)


@pytest.mark.parametrize("library", [False, True], ids=["read again", "library"])
@pytest.mark.parametrize("case", BARE)
def test_biases_without_a_place_are_those_of_layer_norms_again(tmp_path, case, library):
    family, changed, gone = BARE[case]
    tensors = {n: t for n, t in weights(family).items() if not n.endswith(gone) or "mlp.dense" in n}
    model = import_model(write(tmp_path / "in", family, tensors, **changed), None, 0)
    assert any(layer.W_Q[:, -1].any() for layer in model.blocks)
    to_transformers(model, tmp_path / "out")
    same(tmp_path / "out", model, families.CONTEXTS, library)


@pytest.mark.parametrize("library", [False, True], ids=["read again", "library"])
def test_a_gpt2_is_written_without_the_means_that_circuits_take(tmp_path, contexts, library):
    write_gpt2(tmp_path / "in", scale_attn_by_inverse_layer_idx=True)
    model = read_as(import_model(tmp_path / "in", None, 0), "effective", "mean", contexts)
    assert to_transformers(model, tmp_path / "out") == "GPT2LMHeadModel"
    made = load_file(tmp_path / "out" / "model.safetensors")
    norms = [t for name, t in made.items() if ".ln_" in name and name.endswith("weight")]
    assert len(norms) == 5 and all(bool((t == 1).all()) for t in norms)
    same(tmp_path / "out", model, contexts, library)


@pytest.mark.parametrize("library", [False, True], ids=["read again", "library"])
@pytest.mark.parametrize("n_layers", [0, 1, 2])
def test_a_model_trained_here_is_a_gpt2_whose_layer_norms_do_nothing(tmp_path, make_model, tokens, n_layers, library):
    model = make_model(n_layers).float()
    to_transformers(model, tmp_path / "out")
    same(tmp_path / "out", model, tokens, library)


@pytest.mark.parametrize("library", [False, True], ids=["read again", "library"])
@pytest.mark.parametrize(
    ("kind", "positions"), [(None, "standard"), (None, "shortformer"), ("LN", "standard"), ("LNPre", "standard")]
)
def test_an_attention_only_model_of_transformer_lens_is_written_as_a_gpt2(tmp_path, contexts, kind, positions, library):
    write_lens(tmp_path / "in", normalization_type=kind, positional_embedding_type=positions)
    model = import_model(tmp_path / "in", None, 0)
    to_transformers(model, tmp_path / "out")
    same(tmp_path / "out", model, contexts, library)


def test_the_tokenizer_goes_with_it(tmp_path, make_model):
    tokenizer = train(["one two three two one, two three."] * 9, TokenizerParams(vocab_size=262), "text")
    to_transformers(make_model(1).float(), tmp_path / "out", tokenizer)
    ids = tokenizer.encode("two one, three").ids
    assert Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json")).encode("two one, three").ids == ids
    transformers = pytest.importorskip("transformers", reason="pip install -e '.[interop]'")
    found = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert found("two one, three")["input_ids"] == ids and found.decode(ids) == "two one, three"
    assert found.bos_token_id == 0 and len(found) == tokenizer.get_vocab_size()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"normalization_type": "RMS"}, "an RMS norm in no family"),
        (
            {"normalization_type": "LNPre", "positional_embedding_type": "shortformer"},
            "shortformer beside a layer norm",
        ),
        ({"positional_embedding_type": "alibi"}, "positional_embedding_type: models with it"),
        ({"attn_scores_soft_cap": 2.0}, "attention_soft_cap: models with it are not written for transformers"),
    ],
)
def test_what_has_no_layout_is_refused_by_name(tmp_path, changed, message):
    write_lens(tmp_path / "in", **changed)
    with pytest.raises(InputError, match=message):
        to_transformers(import_model(tmp_path / "in", None, 0), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("case", ["bloom", "mpt"])
def test_families_that_are_read_alone_say_so(tmp_path, case):
    model = import_model(write(tmp_path / "in", case), None, 0)
    with pytest.raises(InputError, match=f"models of the family {case} are not written for transformers"):
        to_transformers(model, tmp_path / "out")


def test_a_bias_that_the_family_cannot_have_is_refused(tmp_path):
    model = import_model(write(tmp_path / "in", "gpt_neo"), None, 0)
    with torch.no_grad():
        model.W_U[-1] += torch.linspace(-1, 1, 23) ** 3  # no combination of the twelve rows above it
    with pytest.raises(InputError, match="its biases have no place"):
        to_transformers(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()
