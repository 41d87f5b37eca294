"""The families of the library transformers: the logits that it computes, whatever the file they come from."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from skiptrace.errors import InputError
from skiptrace.evidence.causal import run_to_end
from skiptrace.models import checkpoint, gpt_neo, gpt_neox, llama, opt
from skiptrace.models.export import to_transformer_lens
from skiptrace.models.importing import from_transformers, import_model
from tests.models import families
from tests.models.test_importing import centred

EXPECTED = json.loads(families.EXPECTED.read_text())
CASES = list(families.CASES)


def weights(case: str) -> dict[str, Tensor]:
    """The tensors of a case under their names in the library."""
    return families.drawn(EXPECTED[case]["shapes"])


def write(folder, case: str, tensors: dict[str, Tensor] | None = None, **changed: object):
    """The folder that the library would save of a case; a key that is None is left out of the config."""
    folder.mkdir(exist_ok=True)
    config = {k: v for k, v in (EXPECTED[case]["config"] | changed).items() if v is not ...}
    (folder / "config.json").write_text(json.dumps(config))
    save_file(weights(case) if tensors is None else tensors, folder / "model.safetensors")
    return folder


def close(model, case: str, tolerance: float = 1e-4) -> None:
    """Its logits are those of the library once the mean over the vocabulary is taken off."""
    expected = centred(torch.tensor(EXPECTED[case]["logits"], dtype=torch.float64))
    torch.testing.assert_close(model(families.CONTEXTS).double(), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("case", CASES)
def test_the_logits_of_the_library_are_kept_and_survive_a_checkpoint(tmp_path, case):
    model = import_model(write(tmp_path / "theirs", case), None, 0)
    close(model, case)
    checkpoint.save(model, tmp_path / "ours")
    again = checkpoint.load(tmp_path / "ours")
    assert again.config == model.config and again.config.imported_from == EXPECTED[case]["config"]["model_type"]
    assert torch.equal(again(families.CONTEXTS), model(families.CONTEXTS))


@pytest.mark.parametrize("case", CASES)
def test_the_library_itself_computes_what_is_expected(case):
    pytest.importorskip("transformers", reason="pip install -e '.[interop]'")
    original = families.original(case)
    close(from_transformers(original), case)
    with torch.no_grad():
        theirs = original(families.CONTEXTS).logits.double()
    torch.testing.assert_close(theirs, torch.tensor(EXPECTED[case]["logits"]).double(), rtol=0, atol=2e-5)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("how", ["bin", "parts", torch.bfloat16, torch.float16], ids=str)
def test_files_in_parts_and_in_half_precision_are_the_same_model(tmp_path, case, how):
    tensors, dtype = weights(case), how if isinstance(how, torch.dtype) else torch.float32
    tensors = {name: t.to(dtype) for name, t in tensors.items()}
    whole = import_model(write(tmp_path / "whole", case, {n: t.float() for n, t in tensors.items()}), None, 0)
    folder = write(tmp_path / "other", case, tensors)
    if how == "bin":
        (folder / "model.safetensors").unlink()
        torch.save(tensors, folder / "pytorch_model.bin")
    elif how == "parts":
        (folder / "model.safetensors").unlink()
        named = {name: f"model-{i % 3}.safetensors" for i, name in enumerate(tensors)}
        for file in set(named.values()):
            save_file({n: t for n, t in tensors.items() if named[n] == file}, folder / file)
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": named}))
    assert torch.equal(import_model(folder, None, 0)(families.CONTEXTS), whole(families.CONTEXTS))


def test_a_query_head_has_its_groups_keys_and_values(tmp_path):
    model = import_model(write(tmp_path, "mistral"), None, 0)
    layer = model.blocks[0]
    for weight in (layer.W_K, layer.W_V):
        assert torch.equal(weight[0], weight[1]) and torch.equal(weight[2], weight[3])
        assert not torch.equal(weight[1], weight[2])
    assert model.n_heads == 4


# The configs of published models as their repositories have them, at other sizes: older names, keys that do not matter.
GENERAL = {"architectures": ["X"], "torch_dtype": "float16", "transformers_version": "4.24.0", "use_cache": True}
AS_PUBLISHED = {
    "gpt_neo": GENERAL | {
        "_name_or_path": "EleutherAI/gpt-neo-125M", "gradient_checkpointing": False, "summary_activation": None,
        "summary_first_dropout": 0.1, "summary_proj_to_labels": True, "summary_type": "cls_index",
        "summary_use_proj": True, "tokenizer_class": "GPT2Tokenizer",
        "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50, "temperature": 0.9}},
    },
    "opt": GENERAL | {"_name_or_path": "facebook/opt-125m", "activation_dropout": 0.0, "prefix": "</s>",
                      "tie_word_embeddings": ..., "enable_bias": ..., "layer_norm_elementwise_affine": ...},
    # bloom-560m
    "bloom": GENERAL | {
        "attention_softmax_in_fp32": True, "bias_dropout_fusion": True, "masked_softmax_fusion": True, "n_embed": 12,
        "hidden_size": ..., "n_head": ..., "num_attention_heads": 3, "n_inner": None, "offset_alibi": 100,
        "pretraining_tp": 1, "seq_length": 2048, "skip_bias_add": True, "skip_bias_add_qkv": False, "unk_token_id": 0,
    },
    "gpt_neox": GENERAL | {"rotary_pct": 0.67, "rotary_emb_base": 10000, "rope_parameters": ..., "attention_bias": ...},
    "llama": GENERAL | {"rope_scaling": None, "rope_theta": 10000, "rope_parameters": ..., "is_llama_config": True,
                        "rope_interleaved": False, "head_dim": 6, "transformers.js_config": {"dtype": "q4"}},
    "qwen2": GENERAL | {"rope_scaling": {"type": "linear", "factor": 2.0}, "rope_theta": 100.0, "rope_parameters": ...,
                        "use_mrope": False},
}  # fmt: skip


@pytest.mark.parametrize("case", AS_PUBLISHED)
def test_configs_as_they_are_published_are_read(tmp_path, case):
    tensors = weights(case)
    if case == "gpt_neox":  # the name that the library had then, and buffers that it wrote
        tensors["embed_out.weight"] = tensors.pop("lm_head.weight")
        tensors["gpt_neox.layers.1.attention.rotary_emb.inv_freq"] = torch.ones(2)
    close(import_model(write(tmp_path, case, tensors, **AS_PUBLISHED[case]), None, 0), case)


@pytest.mark.parametrize(
    ("case", "changed", "message"),
    [
        ("gpt_neo", {"attention_types": [[["global"], 3]]}, "attention_types: expected"),
        ("gpt_neo", {"attention_layers": ["local", "local"]}, "attention_types and attention_layers contradict"),
        ("gpt_neo", {"num_heads": 5}, "num_heads: 5 does not divide hidden_size 12"),
        ("bloom", {"apply_residual_connection_post_layernorm": True}, r"apply_residual_\w+: a stream that"),
        ("mpt", {"no_bias": False}, "no_bias"),
        ("mpt", {"attn_config": {"alibi": False}}, "attn_config: alibi"),
        ("mpt", {"attn_config": {"qk_gn": True}}, "attn_config: qk_gn: unknown key"),
        ("opt", {"do_layer_norm_before": False}, "do_layer_norm_before: layer norm after what a layer writes"),
        ("opt", {"_remove_final_layer_norm": True}, "_remove_final_layer_norm: a model with layer norms in its layers"),
        ("opt", {"word_embed_proj_dim": 5}, "word_embed_proj_dim: 5 differs from hidden_size 12"),
        ("gpt_neox", {"rotary_pct": 0.3}, "rope_parameters.partial_rotary_factor and .* contradict"),
        ("llama", {"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}, "rope_parameters|rope_scaling"),
        ("llama", {"rope_parameters": {"rope_type": "yarn"}}, "rope: rope_type: only default, linear and llama3"),
        ("llama", {"rope_parameters": {"beta_fast": 1}}, "rope: beta_fast: unknown key"),
        ("llama", {"rope_interleaved": True}, "rope_interleaved"),
        ("llama", {"hidden_act": "gelu_10"}, "hidden_act: 'gelu_10' is no activation"),
        ("llama", {"num_key_value_heads": 3}, "num_key_value_heads: 3 does not divide num_attention_heads 4"),
        ("llama", {"sliding_window": 3}, "sliding_window: unknown key"),
        ("qwen2", {"use_mrope": True}, "use_mrope"),
        ("qwen3", {"layer_types": ["full_attention"]}, "layer_types: of 1 layers, not of 2"),
        ("qwen3", {"attn_logit_softcapping": 30.0}, "attn_logit_softcapping: unknown key"),
    ],
)
def test_what_would_be_misread_is_refused_by_name(tmp_path, case, changed, message):
    with pytest.raises(InputError, match=rf"config\.json: ({message})"):
        import_model(write(tmp_path, case, **changed), None, 0)


@pytest.mark.parametrize("case", CASES)
def test_no_key_is_ignored_in_silence(tmp_path, case):
    with pytest.raises(InputError, match=r"config\.json: clip_everything: unknown key"):
        import_model(write(tmp_path, case, clip_everything=None), None, 0)


@pytest.mark.parametrize(
    ("case", "mapping", "said"),
    [
        ("llama", "rope_parameters", "rope"),
        ("gpt_neox", "rope_parameters", "rope"),
        ("mpt", "attn_config", "attn_config"),
    ],
)
def test_a_key_of_a_mapping_in_a_config_is_declared_irrelevant_as_its_error_says(tmp_path, case, mapping, said):
    given = (EXPECTED[case]["config"].get(mapping) or {}) | {"of_mine": 1}
    folder = write(tmp_path, case, **{mapping: given})
    with pytest.raises(InputError, match=rf"{said}: of_mine: unknown key, .* list {said}\.of_mine in `ignored`"):
        import_model(folder, None, 0)
    model = import_model(folder, None, 0, ignored=(f"{said}.of_mine",))
    close(model, case)
    assert "of_mine" not in model.config.imported_config[mapping]
    with pytest.raises(InputError, match=rf"{said}: of_you: in `ignored`, but not in the config"):
        import_model(folder, None, 0, ignored=(f"{said}.of_mine", f"{said}.of_you"))
    with pytest.raises(InputError, match=r"json: other\.of_mine: in `ignored`, but not in the config"):
        import_model(folder, None, 0, ignored=("other.of_mine",))


@pytest.mark.parametrize("case", CASES)
def test_a_tensor_without_a_place_is_refused(tmp_path, case):
    with pytest.raises(InputError, match=r"tensor model\.gate\.sink has no place"):
        import_model(write(tmp_path, case, weights(case) | {"model.gate.sink": torch.ones(3)}), None, 0)


def test_every_irrelevant_key_has_its_reason():
    for kind in (gpt_neo.GPTNeoConfig, gpt_neox.GPTNeoXConfig, opt.OPTConfig, *llama.FAMILIES.values()):
        assert all(kind.IRRELEVANT.values()) and not kind.IRRELEVANT.keys() & kind.model_fields.keys()


def test_a_context_that_a_config_claims_takes_no_memory(tmp_path):
    model = import_model(write(tmp_path, "llama", max_position_embeddings=2**23), None, 0)
    assert model.n_ctx == 2**23 and model.W_pos.untyped_storage().nbytes() < 1000
    close(model, "llama")
    assert import_model(tmp_path, 5, 0).n_ctx == 5


@pytest.mark.parametrize(("case", "key"), [("gpt_neo", "attention_windows"), ("gpt_neox", "rotary_frequencies")])
def test_what_has_no_place_in_transformer_lens_is_not_exported(tmp_path, case, key):
    with pytest.raises(InputError, match=key):
        to_transformer_lens(import_model(write(tmp_path / "in", case), None, 0), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_window_is_named_among_what_circuits_leave_out(tmp_path):
    told = import_model(write(tmp_path, "gpt_neo"), None, 0).config.approximate
    assert any("layers 1 see the last 3 tokens" in each for each in told)
    assert not any("see the last" in each for each in import_model(tmp_path, 3, 0).config.approximate)


@pytest.mark.parametrize("case", CASES)
def test_one_end_of_a_context_is_run_as_the_whole_is(tmp_path, case):
    model = import_model(write(tmp_path, case), None, 0)
    end = run_to_end(model, families.CONTEXTS)
    torch.testing.assert_close(end.logits, model(families.CONTEXTS)[:, -1], rtol=0, atol=1e-5)
    for found, whole in zip(end.attention, model.patterns(families.CONTEXTS), strict=True):
        torch.testing.assert_close(found, whole[:, :, -1], rtol=0, atol=1e-6)


# The same models as TransformerLens holds them: its names for what is used, and its layout of the weights.
LENS = {
    "gpt_neox": {"d_head": 6, "n_heads": 2, "d_mlp": 10, "act_fn": "gelu", "normalization_type": "LN", "eps": 1e-5,
                 "positional_embedding_type": "rotary", "rotary_dim": 4, "rotary_base": 10000,
                 "parallel_attn_mlp": True},
    "gpt_neo": {"d_head": 4, "n_heads": 3, "d_mlp": 48, "act_fn": "gelu_new", "normalization_type": "LN", "eps": 1e-5,
                "positional_embedding_type": "standard", "use_attn_scale": False, "use_local_attn": True,
                "window_size": 3, "attn_types": ["global", "local"]},
    "qwen3": {"d_head": 6, "n_heads": 4, "n_key_value_heads": 2, "d_mlp": 10, "act_fn": "silu", "gated_mlp": True,
              "normalization_type": "RMS", "eps": 1e-6, "positional_embedding_type": "rotary", "rotary_dim": 6,
              "rotary_base": 10000.0, "use_qk_norm": True},
}  # fmt: skip
NAMES = {
    "gpt_neox": ("gpt_neox.embed_in", "gpt_neox.layers", "gpt_neox.final_layer_norm", "lm_head"),
    "gpt_neo": ("transformer.wte", "transformer.h", "transformer.ln_f", "transformer.wte"),
    "qwen3": ("model.embed_tokens", "model.layers", "model.norm", "lm_head"),
}


def lens_state(case: str, w: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a case under the names, and in the layout, of TransformerLens."""
    c, (embed, blocks, final, head) = LENS[case], NAMES[case]
    n, k = c["n_heads"], c["d_head"]
    state = {"embed.W_E": w[f"{embed}.weight"], "unembed.W_U": w[f"{head}.weight"].T, "unembed.b_U": torch.zeros(23)}
    norms = {"ln_final": final}
    if case == "gpt_neo":
        state["pos_embed.W_pos"] = w["transformer.wpe.weight"]
    for i in range(2):
        from_, to = f"{blocks}.{i}", f"blocks.{i}"
        attn, mlp = f"{to}.attn", f"{to}.mlp"
        if case == "gpt_neox":
            qkv = w[f"{from_}.attention.query_key_value.weight"].view(n, 3, k, 12)
            bias = w[f"{from_}.attention.query_key_value.bias"].view(n, 3, k)
            for part, name in enumerate("QKV"):
                state |= {f"{attn}.W_{name}": qkv[:, part].mT, f"{attn}.b_{name}": bias[:, part]}
            out, (into, back) = f"{from_}.attention.dense", (f"{from_}.mlp.dense_h_to_4h", f"{from_}.mlp.dense_4h_to_h")
            norms |= {f"{to}.ln1": f"{from_}.input_layernorm", f"{to}.ln2": f"{from_}.post_attention_layernorm"}
        else:
            inside = f"{from_}.self_attn" if case == "qwen3" else f"{from_}.attn.attention"
            for name in "QKV":
                weight = w[f"{inside}.{name.lower()}_proj.weight"].unflatten(0, (-1, k)).mT
                state[f"{attn}.{'_' if case == 'qwen3' and name != 'Q' else ''}W_{name}"] = weight
            out = f"{inside}.o_proj" if case == "qwen3" else f"{inside}.out_proj"
            into, back = (
                f"{from_}.mlp.{part}" for part in (("up_proj", "down_proj") if case == "qwen3" else ("c_fc", "c_proj"))
            )
            first, then = ("input_layernorm", "post_attention_layernorm") if case == "qwen3" else ("ln_1", "ln_2")
            norms |= {f"{to}.ln1": f"{from_}.{first}", f"{to}.ln2": f"{from_}.{then}"}
        state |= {f"{attn}.W_O": w[f"{out}.weight"].T.unflatten(0, (n, k)), f"{mlp}.W_in": w[f"{into}.weight"].T}
        state[f"{mlp}.W_out"] = w[f"{back}.weight"].T
        for name, there in ((f"{attn}.b_O", out), (f"{mlp}.b_in", into), (f"{mlp}.b_out", back)):
            if f"{there}.bias" in w:
                state[name] = w[f"{there}.bias"]
        if case == "qwen3":
            state[f"{mlp}.W_gate"] = w[f"{from_}.mlp.gate_proj.weight"].T
            state |= {f"{attn}.{x}_norm.w": w[f"{from_}.self_attn.{x}_norm.weight"] for x in "qk"}
    for to, from_ in norms.items():
        state |= {f"{to}.{p[0]}": w[f"{from_}.{p}"] for p in ("weight", "bias") if f"{from_}.{p}" in w}
    return {name: t.contiguous().clone() for name, t in state.items()}


def write_as_lens(folder, case: str, state: dict[str, Tensor], **changed: object):
    config = {"n_layers": 2, "d_model": 12, "n_ctx": 9, "d_vocab": 23, "rotary_adjacent_pairs": False} | LENS[case]
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config | changed))
    torch.save(state, folder / "model.pth")
    return folder


@pytest.mark.parametrize("case", LENS)
def test_the_same_model_in_the_format_of_transformer_lens_has_the_same_logits(tmp_path, case):
    close(import_model(write_as_lens(tmp_path, case, lens_state(case, weights(case))), None, 0), case)


@pytest.mark.parametrize("case", ["gpt_neox", "qwen3"])
def test_pairs_that_are_turned_as_neighbours_are_read_as_halves(tmp_path, case):
    state, dim = lens_state(case, weights(case)), LENS[case]["rotary_dim"]
    for name, t in state.items():
        if name.endswith(("W_Q", "_W_K", ".W_K", "b_Q", "b_K", "q_norm.w", "k_norm.w")):
            halves = t[..., :dim].clone()
            t[..., 0:dim:2], t[..., 1:dim:2] = halves[..., : dim // 2], halves[..., dim // 2 :]
    close(import_model(write_as_lens(tmp_path, case, state, rotary_adjacent_pairs=True), None, 0), case)


def test_the_bias_of_a_gated_mlp_is_added_to_the_product(tmp_path):
    state = lens_state("qwen3", weights("qwen3"))
    plain = import_model(write_as_lens(tmp_path / "plain", "qwen3", state), None, 0)
    added = torch.linspace(-1, 1, 10)
    state["blocks.0.mlp.b_in"] = added
    model = import_model(write_as_lens(tmp_path / "biased", "qwen3", state), None, 0)
    assert torch.equal(model.blocks[0].mlp.W_in, plain.blocks[0].mlp.W_in)
    expected = added @ state["blocks.0.mlp.W_out"]
    torch.testing.assert_close(model.blocks[0].mlp.b_out[:12], expected)


@pytest.mark.parametrize(
    ("case", "changed", "message"),
    [
        ("gpt_neox", {"rotary_dim": 8}, "rotary_dim: expected from 1 to d_head 6, got 8"),
        ("gpt_neox", {"rotary_dim": None}, "rotary_dim: expected from 1 to d_head 6, got None"),
        ("gpt_neox", {"use_NTK_by_parts_rope": True}, "use_NTK_by_parts_rope"),
        ("gpt_neox", {"rotary_scaling_factor": 2.0}, "rotary_scaling_factor"),
        ("gpt_neox", {"attn_only": True}, "parallel_attn_mlp: of MLPs"),
        ("gpt_neo", {"attn_types": ["global"]}, "use_local_attn: needs window_size, and attn_types for each of 2"),
        ("qwen3", {"normalization_type": None}, "use_qk_norm: without normalization_type"),
    ],
)
def test_what_transformer_lens_might_mean_otherwise_is_refused_by_name(tmp_path, case, changed, message):
    with pytest.raises(InputError, match=rf"config\.json: {message}"):
        import_model(write_as_lens(tmp_path, case, lens_state(case, weights(case)), **changed), None, 0)
