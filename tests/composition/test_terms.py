import math
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from skiptrace.circuits import paths as circuit_paths
from skiptrace.circuits.paths import contributions, label, path_logits, path_pattern, paths
from skiptrace.circuits.scores import score_heads
from skiptrace.composition import examples, study
from skiptrace.composition import identities as identities_module
from skiptrace.composition.identities import identities
from skiptrace.composition.terms import frozen_runs, term_importance
from skiptrace.errors import InputError
from skiptrace.models.windows import spread_windows


@pytest.fixture
def windows():
    rows = torch.randint(1, 23, (3, 8), generator=torch.Generator().manual_seed(2))
    return F.pad(rows[:, 1:], (1, 0))  # BOS first


def loss(logits, windows):
    """Mean cross-entropy of each context from position 1 on."""
    each = F.cross_entropy(logits[:, 1:].flatten(0, 1), windows[:, 2:].flatten(), reduction="none")
    return each.view(len(windows), -1).mean(1).numpy()


def test_run_n_holds_exactly_the_paths_through_at_most_n_heads(make_model, tokens):
    model = make_model(3)
    patterns = model.patterns(tokens)
    runs = frozen_runs(model, tokens, patterns)
    for order in range(5):
        every = [p for p in paths(3, 3) if len(p) <= order]
        expected = sum(path_logits(model, tokens, patterns, p) for p in every)
        torch.testing.assert_close(next(runs) @ model.W_U, expected, rtol=1e-9, atol=1e-9)


def test_term_importance_by_a_slow_twin(make_model, windows):
    model = make_model(2)
    tokens = windows[:, :-1]
    patterns = model.patterns(tokens)
    logits = {p: path_logits(model, tokens, patterns, p) for p in paths(2, 3)}
    full = loss(sum(logits.values()), windows)

    def without(chosen):
        return loss(sum(v for p, v in logits.items() if p not in chosen), windows) - full

    def upto(order, *more):
        return loss(sum(v for p, v in logits.items() if len(p) <= order or p in more), windows)

    table = term_importance(model, windows).set_index(["scope", "name"])
    assert len(table) == 3 + 2 + 6 + 9
    orders = [np.full(3, math.log(23)), *(upto(n) for n in range(3))]
    for n, (before, after) in enumerate(pairwise(orders)):
        row = table.loc[("order", str(n))]
        assert row["added"] == pytest.approx((before - after).mean())
        assert row["added_se"] == pytest.approx((before - after).std(ddof=1) / math.sqrt(3))
        assert row["removed"] == pytest.approx(without([p for p in logits if len(p) == n]).mean())
        assert row["paths"] == [1, 6, 9][n]
    head, pair = ((1, 2),), ((0, 1), (1, 0))
    assert table.loc[("head", "L1H2"), "added"] == pytest.approx((upto(0) - upto(0, head)).mean())
    assert table.loc[("head", "L1H2"), "removed"] == pytest.approx(without([head]).mean())
    assert table.loc[("virtual", label(pair)), "added"] == pytest.approx((upto(1) - upto(1, pair)).mean())
    assert table.loc[("virtual", label(pair)), "removed"] == pytest.approx(without([pair]).mean())
    layer = [((0, h),) for h in range(3)]
    assert table.loc[("layer", "0"), "added"] == pytest.approx((upto(0) - upto(0, *layer)).mean())


@pytest.mark.parametrize("n_layers", [0, 1])
def test_shallow_models_have_the_orders_they_have(make_model, windows, n_layers):
    table = term_importance(make_model(n_layers), windows)
    assert table[table["scope"] == "order"]["order"].tolist() == list(range(n_layers + 1))
    assert "virtual" not in set(table["scope"])
    assert table.notna().all().all()


def test_contributions_are_paths_and_add_up_to_the_centred_logit(make_model, tokens):
    model = make_model(2)
    text, position, out = tokens[1], 5, 17
    found = contributions(model, text, position, out)
    patterns = model.patterns(text[None])
    for one in found:
        logits = path_logits(model, text[None], patterns, one.path)[0, position]
        assert one.logit == pytest.approx((logits[out] - logits.mean()).item())
    assert [c.logit for c in found] == sorted((c.logit for c in found), reverse=True)
    logits = model(text[None])[0, position]
    assert sum(c.logit for c in found) == pytest.approx((logits[out] - logits.mean()).item(), abs=1e-9)
    direct = next(c for c in found if c.path == ())
    assert direct.source == position and direct.source_logit == pytest.approx(direct.logit)


@pytest.mark.parametrize(("most", "deep"), [(9, 0), (10, 1), (36, 1), (37, 2), (63, 2), (64, 3)])
def test_of_deep_models_the_longest_paths_begin_with_the_whole_stream(make_model, tokens, monkeypatch, most, deep):
    model = make_model(3)  # 1 + 3 · 3 + 3 · 9 + 27 paths
    monkeypatch.setattr(circuit_paths, "MOST", most)
    assert circuit_paths.deepest(3, 3, most) == deep
    text, position, out = tokens[1], 5, 17
    if not deep:
        with pytest.raises(InputError, match="3 layers of 3 heads have 64 paths"):
            contributions(model, text, position, out)
        return
    found = contributions(model, text, position, out)
    assert len(found) == {1: 10, 2: 37, 3: 64}[deep] and max(len(c.path) for c in found) == deep
    logits = model(text[None])[0, position]
    assert sum(c.logit for c in found) == pytest.approx((logits[out] - logits.mean()).item(), abs=1e-9)
    # What goes through the last head alone, whatever it read, is what that head writes there.
    patterns, (x, _) = model.patterns(text[None]), model.embed(text[None])
    for layer in (0, 1):
        x = x + model.blocks[layer].head_outputs(x, patterns[layer]).sum(1)
    written = model.blocks[2].head_outputs(x, patterns[2])[0, 1, position] @ (model.W_U[:, out] - model.W_U.mean(1))
    through = sum(c.logit for c in found if c.path[-1:] == ((2, 1),))
    assert through == pytest.approx(written.item(), abs=1e-9)
    assert [c.name for c in found if c.path == ((2, 1),)] == (["all before layer 2 → L2H1"] if deep == 1 else ["L2H1"])


def test_the_source_of_a_contribution_is_where_the_head_copies_from(wired):
    text = torch.tensor([0, 5, 6, 7, 5])
    induced = next(c for c in contributions(wired, text, 4, 6) if c.path == ((1, 0),))
    assert induced.source == 2 and induced.source_logit == pytest.approx(induced.logit, abs=1e-6)
    assert induced.logit == pytest.approx(9 * (1 - 1 / 60), abs=1e-6)


def test_the_pattern_of_a_virtual_head_is_the_product(make_model, tokens):
    patterns = make_model(2).patterns(tokens)
    virtual = path_pattern(patterns, ((0, 2), (1, 1)))
    torch.testing.assert_close(virtual, patterns[1][:, 1] @ patterns[0][:, 2])
    torch.testing.assert_close(virtual.sum(-1), torch.ones(2, 7).double())


def test_too_many_paths_are_refused():
    with pytest.raises(InputError, match="3 layers of 40 heads have 68,921 paths"):
        paths(3, 40)


@pytest.mark.parametrize("n_layers", [0, 1, 2, 3])
def test_the_identities_hold(make_model, tokens, n_layers):
    table = identities(make_model(n_layers), tokens)
    assert len(table) == (7 if n_layers else 2)
    assert (table["error"] < 1e-9).all()
    assert (table["scale"] > 0.1).all()


def test_with_too_many_paths_the_other_tables_still_come(make_model, params, shown, monkeypatch):
    for module in (study, identities_module):
        monkeypatch.setattr(module, "MOST", 8)
    words = pd.DataFrame({"token": [f"t{i}" for i in range(23)], "count": 9})
    valid = np.random.default_rng(0).integers(1, 23, 300)
    model = make_model(2)
    scored, _ = score_heads(model, spread_windows(valid, model.n_ctx, 2)[:, :-1], params)
    tables = {table.name: rows for table, rows in study.study(model, valid, words, scored, params, shown)}
    assert tables["paths"].empty and tables["examples"].empty and tables["patterns"].empty
    assert len(tables["identities"]) == 6 and len(tables["composition"]) == 27 and len(tables["terms"]) == 20


def test_paths_on_text(make_model, windows, params):
    model = make_model(2)
    logits = examples.to_next_token(model, windows)
    whole = model(windows[:, :-1])[:, 1:]
    expected = whole.gather(2, windows[:, 2:, None])[..., 0] - whole.mean(-1)
    torch.testing.assert_close(sum(logits.values()), expected)
    table = examples.path_table(logits).set_index("name")
    assert table.loc["direct", "logit"] == pytest.approx(logits[()].mean().item())
    assert (table["size"] >= table["logit"].abs()).all()


def test_examples_are_right_predictions_in_which_a_path_counts(wired, shown):
    text = torch.tensor([[0, 5, 6, 7, 5, 6, 7, 5, 6, 7, 5, 6, 7, 5], [0, 9, 8, 9, 8, 9, 8, 9, 8, 9, 8, 9, 8, 9]])
    logits = examples.to_next_token(wired, text)
    sure = examples.probability(wired, text)
    chosen, before = examples.examples(wired, text, logits, sure, torch.zeros_like(sure, dtype=torch.bool), shown)
    assert (chosen["probability"] > 0.5).all()
    first = chosen[(chosen["order"] == 1) & (chosen["rank"] == 1)]
    assert set(first["name"]) == {"L1H0"} and len(first) == 2
    assert (first["source_id"] == first["out_id"]).all()
    for example, texts in before.groupby("example"):
        assert texts["position"].tolist() == list(range(len(texts)))  # the whole text, as the model reads it
        direct = chosen[(chosen["example"] == example) & (chosen["name"] == "direct")].iloc[0]
        assert texts["token_id"].iloc[-1] == direct["source_id"] and direct["source_back"] == 0


def test_places_in_sentences_come_before_those_where_a_path_counts_more():
    logits = torch.tensor([[9.0, 3.0, 2.0], [5.0, 1.0, 8.0], [7.0, 6.0, 4.0]])
    sure = torch.tensor([[0.9, 0.9, 0.9], [0.9, 0.9, 0.1], [0.9, 0.9, 0.9]])
    spoken = torch.tensor([[False, True, True], [False, False, True], [False, True, False]])
    places = examples.best_places(logits, sure, spoken, 3)
    # Of windows 2 and 0 the best sentence; window 1 has none among what is predicted, so its best place of all.
    assert places == [(2, 2), (0, 2), (1, 1)]
    assert examples.best_places(logits, sure, spoken, 1) == places[:1]


def test_a_sentence_is_a_word_after_words():
    token = pd.Series(["<|bos|>", " the", " of", "(", "ed", " x1"])
    windows = torch.randint(0, 6, (4, 29), generator=torch.Generator().manual_seed(2))
    windows[0] = 1
    word = [False, True, True, False, False, False]
    expected = [
        [
            word[row[place]] and sum(word[t] for t in row[max(0, place - examples.READ) : place]) >= examples.READ / 2
            for place in range(2, len(row))
        ]
        for row in windows.tolist()
    ]
    found = examples.in_sentences(windows, token)
    assert found.tolist() == expected
    assert found.any() and not found.all()


def test_patterns_are_shown_where_the_pair_works(wired, shown):
    text = torch.tensor([[0, 5, 6, 7, 5, 6, 7, 5, 6, 7, 5, 6, 7, 5]])
    logits = examples.to_next_token(wired, text)
    pair = ((0, 0), (1, 0))
    sure = examples.probability(wired, text)
    spoken = torch.zeros_like(sure, dtype=torch.bool)
    table = examples.shown_patterns(wired, text, {"because": (pair, logits[pair[1:]])}, sure, spoken, shown)
    side = table["destination"].nunique()
    assert len(table) == side**2 and 2 <= side <= shown.example_tokens
    last = table[table["destination"] == table["destination"].max()].set_index("source")
    follows = int(text[0, table["destination"].max() + 1])
    assert (last.loc[last["then"] > 0.1, "source_id"] == follows).all()
    onto_itself = last.loc[last["virtual"] > 0.1, "source_id"]
    assert (onto_itself == last["destination_id"].iloc[0]).all() and len(onto_itself)
