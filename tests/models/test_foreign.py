"""Checkpoints in the shapes that the published models have: read as they were trained, or refused by name."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

import skiptrace
from skiptrace.errors import InputError
from skiptrace.models import formats, gpt2, transformer_lens
from skiptrace.models.export import to_transformer_lens
from skiptrace.models.importing import import_model
from tests.models.conftest import causal, gpt2_logits, lens_logits, random_tensors, write_gpt2, write_lens
from tests.models.test_importing import centred

# A config of the family Attn_Only_{1..4}L512W_C4_Code, as its training wrote it, at other sizes.
ON_THE_HUB = {
    "n_layers": 2, "d_model": 10, "d_mlp": 40, "d_head": 4, "n_heads": 3, "lr_hidden": 0.002, "lr_vector": 0.001,
    "batch_size_per_device": 20, "batches_per_step": 1, "seed": 86399, "save_checkpoints": True, "debug": False,
    "debug_batch": False, "normalization": "LN", "max_tokens": 22000000000, "version": 116, "use_bfloat16_matmul": True,
    "n_ctx": 7, "d_vocab": 23, "tokenizer_name": "NeelNanda/gpt-neox-tokenizer-digits", "betas": [0.9, 0.99],
    "weight_decay": 0.05, "dataset_name": "c4_code", "grad_norm_clip": 1.0, "n_devices": 8, "act_fn": "solu_ln",
    "shortformer_pos": False, "attn_only": True, "ln_eps": 1e-5, "lr_schedule": "cosine_warmup",
    "warmup_tokens": 300000000, "train_loss_ewma_beta": 0.99, "truncate_tokens": 1000000000000, "log_interval": 50,
    "initializer_scale_global": 1.0, "initializer_scale_hidden": 0.02, "initializer_scale_embed": 0.1,
    "initializer_scale_unembed": 0.02, "neuron_scale": 1.0, "neuron_temp": 1.0, "use_acc": False,
    "weight_init_scheme": "gpt2", "fixed_init": "", "store_init": False, "control": 1.0, "tokens_per_step": 163840,
    "batch_size": 160, "max_steps": 134277, "warmup_steps": 1831, "n_params": 1572864,
}  # fmt: skip


def close(model, contexts, expected):
    torch.testing.assert_close(model(contexts).double(), centred(expected), rtol=0, atol=1e-4)


def written(folder, content):
    (folder / "config.json").write_text(json.dumps(content))


@pytest.mark.parametrize("normalization", ["LN", None])
@pytest.mark.parametrize("shortformer", [False, True])
def test_a_config_of_the_hub_says_norm_and_positions_in_its_own_words(tmp_path, contexts, normalization, shortformer):
    positions = "shortformer" if shortformer else "standard"
    config, tensors = write_lens(tmp_path, normalization_type=normalization, positional_embedding_type=positions)
    written(tmp_path, ON_THE_HUB | {"normalization": normalization, "shortformer_pos": shortformer})
    model = import_model(tmp_path, None, 0)
    close(model, contexts, lens_logits(config, tensors, contexts))
    assert model.config.positional_embedding_type == positions
    # Shortformer positions are read by queries and keys alone: the stream that OV reads holds none.
    x, pos = model.embed(contexts)
    assert torch.equal(x, model.W_E[contexts]) == shortformer and bool(pos.any()) == shortformer


@pytest.mark.parametrize(
    "changed",
    [
        {"act_fn": "solu_ln"},
        {"d_mlp": -1},
        {"d_vocab_out": 23},
        {"attn_scale": "2.0"},
        {"use_pos_resid": True},
        {"tie_word_embeddings": True},
        {"dtype": "torch.float32", "device": "cuda", "tokenizer_name": "gpt2", "n_params": 960},
    ],
)
def test_what_does_not_matter_or_agrees_is_accepted(tmp_path, contexts, changed):
    config, tensors = write_lens(tmp_path, n_layers=1)
    written(tmp_path, config | changed)
    close(import_model(tmp_path, None, 0), contexts, lens_logits(config, tensors, contexts))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"d_vocab_out": 22}, "d_vocab_out: 22 differs from d_vocab 23"),
        ({"normalization": "RMS"}, "normalization_type and normalization contradict each other"),
        ({"shortformer_pos": True}, "positional_embedding_type and shortformer_pos contradict each other"),
        ({"shortformer_pos": "yes"}, "shortformer_pos: expected true or false, got 'yes'"),
        ({"attn_scale": "much"}, "attn_scale: .* got 'much'"),
        ({"clip_qkv": 8.0}, "clip_qkv"),
        ({"rmsnorm_uses_offset": True}, "rmsnorm_uses_offset"),
        ({"right_multiply_matrices": False}, "right_multiply_matrices: its matrices are transposed"),
        ({"final_rms": True, "normalization_type": "LN"}, "final_rms: layer norms of two kinds"),
        ({"attn_only": False, "d_mlp": 5, "act_fn": "solu_ln"}, "act_fn: 'solu_ln' is no activation"),
        ({"sliding": 4}, "sliding: unknown key, which may change what the model computes; .* list it in `ignored`"),
    ],
)
def test_what_would_be_misread_is_refused_by_name(tmp_path, changed, message):
    config, tensors = write_lens(tmp_path, n_layers=1)
    mlp = {f"blocks.0.mlp.{n}": torch.ones(s) for n, s in {"W_in": (10, 5), "W_out": (5, 10)}.items()}
    torch.save(tensors | (mlp if changed.get("attn_only") is False else {}), tmp_path / "model.pth")
    written(tmp_path, config | changed)
    with pytest.raises(InputError, match=rf"config\.json: {message}"):
        import_model(tmp_path, None, 0)


LENS_KEYS = {*transformer_lens.LensConfig.model_fields, *transformer_lens.POSITIONS}
GPT2_KEYS = {*gpt2.GPT2Config.model_fields}
DECLARED = {
    "transformer-lens": LENS_KEYS | {*transformer_lens.LensConfig.IRRELEVANT, *transformer_lens.LensConfig.OTHERWISE},
    "gpt2": GPT2_KEYS | {*gpt2.GPT2Config.IRRELEVANT},
}


@pytest.mark.parametrize("kind", ["transformer-lens", "gpt2"])
def test_no_key_is_ignored_in_silence(tmp_path, kind):
    config, _ = write_lens(tmp_path) if kind == "transformer-lens" else write_gpt2(tmp_path)

    @settings(max_examples=40, deadline=None)
    @given(key=st.text(min_size=1), value=st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.none()))
    def refused(key, value):
        if key in DECLARED[kind] or key == "model_type":
            return
        written(tmp_path, config | {key: value})
        with pytest.raises(InputError, match="unknown key"):
            formats.read(tmp_path)

    refused()
    assert not (LENS_KEYS & {*transformer_lens.LensConfig.IRRELEVANT}) and not (
        GPT2_KEYS & {*gpt2.GPT2Config.IRRELEVANT}
    )
    assert all(why for kind in (transformer_lens.LensConfig, gpt2.GPT2Config) for why in kind.IRRELEVANT.values())


def test_a_key_that_the_user_knows_is_ignored_and_one_that_is_not_there_is_named(tmp_path, contexts):
    config, tensors = write_lens(tmp_path, n_layers=1)
    written(tmp_path, config | {"sliding": None})
    close(import_model(tmp_path, None, 0, ignored=("sliding",)), contexts, lens_logits(config, tensors, contexts))
    with pytest.raises(InputError, match="sliped: in `ignored`, but not in the config"):
        import_model(tmp_path, None, 0, ignored=("sliped",))


def test_a_model_without_positions_runs_without_and_goes_out_and_in_again(tmp_path, contexts):
    config, tensors = write_lens(tmp_path / "theirs", n_layers=1)
    del tensors["pos_embed.W_pos"]
    torch.save(tensors, tmp_path / "theirs" / "model.pth")
    written(tmp_path / "theirs", config | {"positional_embedding_type": "none"})
    model = import_model(tmp_path / "theirs", None, 0)
    zero = tensors | {"pos_embed.W_pos": torch.zeros(7, 10)}
    close(model, contexts, lens_logits(config, zero, contexts))
    assert model.config.positional_embedding_type == "none"
    to_transformer_lens(model, tmp_path / "out")
    close(import_model(tmp_path / "out", None, 0), contexts, lens_logits(config, zero, contexts))


# As the page of Butanium/simple-stories-… shows the class: embed_tokens, layers, lm_head, with a config of Llama.
SIMPLE_STORIES = {
    "architectures": ["AttentionOnlyTransformer"], "attention_bias": False, "attention_dropout": 0.0, "head_dim": 4,
    "bos_token_id": 1, "eos_token_id": 1, "hidden_act": "silu", "hidden_size": 12, "initializer_range": 0.02,
    "intermediate_size": 48, "max_position_embeddings": 9, "mlp_bias": False, "model_type": "llama",
    "num_attention_heads": 3, "num_hidden_layers": 2, "num_key_value_heads": 3, "pretraining_tp": 1,
    "rms_norm_eps": 1e-6, "rope_scaling": None, "rope_theta": 10000.0, "tie_word_embeddings": False,
    "torch_dtype": "float32", "transformers_version": "4.51.0", "use_cache": True, "vocab_size": 23,
}  # fmt: skip


@pytest.mark.parametrize("inside", ["", "attention.", "self_attn."])
def test_a_llama_without_norms_mlps_and_positions_is_heads_alone(tmp_path, contexts, inside):
    shapes = {"embed_tokens.weight": (23, 12), "lm_head.weight": (23, 12)}
    shapes |= {f"layers.{i}.{inside}{x}_proj.weight": (12, 12) for i in range(2) for x in "qkvo"}
    w = random_tensors(shapes)
    save_file(w, tmp_path / "model.safetensors")
    written(tmp_path, SIMPLE_STORIES)
    model = import_model(tmp_path, None, 0)
    x = w["embed_tokens.weight"][contexts].double()
    for i in range(2):
        q, k, v = (x @ w[f"layers.{i}.{inside}{name}_proj.weight"].double().T for name in "qkv")
        heads = [causal(q[..., h : h + 4], k[..., h : h + 4], 4) @ v[..., h : h + 4] for h in (0, 4, 8)]
        x = x + torch.cat(heads, -1) @ w[f"layers.{i}.{inside}o_proj.weight"].double().T
    close(model, contexts, x @ w["lm_head.weight"].double().T)
    assert model.linear and model.config.positional_embedding_type == "none"
    assert model.config.processing[0].startswith("read as its page on the Hub describes it: heads alone")
    written(tmp_path, SIMPLE_STORIES | {"architectures": ["LlamaForCausalLM"]})
    with pytest.raises(InputError, match=r"tensor (model\.)?norm\.weight is missing"):
        import_model(tmp_path, None, 0)
    written(tmp_path, SIMPLE_STORIES | {"sliding": 4})
    with pytest.raises(InputError, match="sliding: unknown key"):
        import_model(tmp_path, None, 0)
    save_file(w | {"layers.0.norm.weight": torch.ones(12)}, tmp_path / "model.safetensors")
    written(tmp_path, SIMPLE_STORIES)
    with pytest.raises(InputError, match=r"tensor layers\.0\.norm\.weight has no place"):
        import_model(tmp_path, None, 0)


def test_tied_embeddings_win_over_a_stale_head_and_it_is_said(tmp_path, contexts):
    config, tensors = write_gpt2(tmp_path)
    stale = torch.randn(23, 12)
    stored = {f"transformer.{n}": t for n, t in tensors.items()}
    save_file(stored | {"lm_head.weight": stale}, tmp_path / "model.safetensors")
    model = import_model(tmp_path, None, 0)
    close(model, contexts, gpt2_logits(config, tensors, contexts))
    assert model.config.processing[0].startswith("lm_head.weight left out, which differs from the embedding")
    written(tmp_path, config | {"tie_word_embeddings": False})
    assert (import_model(tmp_path, None, 0)(contexts) - model(contexts)).abs().max() > 1
    save_file(stored, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=r"lm_head\.weight is missing"):
        import_model(tmp_path, None, 0)


@pytest.mark.parametrize("name", ["gelu_fast", "gelu_pytorch_tanh"])
def test_other_names_of_the_tanh_approximation(tmp_path, contexts, name):
    config, tensors = write_gpt2(tmp_path, activation_function=name)
    model = import_model(tmp_path, None, 0)
    close(model, contexts, gpt2_logits(config, tensors, contexts))
    assert model.config.act_fn == "gelu_new"


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "module._orig_mod."])
def test_names_that_wrappers_put_before_tensors_are_taken_off(tmp_path, contexts, prefix):
    config, tensors = write_lens(tmp_path, n_layers=1)
    torch.save({prefix + n: t for n, t in tensors.items()}, tmp_path / "model.pth")
    close(import_model(tmp_path, None, 0), contexts, lens_logits(config, tensors, contexts))
    inside = {n.replace("blocks.0.", "blocks.0._orig_mod."): t for n, t in tensors.items()}
    torch.save(inside, tmp_path / "model.pth")
    close(import_model(tmp_path, None, 0), contexts, lens_logits(config, tensors, contexts))
    torch.save(tensors | inside, tmp_path / "model.pth")
    with pytest.raises(InputError, match="have one name without those of wrappers"):
        import_model(tmp_path, None, 0)


@pytest.mark.parametrize("bos", [0, 3])
def test_padding_rows_are_dropped_and_it_is_said_or_kept(tmp_path, bos):
    config, tensors = write_lens(tmp_path)
    tokens = torch.randint(0, 20, (2, 6), generator=torch.Generator().manual_seed(1))
    swapped = torch.where(tokens == 0, bos, torch.where(tokens == bos, 0, tokens))
    order = [bos, *(0 if i == bos else i for i in range(1, 20))]
    model = import_model(tmp_path, None, bos, d_vocab=20)
    expected = lens_logits(config, tensors, tokens)[..., :20][..., order]
    torch.testing.assert_close(model(swapped).double(), centred(expected), rtol=0, atol=1e-4)
    assert model.d_vocab == 20 and model.config.processing[0].startswith("3 of 23 rows of the vocabulary, to which the")
    kept = import_model(tmp_path, None, bos, d_vocab=20, padding="keep")
    torch.testing.assert_close(
        kept(swapped)[..., :20] - kept(swapped)[..., :1], model(swapped) - model(swapped)[..., :1]
    )
    assert kept.d_vocab == 23 and "kept: they have their part" in kept.config.processing[0]


def test_a_state_dict_alone_takes_its_config_from_params_or_by_name(tmp_path, contexts):
    config, tensors = write_lens(tmp_path, positional_embedding_type="shortformer")
    (tmp_path / "config.json").unlink()
    with pytest.raises(InputError, match=r"config\.json: does not exist; .* a known one \(attn_only_2L_half\)"):
        import_model(tmp_path, None, 0)
    close(import_model(tmp_path, None, 0, config), contexts, lens_logits(config, tensors, contexts))
    with pytest.raises(InputError, match=r"import\.config: n_heads: Input should be"):
        import_model(tmp_path, None, 0, config | {"n_heads": "3"})
    with pytest.raises(InputError, match=r"import\.config: 'other' is no known config; there is attn_only_2L_half"):
        import_model(tmp_path, None, 0, "other")
    with pytest.raises(InputError, match=r"tensor pos_embed\.W_pos has shape \(7, 10\), .* says \(2048, 768\)"):
        import_model(tmp_path, None, 0, "attn_only_2L_half")


class InMemory(torch.nn.Module):
    """A model of another library: a config with `to_dict`, and a state dict."""

    def __init__(self, key, config, tensors):
        super().__init__()
        setattr(self, key, type("Config", (), {"to_dict": lambda _: config})())
        self.state_dict = lambda: tensors


def test_a_model_in_memory_is_read_as_its_checkpoint_is(tmp_path, contexts):
    config, tensors = write_lens(tmp_path / "lens")
    lens = InMemory("cfg", config | {"dtype": torch.float32}, tensors)
    expected = import_model(tmp_path / "lens", 6, 0)
    assert torch.equal(skiptrace.from_transformer_lens(lens, n_ctx=6)(contexts), expected(contexts))
    config, tensors = write_gpt2(tmp_path / "gpt2")
    expected = import_model(tmp_path / "gpt2", None, 3)
    theirs = InMemory("config", config, {f"transformer.{n}": t for n, t in tensors.items()})
    assert torch.equal(skiptrace.from_transformers(theirs, bos_id=3)(contexts), expected(contexts))
    with pytest.raises(InputError, match=r"InMemory: config: sliding: unknown key"):
        skiptrace.from_transformers(InMemory("config", config | {"sliding": 4}, tensors))
    with pytest.raises(InputError, match="Linear: expected a HookedTransformer"):
        skiptrace.from_transformer_lens(torch.nn.Linear(1, 1))


def test_of_several_checkpoints_the_one_that_is_named_is_read(tmp_path, contexts):
    config, tensors = write_lens(tmp_path, seed=1)
    (tmp_path / "model.pth").rename(tmp_path / "model_final.pth")
    write_lens(tmp_path, seed=2)
    with pytest.raises(InputError, match=r"found model\.pth, model_final\.pth; name the one .* as .*model_final\.pth"):
        import_model(tmp_path, None, 0)
    close(import_model(tmp_path / "model_final.pth", None, 0), contexts, lens_logits(config, tensors, contexts))


def test_a_trainers_folder_of_parts_is_read(tmp_path, contexts):
    folder = tmp_path / "checkpoint-500"
    config, tensors = write_gpt2(folder)
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    halves = {"model-00001-of-00002.safetensors": names[:9], "model-00002-of-00002.safetensors": names[9:]}
    for file, some in halves.items():
        save_file({f"transformer.{n}": tensors[n] for n in some}, folder / file)
    index = {"metadata": {}, "weight_map": {f"transformer.{n}": file for file, some in halves.items() for n in some}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"):
        (folder / name).write_bytes(b"no state dict")
    close(import_model(folder, None, 0), contexts, gpt2_logits(config, tensors, contexts))
    with pytest.raises(InputError, match=r"the checkpoints are in checkpoint-500; name the one"):
        import_model(tmp_path, None, 0)
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(InputError, match=r"model-00002-of-00002\.safetensors: does not exist; an index names it"):
        import_model(folder, None, 0)
    for file in ("../elsewhere.safetensors", "notes.txt"):
        index["weight_map"]["transformer.wte.weight"] = file
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        with pytest.raises(InputError, match=r"weight_map: '.*' is no checkpoint file beside it"):
            import_model(folder, None, 0)
