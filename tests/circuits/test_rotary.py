"""Rotary positions: circuits at a distance, their mean, and what heads do at each, against plain loops."""

import math

import pytest
import torch

import skiptrace
from skiptrace.account import replaced
from skiptrace.circuits import factored, scores
from skiptrace.circuits.attention import explain_attention
from skiptrace.circuits.factored import names, qk, seen
from skiptrace.circuits.paths import contributions
from skiptrace.circuits.scores import score_heads
from skiptrace.config.mining import MiningParams
from skiptrace.config.scoring import ScoringParams
from skiptrace.errors import InputError
from skiptrace.evidence.verification import best
from skiptrace.mining import skip_trigrams
from skiptrace.models.config import ModelConfig
from skiptrace.models.importing import import_model
from skiptrace.models.transformer import Transformer
from tests.models import families
from tests.models.test_families import write

V, CTX, FREQUENCIES = 11, 9, [0.9, 0.2]


def rotary(seed: int = 0, **changed: object) -> Transformer:
    """An attention-only model without layer norm, whose heads of five dimensions turn in two planes."""
    config = ModelConfig(
        **{
            "n_layers": 1, "n_heads": 3, "d_model": 7, "d_head": 5, "n_ctx": CTX, "d_vocab": V,
            "positional_embedding_type": "rotary", "rotary_frequencies": FREQUENCIES, **changed,
        }
    )  # fmt: skip
    model, generator = Transformer(config), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(std=0.7, generator=generator)
    return model.double().requires_grad_(False).eval()


def turned(x: torch.Tensor, place: float) -> torch.Tensor:
    """One query or key, turned plane by plane by complex numbers."""
    out = x.clone()
    for plane, frequency in enumerate(FREQUENCIES):
        other = plane + len(FREQUENCIES)
        z = torch.complex(x[plane], x[other]) * complex(math.cos(place * frequency), math.sin(place * frequency))
        out[plane], out[other] = z.real, z.imag
    return out


def test_attention_is_that_of_a_plain_loop_and_depends_on_distance_alone():
    model, tokens = rotary(), torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6]])
    layer, pattern = model.blocks[0], model.patterns(tokens)[0][0]
    for head in range(3):
        for i in range(8):
            query = turned(model.W_E[tokens[0, i]] @ layer.W_Q[head], i)
            keys = [turned(model.W_E[tokens[0, j]] @ layer.W_K[head], j) for j in range(i + 1)]
            expected = (torch.stack(keys) @ query / 5**0.5).softmax(0)
            torch.testing.assert_close(pattern[head, i, : i + 1], expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("head", range(3))
def test_a_circuit_at_a_distance_has_the_scores_of_the_running_model(head):
    model, tokens = rotary(), torch.tensor([[3, 1, 4, 7, 5, 9, 2, 6]])
    attended = model.patterns(tokens)[0][0, head].log()
    last, first = 7, 0
    reference = qk(model, 0, head, last - first).entries(tokens[:, last], tokens[:, first])
    for j in range(1, 7):
        entry = qk(model, 0, head, last - j).entries(tokens[:, last], tokens[:, j])
        torch.testing.assert_close(
            entry - reference, (attended[last, j] - attended[last, first])[None], rtol=0, atol=1e-6
        )


@pytest.mark.parametrize("window", [None, 4])
def test_qk_is_the_mean_over_the_distances_that_a_head_sees(window):
    model = rotary(attention_windows=None if window is None else [window])
    there = range(1, window or CTX)
    share = torch.tensor([math.log(1 + 1 / d) for d in there]).double()
    expected = sum(p * qk(model, 0, 1, d).dense() for p, d in zip(share / share.sum(), there, strict=True))
    torch.testing.assert_close(qk(model, 0, 1).dense(), expected, rtol=0, atol=1e-6)
    assert qk(model, 0, 1).left.shape == (V, 5)


def test_circuits_are_named_at_the_offsets_that_heads_see(tmp_path):
    model = rotary(n_layers=2, attention_windows=[None, 3])
    assert seen(model, 0, [1, 4, 8, 9]) == [1, 4, 8] and seen(model, 1, [1, 2, 3]) == [1, 2]
    told = [(n.circuit, n.layer) for n in names(model, 0, [2, 8]) if n.head == "0" and n.circuit.startswith("qk")]
    assert told == [("qk", "0"), ("qk_at_2", "0"), ("qk_at_8", "0"), ("qk", "1"), ("qk_at_2", "1")]
    found = skiptrace.circuit(model, "qk_at_2 L1H2")
    torch.testing.assert_close(found.dense(), qk(model, 1, 2, 2).dense())
    assert found.label == "qk_at_2 L1H2" and factored.kind_of("qk_at_2").scores
    for wrong in ("qk_at_3 L1H0", "qk_at_x L0H0", "qk_at_0 L0H0", "qk_at_99 L0H0"):
        with pytest.raises(InputError, match="no such circuit"):
            skiptrace.circuit(model, wrong)
    written = skiptrace.expand_circuits(model.float(), tmp_path, circuits=["qk_at"], offsets=[2])
    assert written[:2] == ["qk_at_2 L0H0", "qk_at_2 L0H1"] and len(written) == 6
    assert (tmp_path / "circuit=qk_at_2" / "layer=1" / "head=2").is_dir()


def test_without_rotary_positions_there_is_one_qk(make_model):
    model = make_model(1)
    assert seen(model, 0, [1, 2]) == []
    torch.testing.assert_close(qk(model, 0, 0, 3).dense(), qk(model, 0, 0).dense())


def two_back(strength: float = 30.0) -> Transformer:
    """A model whose first head attends two tokens back, whatever stands there."""
    model = rotary(n_heads=1, d_model=V, rotary_frequencies=[0.5])
    with torch.no_grad():
        model.W_E.copy_(torch.eye(V))
        layer = model.blocks[0]
        layer.q.zero_()[:, 0] = strength
        layer.k.zero_()[:, 0], layer.k[:, 1] = math.cos(1.0), math.sin(1.0)
    return model


def test_a_head_that_looks_two_back_is_found_by_its_distance():
    model, texts = two_back(), torch.randint(1, V, (6, CTX), generator=torch.Generator().manual_seed(1))
    params = ScoringParams.model_validate(
        {"seed": 0, "sequences": 6, "repeated_tokens": 3, "repeats": 2, "null_draws": 30}
    )
    heads, offsets = score_heads(model.float(), texts, params)
    assert heads["best_offset"][0] == 2 and heads["positional"][0] and heads["position_share"][0] > 0.9
    assert heads["position_share"][0] > heads["position_share_null_mean"][0]
    alone = offsets.set_index("offset")
    assert alone["position_only"].idxmax() == 2 and alone["text"].idxmax() == 2


def test_the_distance_of_a_mined_row_is_where_its_score_is_largest():
    model = two_back().float()
    with torch.no_grad():
        # Only 3 at the destination asks, only 5 at the source answers, and 5 raises 7.
        for token in set(range(V)) - {3}:
            model.blocks[0].q[token].zero_()
        for token in set(range(V)) - {5}:
            model.blocks[0].k[token].zero_()
        model.blocks[0].v.zero_()[5, 0] = 1
        model.blocks[0].o.zero_()[0, 7] = 1
        model.W_U.copy_(torch.eye(V))
    vocabulary = skiptrace.count_vocabulary(map(str, range(V)), torch.arange(1, V).repeat(3).numpy())
    params = MiningParams.model_validate({"min_count": 1, "sources": 3, "destinations": 2, "outs": 2})
    circuits = skip_trigrams.Circuits.of(model, (0, 0), [1, 2, 4])
    assert list(circuits.at) == [1, 2, 4]
    first = (
        skip_trigrams.mine([skip_trigrams.of_head(circuits, vocabulary, params)], vocabulary, params)
        .to_pandas()
        .iloc[0]
    )
    assert (first["source_id"], first["destination_id"], first["out_id"], first["offset"]) == (5, 3, 7, 2)
    assert first["qk_at_offset"] == pytest.approx(30 / 5**0.5 * (1 - 1 / 10), rel=1e-5)
    assert skip_trigrams.of_model(model, vocabulary, params)["offset"].isna().all()


def test_a_row_that_the_mean_over_distances_hides_is_mined_at_its_distance():
    model = two_back().float()
    with torch.no_grad():
        # Half a turn for every place: 5 is attended from 3 at even distances, and pushed away at odd ones.
        model.blocks[0].frequencies.fill_(math.pi)
        model.blocks[0].k.zero_()[5, 0] = 1
        model.blocks[0].q.zero_()[3, 0] = 30
        model.blocks[0].v.zero_()[5, 0] = 1
        model.blocks[0].o.zero_()[0, 7] = 1
        model.W_U.copy_(torch.eye(V))
    vocabulary = skiptrace.count_vocabulary(map(str, range(V)), torch.arange(1, V).repeat(3).numpy())
    params = MiningParams.model_validate({"min_count": 1, "sources": 3, "destinations": 2, "outs": 2})
    ids = ["source_id", "destination_id", "out_id"]
    anywhere = skip_trigrams.of_model(model, vocabulary, params)
    assert (5, 3, 7) not in anywhere[ids].itertuples(index=False, name=None)
    found = skip_trigrams.of_model(model, vocabulary, params, offsets=[1, 2, 5]).set_index(ids)
    row = found.loc[(5, 3, 7)]
    assert (row["offset"], row["rank_offset"]) == (2, 1) and math.isnan(row["rank_expected"])
    assert row["expected_at_offset"] > 0.5 > 0 > row["expected"] and row["qk_at_offset"] > 0 > row["qk"]
    chosen = found[best(found.reset_index(), 3)]
    assert (5, 3, 7) in chosen.index


@pytest.mark.parametrize("case", families.CASES)
def test_paths_and_terms_add_up_with_norms_frozen(tmp_path, case):
    model, tokens = import_model(write(tmp_path, case), None, 0).double(), families.CONTEXTS[0]
    found = contributions(model, tokens, 5, 8)
    logits = model(tokens[None, :6])[0, 5]
    assert sum(c.logit for c in found) == pytest.approx((logits[8] - logits.mean()).item(), abs=1e-8)
    layer = model.blocks[1]
    for head in range(model.n_heads):
        why = explain_attention(model, tokens, (1, head), 5)
        assert sum(t.above for t in why.terms) - why.normaliser == pytest.approx(math.log(why.attention), abs=1e-8)
        for term in why.terms[:3]:
            every = explain_attention(model, tokens, (1, head), 5, most=36).terms
            same = next(t for t in every if (t.destination, t.source) == (term.destination, term.source))
            assert sum(t.score for t in same.tokens) == pytest.approx(same.score, abs=1e-8)
    if layer.window is not None:
        with pytest.raises(InputError, match=f"sees the last {layer.window} tokens, none {layer.window} back"):
            explain_attention(model, tokens, (1, 0), 5, 5 - layer.window)


def test_where_distance_is_all_the_rung_of_distance_is_the_model():
    model = two_back(2.0).float()
    windows = torch.randint(1, V, (4, CTX + 1), generator=torch.Generator().manual_seed(2))
    means = replaced.averages(model, windows, torch.full((V,), 1 / V))
    whole = replaced.losses(model, windows, means, {})
    for rung in (replaced.QK.DISTANCE, replaced.QK.SALIENCE):
        kept = replaced.losses(model, windows, means, {0: (rung, replaced.OV.WHOLE)})
        torch.testing.assert_close(kept, whole, rtol=0, atol=1e-6)
    tokens = replaced.losses(model, windows, means, {0: (replaced.QK.TOKENS, replaced.OV.WHOLE)})
    assert (tokens - whole).abs().max() > 0.01


@pytest.mark.parametrize("case", ["gpt_neo", "qwen2", "qwen3"])
def test_a_rung_that_replaces_nothing_is_the_model(tmp_path, case):
    model = import_model(write(tmp_path, case), None, 0)
    windows = torch.cat([families.CONTEXTS, families.CONTEXTS.flip(1)])
    means = replaced.averages(model, windows, torch.full((23,), 1 / 23))
    whole = replaced.losses(model, windows, means, {})
    by_rung = replaced.losses(model, windows, means, {1: (replaced.QK.WHOLE, replaced.OV.RANK_ONE)})
    assert not torch.equal(by_rung, whole)
    layer, (x, pos) = model.blocks[0], model.embed(windows[:, :-1])
    written = replaced._written(layer, x, pos, means[0], replaced.QK.WHOLE, replaced.OV.WHOLE)
    torch.testing.assert_close(written, layer(x, pos), rtol=0, atol=1e-5)


def test_in_a_window_attention_is_even_among_what_is_seen_and_the_share_looks_nowhere_else():
    model = rotary(attention_windows=[3])
    layer = model.blocks[0]
    even = scores.even_attention(5, layer)
    expected = [
        [1, 0, 0, 0, 0],
        [1 / 2] * 2 + [0] * 3,
        [1 / 3] * 3 + [0] * 2,
        [0] + [1 / 3] * 3 + [0],
        [0] * 2 + [1 / 3] * 3,
    ]
    torch.testing.assert_close(even, torch.tensor(expected))
    hidden, term = (
        layer.hidden(CTX, torch.device("cpu")),
        torch.randn(CTX, CTX, generator=torch.Generator().manual_seed(5)),
    )
    kept = scores.centred(term, hidden)
    assert not kept[hidden].any() and kept.sum(1).abs().max() < 1e-5
    elsewhere = term.masked_fill(hidden, 1e3)
    assert scores.position_share(elsewhere, kept, kept.square().sum().item(), hidden) == pytest.approx(1)
    seen = scores.on_text(model.float(), torch.randint(1, V, (2, CTX), generator=torch.Generator().manual_seed(6)))
    assert not seen[0].moments.mean[:, hidden].any() and seen[0].moments.mean.abs().max() < 30
