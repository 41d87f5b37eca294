import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skiptrace.evidence import causal
from skiptrace.evidence.causal import Rows, Sampler, check, frequency_matched
from skiptrace.models.importing import import_model
from tests.models.conftest import write_gpt2


def rows(*triples: tuple[int, int, int]) -> Rows:
    return Rows(*(np.array(column) for column in zip(*triples, strict=True)))


@pytest.mark.parametrize("n_layers", [0, 1, 2, 3])
def test_the_end_of_a_context_is_what_the_forward_pass_says(make_model, tokens, n_layers):
    model = make_model(n_layers)
    end = causal.run_to_end(model, tokens)
    torch.testing.assert_close(end.logits, model(tokens)[:, -1])
    for attention, pattern in zip(end.attention, model.patterns(tokens), strict=True):
        torch.testing.assert_close(attention, pattern[:, :, -1])


def test_so_it_is_with_layer_norm_mlps_and_positions_in_the_stream(tmp_path, tokens):
    write_gpt2(tmp_path)
    model = import_model(tmp_path, None, 0)
    end = causal.run_to_end(model, tokens)
    torch.testing.assert_close(end.logits, model(tokens)[:, -1], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(end.attention[1], model.patterns(tokens)[1][:, :, -1])
    none = torch.zeros_like(tokens, dtype=torch.bool)
    torch.testing.assert_close(causal.without_edges(model, end, 0, 1, none), end.logits)


@pytest.mark.parametrize("imported", [False, True])
@pytest.mark.parametrize("start", [1, 4, 6])
def test_what_stands_before_a_change_is_run_once(make_model, tmp_path, tokens, start, imported):
    if imported:
        write_gpt2(tmp_path)
    model = import_model(tmp_path, None, 0) if imported else make_model(3)
    first = causal.first_layer(model)
    assert (first is None) is imported  # positions that stand in the stream are no part of a token
    changed = tokens.clone()
    changed[:, start] = (changed[:, start] + 1) % 23
    whole = causal.run_to_end(model, changed)
    known = causal.run_to_end(model, tokens, first)
    part = causal.run_to_end(model, changed, first, known, start)
    for found, expected in zip(part, whole, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("layer", "head"), [(0, 1), (1, 2), (2, 1)])
def test_cutting_an_edge_equals_a_slow_twin(make_model, tokens, layer, head):
    model = make_model(3)
    edges = torch.zeros_like(tokens, dtype=torch.bool)
    edges[:, [1, 4]] = True
    x = model.W_E[tokens]
    for index, weights in enumerate(model.blocks):
        pattern = weights.pattern(x, model.W_pos).clone()
        if index == layer:
            for text in range(len(tokens)):
                kept = [j for j in range(7) if j not in (1, 4)]
                row = pattern[text, head, -1].clone()
                pattern[text, head, -1] = 0
                pattern[text, head, -1, kept] = row[kept] / row[kept].sum()
        x = x + weights.head_outputs(x, pattern).sum(1)
    found = causal.without_edges(model, causal.run_to_end(model, tokens), layer, head, edges)
    torch.testing.assert_close(found, x[:, -1] @ model.W_U)
    torch.testing.assert_close(causal.log_p(found, tokens[:, 0]), found.log_softmax(-1)[[0, 1], tokens[:, 0]])


def test_contexts_end_in_the_destination_and_hold_the_source():
    stream = np.random.default_rng(0).integers(1, 30, 2000).astype(np.uint16)
    stream[stream == 7] = 8  # a destination that the text lacks
    asked = rows((3, 5, 1), (4, 7, 2), (9, 9, 9))
    drawn = Sampler(stream, 12, 40, 0).draw(asked, 50)
    assert drawn.tokens.shape == (3, 50, 12)
    assert (drawn.tokens[..., 0] == 0).all()
    for i in range(3):
        assert (drawn.tokens[i, :, -1] == asked.destination[i]).all()
        at = np.take_along_axis(drawn.tokens[i], drawn.place[i][:, None], 1)
        assert (at == asked.source[i]).all()
    assert drawn.place.min() >= 1 and drawn.place.max() == 10
    assert len(np.unique(drawn.place)) > 5
    again = Sampler(stream, 12, 40, 0).draw(asked, 50)
    assert (again.tokens == drawn.tokens).all()


def test_contexts_are_real_text_but_for_the_source():
    stream = np.arange(1, 500)
    drawn = Sampler(stream, 10, 600, 0).draw(rows((555, 123, 1)), 4)
    for context, place in zip(drawn.tokens[0], drawn.place[0], strict=True):
        others = [i for i in range(1, 10) if i != place]
        assert context[others].tolist() == [123 - 9 + i for i in others]


def test_the_wired_skip_trigram_is_found_and_random_rows_are_not(wired_head):
    model, source, destination, out = wired_head
    stream = np.random.default_rng(0).integers(1, 12, 3000)
    asked = rows((source, destination, out), (source, destination, 9), (10, destination, out), (8, 10, 11))
    contexts = Sampler(stream, 8, 12, 0).draw(asked, 64)
    other = np.array([11, 11, 11, 9])
    found = check(model, 0, 0, asked, contexts, other)
    assert found.cut.mean[0] > 1
    assert found.replaced.mean[0] > 1
    assert found.cut.mean[0] > 20 * found.cut.se[0] / 8
    assert (found.cut.mean[1:] < 0.2).all()
    assert found.p_out[0] > 0.3


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(("layer", "head"), [(0, 2), (1, 0)])
def test_rows_are_checked_as_one_context_after_another_would_be(make_model, layer, head, shared, monkeypatch):
    model = make_model(2)
    monkeypatch.setattr(causal, "at_once", lambda *_: 5)
    asked, instead = rows((4, 7, 2), (3, 5, 1), (9, 9, 9), (4, 7, 8)), {3: 6, 4: 8, 9: 2}
    sampler = Sampler(np.random.default_rng(0).integers(1, 23, 400), 7, 23, 0)
    contexts = sampler.draw_shared(asked, 4) if shared else sampler.draw(asked, 4)
    assert len(contexts.tokens) == (3 if shared else 4)
    found = check(model, layer, head, asked, contexts, np.array([instead[s] for s in contexts.source]))
    for i, own in enumerate(contexts.of):
        cut, replaced, p = [], [], []
        assert contexts.source[own] == asked.source[i] and (contexts.tokens[own, :, -1] == asked.destination[i]).all()
        for context, place in zip(contexts.tokens[own], contexts.place[own], strict=True):
            tokens = torch.from_numpy(context.copy())[None]
            edges = tokens == asked.source[i]
            edges[:, -1] = False
            end = causal.run_to_end(model, tokens)
            before = model(tokens)[0, -1].log_softmax(0)[asked.out[i]]
            without = causal.without_edges(model, end, layer, head, edges)[0].log_softmax(0)[asked.out[i]]
            tokens[0, place] = instead[asked.source[i]]
            cut.append((before - without).item())
            replaced.append((before - model(tokens)[0, -1].log_softmax(0)[asked.out[i]]).item())
            p.append(before.exp().item())
        assert found.cut.mean[i] == pytest.approx(np.mean(cut), abs=1e-9)
        assert found.cut.se[i] == pytest.approx(np.std(cut, ddof=1) / 2, abs=1e-9)
        assert found.replaced.mean[i] == pytest.approx(np.mean(replaced), abs=1e-9)
        assert found.p_out[i] == pytest.approx(np.mean(p), abs=1e-9)


@given(st.lists(st.integers(0, 5), min_size=3, max_size=40), st.integers(0, 100))
def test_a_matched_token_is_another_of_like_frequency(counts, seed):
    count = np.array([9, *counts])
    token = np.arange(1, len(count))
    matched = frequency_matched(token, count, seed)
    assert (matched > 0).all()
    ranked = np.argsort(-count[1:], kind="stable") + 1
    place = {int(t): i for i, t in enumerate(ranked)}
    for a, b in zip(token, matched, strict=True):
        if len(counts) > 2 * causal.NEIGHBOURS:
            assert 1 <= abs(place[int(a)] - place[int(b)]) <= causal.NEIGHBOURS
