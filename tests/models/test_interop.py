"""Imports and exports compared with the original implementations, where the `interop` extra is installed."""

import json
import re
import warnings
from importlib import metadata
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models

from skiptrace.models.export import to_transformer_lens
from skiptrace.models.export_transformers import to_transformers
from skiptrace.models.importing import from_transformer_lens, from_transformers, import_model

LENS = {"n_layers": 2, "n_heads": 3, "d_model": 10, "d_head": 4, "n_ctx": 7, "d_vocab": 23, "attn_only": True}


@pytest.fixture
def lens():
    """HookedTransformer and its config; versions from 4 on have none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        package = pytest.importorskip("transformer_lens", reason="pip install -e '.[interop]'")
        if int(metadata.version("transformer-lens").partition(".")[0]) > 3:
            pytest.skip("TransformerLens has no HookedTransformer from version 4 on")
        yield package.HookedTransformer, package.HookedTransformerConfig


@pytest.fixture
def bridge():
    """What makes a model of TransformerLens 4 from what `to_transformer_lens` wrote."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("transformer_lens", reason="pip install -e '.[interop-4]'")
        if int(metadata.version("transformer-lens").partition(".")[0]) < 4:
            pytest.skip("TransformerLens has bridges from version 4 on")
        yield load_bridge


def load_bridge(folder):
    """As docs/models.md has it."""
    text = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    (lines,) = (
        block for block in re.findall(r"```python not-run\n(.*?)```", text, re.DOTALL) if "boot_native" in block
    )
    found = {}
    exec(lines.replace("folder = ", f"folder = {str(folder)!r} or "), found)
    return found["model"]


def randomised(model: torch.nn.Module) -> torch.nn.Module:
    """All weights drawn at random, biases and those of layer norms too, which start at constants."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.normal_(std=0.4, generator=generator)
            if name.endswith((".w", "ln_1.weight", "ln_2.weight", "ln_f.weight")):
                weight += 1
    return model.eval()


def close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """Equal to 1e-4 once the mean over the vocabulary, which softmax ignores, is taken off."""
    theirs = theirs.detach()
    torch.testing.assert_close(ours, theirs - theirs.mean(-1, keepdim=True), rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", [None, "LN", "LNPre", "RMS"])
@pytest.mark.parametrize("positions", ["standard", "shortformer"])
def test_a_hooked_transformer_keeps_its_logits(lens, tmp_path, contexts, kind, positions):
    HookedTransformer, Config = lens
    config = LENS | {"normalization_type": kind, "positional_embedding_type": positions}
    original = randomised(HookedTransformer(Config(**config, act_fn=None)))
    torch.save(original.state_dict(), tmp_path / "model.pth")
    (tmp_path / "config.json").write_text(json.dumps(original.cfg.to_dict(), default=str))
    model = import_model(tmp_path, None, 0)
    close(model(contexts), original(contexts))
    assert torch.equal(from_transformer_lens(original)(contexts), model(contexts))


@pytest.mark.parametrize("origin", ["trained", "gpt2"])
def test_transformer_lens_runs_what_was_exported(lens, tmp_path, contexts, make_model, origin):
    from safetensors.torch import load_file

    from tests.models.conftest import write_gpt2

    HookedTransformer, Config = lens
    if origin == "trained":
        model = make_model(2).float()
    else:
        write_gpt2(tmp_path / "gpt2")
        model = import_model(tmp_path / "gpt2", None, 0)
    to_transformer_lens(model, tmp_path / "out")
    theirs = HookedTransformer(Config(**json.loads((tmp_path / "out" / "config.json").read_text())))
    missing = theirs.load_state_dict(load_file(tmp_path / "out" / "model.safetensors"), strict=False).missing_keys
    assert all(name.endswith((".mask", ".IGNORE")) for name in missing)
    torch.testing.assert_close(theirs(contexts).detach(), model(contexts), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("origin", ["trained", "gpt2"])
def test_a_bridge_of_transformer_lens_4_runs_what_was_exported(bridge, tmp_path, contexts, make_model, origin):
    from tests.models.conftest import write_gpt2

    if origin == "trained":
        model = make_model(2).float()
    else:
        write_gpt2(tmp_path / "gpt2")
        model = import_model(tmp_path / "gpt2", None, 0)
    to_transformer_lens(model, tmp_path / "out", standard=True)
    theirs = bridge(tmp_path / "out")(contexts)
    torch.testing.assert_close(theirs.detach(), model(contexts), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "origin", ["trained", "gpt2", "gpt_neo", "gpt_neox", "opt", "llama", "mistral", "qwen2", "qwen3"]
)
def test_a_bridge_boots_what_was_exported_for_transformers(bridge, tmp_path, make_model, origin):
    from transformer_lens.model_bridge import TransformerBridge

    from tests.models.conftest import write_gpt2
    from tests.models.families import CONTEXTS
    from tests.models.test_families import write

    if origin == "trained":
        model = make_model(2).float()
    else:
        write_gpt2(tmp_path / "in") if origin == "gpt2" else write(tmp_path / "in", origin)
        model = import_model(tmp_path / "in", None, 0)
    vocabulary = {f"<{token}>": token for token in range(model.d_vocab)}
    to_transformers(model, tmp_path / "out", Tokenizer(models.WordLevel(vocabulary, unk_token="<1>")))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = TransformerBridge.boot_transformers(str(tmp_path / "out"))
    tokens = CONTEXTS[:, : model.n_ctx] % model.d_vocab
    with torch.no_grad():
        logits, cache = theirs.run_with_cache(tokens)
    expected = model(tokens)
    close(expected - expected.mean(-1, keepdim=True), logits)
    # Its hooks have the heads that are studied here.
    x, pos = model.embed(tokens)
    x = model.blocks[0].add(x, model.blocks[0](x, pos))
    pattern = model.blocks[1].pattern(x, pos)
    torch.testing.assert_close(cache["blocks.1.attn.hook_pattern"], pattern, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "changed",
    [
        {"attn_only": True, "normalization_type": None},
        {"attn_only": True, "normalization_type": "RMS", "positional_embedding_type": "rotary"},
        {"attn_only": True, "attn_scores_soft_cap": 1.5, "output_logits_soft_cap": 2.0},
        {"d_mlp": 20, "act_fn": "gelu_new", "n_key_value_heads": 2},
        {"d_mlp": 20, "act_fn": "silu", "gated_mlp": True, "positional_embedding_type": "rotary"},
    ],
    ids=["bare", "rotary", "soft caps", "shared keys", "gated"],
)
def test_a_model_of_transformer_lens_4_keeps_its_logits(bridge, contexts, changed):
    import transformer_lens.model_bridge.sources.native  # noqa: F401  which makes boot_native
    from transformer_lens.config import TransformerBridgeConfig
    from transformer_lens.model_bridge import TransformerBridge

    sizes = {"n_layers": 2, "n_heads": 4, "d_model": 12, "d_head": 4, "n_ctx": 7, "d_vocab": 23}
    original = randomised(TransformerBridge.boot_native(TransformerBridgeConfig(**sizes, **changed)))
    ours = from_transformer_lens(original)(contexts)
    close(ours - ours.mean(-1, keepdim=True), original(contexts))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("safe", [True, False], ids=["safetensors", "bin"])
def test_a_gpt2_of_transformers_keeps_its_logits(tmp_path, contexts, tied, safe):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformers = pytest.importorskip("transformers", reason="pip install -e '.[interop]'")
        config = transformers.GPT2Config(
            vocab_size=23, n_positions=7, n_embd=12, n_layer=2, n_head=3, tie_word_embeddings=tied,
            scale_attn_by_inverse_layer_idx=tied, bos_token_id=0, eos_token_id=0,
        )  # fmt: skip
        original = randomised(transformers.GPT2LMHeadModel(config))
        original.save_pretrained(tmp_path)
    if not safe:
        (tmp_path / "model.safetensors").unlink()
        torch.save(original.state_dict(), tmp_path / "pytorch_model.bin")
    model = import_model(tmp_path, None, 0)
    told = model.config
    assert told.imported_from == "gpt2"
    close(model(contexts), original(contexts).logits)
    assert torch.equal(from_transformers(original)(contexts), model(contexts))


def test_a_trainers_folder_cut_in_parts_keeps_its_logits(tmp_path, contexts):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformers = pytest.importorskip("transformers", reason="pip install -e '.[interop]'")
        config = transformers.GPT2Config(vocab_size=23, n_positions=7, n_embd=12, n_layer=2, n_head=3, bos_token_id=0)
        original = randomised(transformers.GPT2LMHeadModel(config))
        original.save_pretrained(tmp_path, max_shard_size="4KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    close(import_model(tmp_path, None, 0)(contexts), original(contexts).logits)
