import json
import math
import pickle
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from skiptrace.circuits import paths as circuit_paths
from skiptrace.circuits.attention import explain_attention
from skiptrace.circuits.factored import qk
from skiptrace.circuits.paths import contributions
from skiptrace.errors import InputError
from skiptrace.evidence.causal import run_to_end, without_edges
from skiptrace.models import checkpoint
from skiptrace.models.evaluation import window_losses
from skiptrace.models.export import to_transformer_lens
from skiptrace.models.importing import import_model
from skiptrace.models.relative import buckets
from tests.models.conftest import BUCKETS, bucket, gpt2_logits, lens_logits, write_gpt2, write_lens

CAPS = ("attn_scores_soft_cap", "output_logits_soft_cap", "use_attention_sinks")
KINDS = [None, "LN", "LNPre", "RMS", "RMSPre"]


def centred(logits: torch.Tensor) -> torch.Tensor:
    """Logits less their mean, which softmax ignores and centring the unembedding removes."""
    return logits - logits.mean(-1, keepdim=True)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("positions", ["standard", "shortformer", "alibi"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_imported_transformer_lens_model_has_the_logits_of_the_original(tmp_path, contexts, kind, positions, suffix):
    config, tensors = write_lens(tmp_path, suffix, normalization_type=kind, positional_embedding_type=positions)
    model = import_model(tmp_path, None, 0)
    told = model.config
    expected = centred(lens_logits(config, tensors, contexts))
    torch.testing.assert_close(model(contexts).double(), expected, rtol=0, atol=1e-4)
    assert told.imported_from == "transformer-lens"
    assert any("layer norm" in step for step in told.processing) == (kind in ("LN", "RMS", "LNPre"))
    assert bool(told.approximate) == (kind is not None or positions == "alibi")
    assert model.linear == (kind is None)


def test_shared_keys_and_values_scores_and_scales_are_those_of_the_original(tmp_path, contexts):
    changed = {"n_heads": 4, "n_key_value_heads": 2, "normalization_type": "LN"}
    config, tensors = write_lens(tmp_path, **changed)
    expected = lens_logits(config, tensors, contexts)
    torch.testing.assert_close(import_model(tmp_path, None, 0)(contexts).double(), centred(expected), rtol=0, atol=1e-4)
    (tmp_path / "config.json").write_text(json.dumps(config | {"use_attn_scale": True, "attn_scale": 1.0}))
    for layer in range(2):
        for name in ("W_Q", "b_Q"):
            tensors[f"blocks.{layer}.attn.{name}"] = tensors[f"blocks.{layer}.attn.{name}"] * 2  # √d_head
    expected = lens_logits(config, tensors, contexts)
    torch.testing.assert_close(import_model(tmp_path, None, 0)(contexts).double(), centred(expected), rtol=0, atol=1e-4)


@pytest.mark.parametrize("prefix", ["transformer.", ""])
def test_an_imported_gpt2_has_the_logits_of_the_original_mlps_included(tmp_path, contexts, prefix):
    config, tensors = write_gpt2(tmp_path, prefix)
    model = import_model(tmp_path, None, 0)
    told = model.config
    expected = centred(gpt2_logits(config, tensors, contexts))
    torch.testing.assert_close(model(contexts).double(), expected, rtol=0, atol=1e-4)
    assert (told.imported_from, told.d_model, told.d_model_imported, told.d_mlp) == ("gpt2", 13, 12, 48)
    assert len(told.approximate) == 2 and "MLPs" in told.approximate[1]


def test_an_imported_model_survives_the_disk(tmp_path, contexts):
    write_gpt2(tmp_path / "theirs")
    model = import_model(tmp_path / "theirs", 6, 0)
    checkpoint.save(model, tmp_path / "ours")
    assert torch.equal(checkpoint.load(tmp_path / "ours")(contexts), model(contexts))
    assert checkpoint.read_config(tmp_path / "ours" / "config.json") == model.config
    assert checkpoint.load(tmp_path / "ours").n_ctx == 6


def test_b_Q_stays_in_QK_up_to_a_constant_of_each_destination(tmp_path):
    """The score of a pair in the original, its biases included, differs from the circuit's by what softmax ignores."""
    _, w = write_lens(tmp_path, positional_embedding_type="shortformer", n_layers=1)
    model = import_model(tmp_path, None, 0)
    for head in range(3):
        query = w["embed.W_E"] @ w["blocks.0.attn.W_Q"][head] + w["blocks.0.attn.b_Q"][head]
        key = w["embed.W_E"] @ w["blocks.0.attn.W_K"][head] + w["blocks.0.attn.b_K"][head]
        circuit = qk(model, 0, head)
        difference = query @ key.T / 2 - circuit.left @ circuit.right
        torch.testing.assert_close(difference, difference[:, :1].expand_as(difference), rtol=0, atol=1e-4)
        without = (query - w["blocks.0.attn.b_Q"][head]) @ key.T / 2 - circuit.left @ circuit.right
        assert (without - without[:, :1]).abs().max() > 0.1


@pytest.mark.parametrize("kind", [None, "LN", "gpt2"])
def test_the_paths_of_an_imported_model_add_up_to_its_logits_with_layer_norm_frozen(
    tmp_path, contexts, monkeypatch, kind
):
    _ = write_gpt2(tmp_path) if kind == "gpt2" else write_lens(tmp_path, normalization_type=kind)
    model = import_model(tmp_path, None, 0)
    found = contributions(model, contexts[0], 4, out=9)
    assert sum(c.logit for c in found) == pytest.approx(centred(model(contexts))[0, 4, 9].item(), abs=1e-4)
    begins = {c.name.partition(" → ")[0] for c in found}
    assert ("MLP0" in begins, "b_O of layer 0" in begins) == (kind == "gpt2", kind is not None)
    # Cut short as those of deep models are, at the prediction.
    monkeypatch.setattr(circuit_paths, "MOST", 15)
    short = contributions(model, contexts[0], 4, out=9)
    assert sum(c.logit for c in short) == pytest.approx(centred(model(contexts))[0, 4, 9].item(), abs=1e-4)
    assert {c.name for c in short if len(c.path) == 1 and c.path[0][0]} == {
        f"all before layer 1 → L1H{head}" for head in range(3)
    }
    # The direct path by hand: the embedding of the last token, divided by the standard deviation of the final stream.
    direct = next(c for c in found if c.name == "direct")
    towards = model.W_U[:, 9] - model.W_U.mean(1)
    x, final = model.embed(contexts[:1, :5])[0][0, 4], model.residual(contexts[:1, :5])[0, 4]
    if model.norm is not None:
        x = torch.cat(
            [x[: model.norm.width] / (final[: model.norm.width].square().mean() + 1e-5).sqrt(), x[model.norm.width :]]
        )
    assert direct.logit == pytest.approx((x @ towards).item(), abs=1e-5)


def test_the_start_of_a_document_changes_places_with_token_0(tmp_path, contexts):
    config, tensors = write_gpt2(tmp_path)
    model = import_model(tmp_path, None, 22)
    swapped = torch.where(contexts == 0, 22, torch.where(contexts == 22, 0, contexts))
    order = [22, *range(1, 22), 0]
    expected = centred(gpt2_logits(config, tensors, contexts))[..., order]
    torch.testing.assert_close(model(swapped).double(), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", [None, "LN", "RMS"])
def test_an_exported_model_comes_back_with_the_same_logits(tmp_path, contexts, kind):
    write_lens(tmp_path / "theirs", normalization_type=kind)
    model = import_model(tmp_path / "theirs", None, 0)
    to_transformer_lens(model, tmp_path / "out")
    again = import_model(tmp_path / "out", None, 0)
    torch.testing.assert_close(again(contexts), model(contexts), rtol=0, atol=1e-5)


def test_a_trained_model_and_one_with_mlps_come_back_too(tmp_path, make_model, tokens):
    trained = make_model(2).float()
    to_transformer_lens(trained, tmp_path / "trained")
    again = import_model(tmp_path / "trained", None, 0)
    torch.testing.assert_close(again(tokens), centred(trained(tokens)), rtol=0, atol=1e-4)
    to_transformer_lens(trained, tmp_path / "standard", standard=True)
    again = import_model(tmp_path / "standard", None, 0)
    assert again.config.positional_embedding_type == "standard" and again.d_model == 2 * trained.d_model
    torch.testing.assert_close(again(tokens), centred(trained(tokens)), rtol=0, atol=1e-4)
    write_gpt2(tmp_path / "gpt2")
    model = import_model(tmp_path / "gpt2", None, 0)
    to_transformer_lens(model, tmp_path / "lens")
    again = import_model(tmp_path / "lens", None, 0)
    torch.testing.assert_close(again(tokens), model(tokens), rtol=0, atol=1e-5)


def test_positions_apart_cannot_be_exported(tmp_path):
    write_lens(tmp_path, normalization_type="LN", positional_embedding_type="shortformer")
    with pytest.raises(InputError, match="no place in TransformerLens"):
        to_transformer_lens(import_model(tmp_path, None, 0), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    # Layer norm would scale the positions too, if they stood in the stream.
    write_lens(tmp_path / "normed", normalization_type="LNPre", positional_embedding_type="shortformer")
    normed = import_model(tmp_path / "normed", None, 0)
    to_transformer_lens(normed, tmp_path / "again")
    with pytest.raises(InputError, match="TransformerLens 4 has no shortformer positions beside a layer norm"):
        to_transformer_lens(normed, tmp_path / "out", standard=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("tables", [(0,), (0, 1)], ids=["shared", "of each layer"])
@pytest.mark.parametrize("kind", [None, "LN", "RMS"])
def test_numbers_for_buckets_of_distances_are_added_to_the_scores(tmp_path, contexts, kind, tables):
    config, tensors = write_lens(tmp_path, normalization_type=kind, tables=tables, **BUCKETS)
    model = import_model(tmp_path, None, 0)
    expected = centred(lens_logits(config, tensors, contexts))
    torch.testing.assert_close(model(contexts).double(), expected, rtol=0, atol=1e-4)
    assert any("relative positions add" in each for each in model.config.approximate)
    checkpoint.save(model, tmp_path / "ours")
    assert torch.equal(checkpoint.load(tmp_path / "ours")(contexts), model(contexts))
    # At a distance a circuit is that of the tokens and the number of its bucket.
    table = tensors["blocks.0.attn.rel_pos_bias.weight"]
    for distance in (1, 3, 5):
        added = qk(model, 0, 2, distance).dense() - qk(model, 0, 2).dense()
        torch.testing.assert_close(added, table[bucket(distance, 6, 5), 2].expand_as(added), rtol=0, atol=1e-5)
    assert import_model(tmp_path, 5, 0).n_ctx == 5


BENT = {
    "scores": {"attn_scores_soft_cap": 1.5},
    "logits": {"output_logits_soft_cap": 2.0},
    "sinks": {"use_attention_sinks": True},
    "all": {"attn_scores_soft_cap": 1.5, "output_logits_soft_cap": 2.0, "use_attention_sinks": True},
}


@pytest.mark.parametrize("positions", ["standard", "alibi"])
@pytest.mark.parametrize("kind", [None, "LN"])
@pytest.mark.parametrize("bent", BENT)
def test_soft_caps_and_sinks_run_as_they_are_and_circuits_say_that_they_leave_them_out(
    tmp_path, contexts, kind, positions, bent
):
    changed = {"normalization_type": kind, "positional_embedding_type": positions}
    config, tensors = write_lens(tmp_path, **changed, **BENT[bent])
    model = import_model(tmp_path, None, 0)
    expected = lens_logits(config, tensors, contexts)
    found = model(contexts).double()
    if "output_logits_soft_cap" in config:  # which does not ignore the mean over the vocabulary
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(centred(found), centred(expected), rtol=0, atol=1e-4)
    losses = -expected.log_softmax(-1)[:, 1:-1].gather(-1, contexts[:, 2:, None])[..., 0]
    torch.testing.assert_close(window_losses(model, contexts).double(), losses, rtol=0, atol=1e-4)
    said = " ".join(model.config.approximate)
    assert ("1.5 tanh" in said, "2 tanh" in said, "sinks" in said) == tuple(key in config for key in CAPS)
    assert not model.linear
    checkpoint.save(model, tmp_path / "ours")
    assert torch.equal(checkpoint.load(tmp_path / "ours")(contexts), model(contexts))
    with pytest.raises(InputError, match="not written for TransformerLens"):
        to_transformer_lens(model, tmp_path / "out")
    # Every way of running a layer gives the same; without an edge the rest is scaled up, sink included.
    x, pos = model.embed(contexts)
    layer = model.blocks[0]
    pattern = layer.pattern(x, pos)
    torch.testing.assert_close(layer(x, pos), layer.head_outputs(x, pattern).sum(1), rtol=0, atol=1e-5)
    assert (pattern.sum(-1) < 0.999).any() == ("use_attention_sinks" in config)
    end = run_to_end(model, contexts)
    torch.testing.assert_close(end.logits, model(contexts)[:, -1], rtol=0, atol=1e-5)
    sources = torch.zeros_like(contexts, dtype=torch.bool)
    sources[:, 2] = True
    without = pattern.clone()
    kept = without[:, 1, -1] * ~sources
    without[:, 1, -1] = kept / (1 - without[:, 1, -1, 2:3])
    x = layer.add(x, layer.head_outputs(x, without).sum(1))
    last = model.blocks[1]
    x = last.add(x, last(x, pos))
    torch.testing.assert_close(without_edges(model, end, 0, 1, sources), model.logits(x)[:, -1], rtol=0, atol=1e-5)
    # Terms of a score add up to what is attended by.
    for head in range(3):
        why = explain_attention(model, contexts[0], (1, head), 5, 2, most=64)
        assert sum(t.above for t in why.terms) - why.normaliser == pytest.approx(math.log(why.attention), abs=1e-4)
        for term in why.terms:
            if len(term.tokens) == 64:
                assert sum(t.score for t in term.tokens) == pytest.approx(term.score, abs=1e-4)


def test_buckets_are_those_of_the_paper():
    found = buckets(32, 128, 300).tolist()
    assert found == [bucket(distance, 32, 128) for distance in range(300)]
    assert found[:18] == [*range(17), 16] and found[127:] == [31] * 173 and found[64] == 26


def test_a_model_with_an_encoder_says_so(tmp_path):
    _, tensors = write_lens(tmp_path, **BUCKETS)
    torch.save(tensors | {"blocks.0.cross_attn.W_Q": torch.zeros(3, 10, 4)}, tmp_path / "model.pth")
    with pytest.raises(
        InputError, match=r"blocks\.0\.cross_attn\.W_Q is of a model with an encoder: every layer reads"
    ):
        import_model(tmp_path, None, 0)


class Evil:
    def __reduce__(self):
        return (print, ("unpickled",))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"positional_embedding_type": "xpos"},
            r"config\.json: positional_embedding_type: only alibi, relative_positional_bias, standard, .* got 'xpos'",
        ),
        ({"attn_only": False}, r"config\.json: attn_only: a model with MLPs has d_mlp and act_fn"),
        ({"n_heads": 2}, r"blocks\.0\.attn\.W_Q has shape \(3, 10, 4\), config\.json says \(2, 10, 4\)"),
        ({"n_layers": 30_000}, r"config\.json: 30000 layers, but .*model\.pth has only 24 tensors"),
        ({"n_layers": 1}, r"tensor blocks\.1\.attn\.W_K has no place"),
        ({"n_ctx": None}, r"config\.json: n_ctx: input should be a valid integer"),
        (
            {"model_type": "llava"},
            r"config\.json: model_type: 'llava' cannot be imported; of transformers, bloom, gpt2, gpt_",
        ),
        ({"model_type": "umt5"}, r"model_type: 'umt5' cannot be imported: every layer reads an encoder"),
        ({"model_type": "gpt_oss"}, r"model_type: 'gpt_oss' cannot be imported: it is a mixture of experts"),
        (BUCKETS | {"relative_attention_max_distance": 3}, r"relative_positional_bias: needs relative_attention_num"),
        (BUCKETS | {"relative_attention_num_buckets": None}, r"relative_positional_bias: needs relative_attention_nu"),
        (BUCKETS | {"relative_attention_num_buckets": 5}, r"relative_attention_num_buckets: .* multiple of 2"),
        (
            BUCKETS | {"tie_word_embeddings": True},
            r"tie_word_embeddings: T5 then divides what W_U reads by √d_model; do so to the W_U",
        ),
        ({"n_key_value_heads": 2}, r"n_key_value_heads: 2 does not divide n_heads 3"),
        ({"use_attention_sinks": True}, r"tensor blocks\.0\.attn\.sinks is missing"),
    ],
)
def test_what_cannot_be_imported_is_named(tmp_path, change, message):
    config, _ = write_lens(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(InputError, match=f"(?i){message}"):
        import_model(tmp_path, None, 0)


def test_nothing_is_unpickled(tmp_path, capsys):
    write_lens(tmp_path)
    for content in ({"embed.W_E": Evil()}, Evil()):
        torch.save(content, tmp_path / "model.pth")
        with pytest.raises(InputError, match=r"model\.pth: not a state dict that can be read without unpickling"):
            import_model(tmp_path, None, 0)
    (tmp_path / "model.pth").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(InputError, match="without unpickling"):
        import_model(tmp_path, None, 0)
    assert "unpickled" not in capsys.readouterr().out


def test_files_that_are_missing_or_two_are_named(tmp_path):
    with pytest.raises(InputError, match="nowhere: does not exist"):
        import_model(tmp_path / "nowhere", None, 0)
    with pytest.raises(InputError, match="no checkpoint file"):
        import_model(tmp_path, None, 0)
    write_lens(tmp_path)
    (tmp_path / "other.pth").write_bytes(b"")
    with pytest.raises(InputError, match=r"expected one checkpoint file, found model\.pth, other\.pth"):
        import_model(tmp_path, None, 0)


@pytest.mark.parametrize(
    ("value", "message"),
    [(torch.full((23, 12), torch.nan), "holds NaN"), (torch.zeros(23, 12, dtype=torch.int32), "holds torch.int32")],
)
def test_tensors_that_are_no_finite_numbers_are_named(tmp_path, value, message):
    write_gpt2(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    save_file(tensors | {"transformer.wte.weight": value}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=rf"tensor transformer\.wte\.weight {message}"):
        import_model(tmp_path, None, 0)


def test_a_context_or_a_start_token_that_the_checkpoint_lacks_is_named(tmp_path):
    write_gpt2(tmp_path)
    with pytest.raises(InputError, match="has positions for 7 tokens, not for n_ctx = 8"):
        import_model(tmp_path, 8, 0)
    with pytest.raises(InputError, match="has 23 tokens, none with the id 23"):
        import_model(tmp_path, None, 23)


def as_in_4(config: dict, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state dict of a bridge of TransformerLens 4: linear layers, outputs first, heads side by side."""
    found = {}
    for name, t in tensors.items():
        place, _, kind = name.rpartition(".")
        part = kind.removeprefix("_").partition("_")[2].lower()
        if kind in ("W_E", "W_pos"):
            found[f"{place}.weight"] = t
        elif kind == "W_U":
            found[f"{place}.weight"] = t.T.contiguous()
        elif part in ("q", "k", "v"):
            rows = torch.stack([row for head in t for row in (head.T if head.dim() == 2 else head)])
            found[f"{place}.{part}.{'weight' if 'W' in kind else 'bias'}"] = rows
        elif kind == "W_O":
            found[f"{place}.o.weight"] = torch.cat([head for head in t]).T.contiguous()
        else:
            found[f"{place}.{'o.' if kind == 'b_O' else ''}{'weight' if kind == 'w' else 'bias'}"] = t
    return found


@pytest.mark.parametrize("groups", [None, 2])
@pytest.mark.parametrize("kind", [None, "LN", "RMS"])
def test_a_state_dict_of_transformer_lens_4_is_the_same_model(tmp_path, contexts, kind, groups):
    changed = {} if groups is None else {"n_heads": 4, "n_key_value_heads": groups}
    config, tensors = write_lens(tmp_path, normalization_type=kind, **changed)
    there = as_in_4(config, tensors)
    assert "blocks.0.attn.q.weight" in there and "unembed.bias" in there
    torch.save(there, tmp_path / "model.pth")
    model = import_model(tmp_path, None, 0)
    torch.testing.assert_close(
        model(contexts).double(), centred(lens_logits(config, tensors, contexts)), rtol=0, atol=1e-4
    )
    (tmp_path / "config.json").write_text(json.dumps(config | {"architecture": "GPT2LMHeadModel"}))
    with pytest.raises(InputError, match="architecture: 'GPT2LMHeadModel': a bridge around a model of another library"):
        import_model(tmp_path, None, 0)
    (tmp_path / "config.json").write_text(json.dumps(config | {"use_attn_scale": False}))
    with pytest.raises(InputError, match="use_attn_scale: what false means differs in TransformerLens 4"):
        import_model(tmp_path, None, 0)
    (tmp_path / "config.json").write_text(json.dumps(config))
    torch.save(there | {"blocks.0.attn.q.weight": torch.zeros(5, 10)}, tmp_path / "model.pth")
    with pytest.raises(InputError, match=r"tensor blocks\.0\.attn\.W_Q is missing"):
        import_model(tmp_path, None, 0)


def test_transformer_lens_4_turns_neighbours_together_whatever_its_config_says(tmp_path, contexts):
    config, tensors = write_lens(tmp_path / "3", positional_embedding_type="standard")
    del tensors["pos_embed.W_pos"]
    rotary = config | {"positional_embedding_type": "rotary"}
    torch.save(tensors, tmp_path / "3" / "model.pth")
    (tmp_path / "3" / "config.json").write_text(json.dumps(rotary | {"rotary_dim": 4, "rotary_adjacent_pairs": True}))
    (tmp_path / "4").mkdir()
    torch.save(as_in_4(config, tensors), tmp_path / "4" / "model.pth")
    (tmp_path / "4" / "config.json").write_text(
        json.dumps(
            rotary | {"rotary_dim": None, "rotary_adjacent_pairs": False, "architecture": "TransformerLensNative"}
        )
    )
    three, four = (import_model(tmp_path / version, None, 0) for version in "34")
    assert torch.equal(four(contexts), three(contexts)) and four.config.rotary


def test_half_precision_checkpoints_become_float32(tmp_path, contexts):
    _, tensors = write_gpt2(tmp_path)
    rounded = {f"transformer.{n}": t.bfloat16() for n, t in tensors.items()}
    save_file(rounded, tmp_path / "model.safetensors")
    model = import_model(tmp_path, None, 0)
    assert model.W_E.dtype == torch.float32
    config = {"n_embd": 12, "n_head": 3, "layer_norm_epsilon": 1e-5, "n_layer": 2}
    expected = centred(gpt2_logits(config, {n: t.bfloat16() for n, t in tensors.items()}, contexts))
    torch.testing.assert_close(model(contexts).double(), expected, rtol=0, atol=1e-4)


def test_no_flipped_bit_of_an_archive_is_imported_as_another_model(tmp_path):
    write_lens(tmp_path)
    path = tmp_path / "model.pth"
    content = path.read_bytes()
    sound = dict(import_model(tmp_path, None, 0).named_parameters())
    noticed = 0
    for at in np.random.default_rng(0).integers(0, len(content), 150):
        flipped = bytearray(content)
        flipped[at] ^= 1 << int(at) % 8
        path.write_bytes(flipped)
        try:
            model = import_model(tmp_path, None, 0)
        except InputError as error:
            noticed += 1
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
        else:
            assert all(torch.equal(sound[name], tensor) for name, tensor in model.named_parameters())
    assert noticed > 75  # an archive of small tensors is half padding, which nothing reads


def test_a_compressed_archive_is_refused(tmp_path):
    """PyTorch would take its bytes for numbers, and they may unfold without end."""
    write_lens(tmp_path)
    path = tmp_path / "model.pth"
    with zipfile.ZipFile(path) as archive:
        members = {info: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for info, content in members.items():
            archive.writestr(info.filename, content, zipfile.ZIP_DEFLATED)
    with pytest.raises(InputError, match=r"model\.pth: its members are compressed; unpack it"):
        import_model(tmp_path, None, 0)


def test_a_damaged_archive_names_the_tensor(tmp_path):
    write_lens(tmp_path)
    path = tmp_path / "model.pth"
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo("model/data/0")
        content[member.header_offset + 200] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"model\.pth: damaged, the checksum of its member model/data/0 is wrong"):
        import_model(tmp_path, None, 0)
