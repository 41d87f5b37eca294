"""Entries kept one by one: against the running model, slow twins, derivatives and hand-built weights."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skiptrace.account import lookup, orders, rows, study
from skiptrace.account.entries import NO_ENTRIES, Entries, Running, context_losses, losses_of, split, splits
from skiptrace.account.study import Text, account, entries_of
from skiptrace.config.account import AccountParams
from skiptrace.errors import InputError
from skiptrace.models.evaluation import window_losses
from tests.account.test_replaced import seeded

PARAMS = AccountParams(contexts=4, selection=3, entries=[2, 9, 40], rows=5, shown_rows=3)
PUBLISHED = orders.Published(torch.arange(1, 23), 0.5)


@pytest.fixture(scope="module")
def windows():
    return torch.cat([torch.zeros(5, 1, dtype=torch.long), torch.randint(1, 23, (5, 7), generator=seeded(3))], 1)


@pytest.fixture(scope="module")
def frequency():
    count = torch.rand(23, generator=seeded(4))
    return count / count.sum()


@pytest.fixture(scope="module", params=[1, 2], ids=["one layer", "two layers"])
def model(make_model, request):
    return make_model(request.param, d_head=4 if request.param == 1 else 3).float()


@pytest.fixture(scope="module")
def parts(model, frequency):
    return split(model, frequency)


@pytest.fixture(scope="module")
def one(make_model, frequency):
    """The parts of a single layer."""
    return split(make_model(1).float(), frequency)


@pytest.fixture(scope="module")
def everything(parts):
    """All entries of both circuits."""
    n = parts.d_vocab
    return [orders._at(c, torch.arange(n), np.arange(parts.n_heads * n * n)) for c in (parts.qk, parts.ov)]


def test_with_every_entry_kept_it_is_the_model(model, parts, windows, everything):
    wanted = window_losses(model, windows).double().mean(1).numpy()
    np.testing.assert_allclose(context_losses(Running(parts, parts.qk, parts.ov), windows), wanted, rtol=1e-5)
    np.testing.assert_allclose(context_losses(Running(parts, *everything), windows), wanted, rtol=1e-5)


def test_without_entries_rows_and_columns_have_no_interaction(parts, frequency, everything):
    for circuits in (parts.qk, parts.ov):
        for circuit in circuits:
            dense = circuit.dense()
            assert (frequency @ dense).abs().max() < 1e-5
            assert (dense @ frequency).abs().max() < 1e-5


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 200))
def test_kept_entries_are_added_where_they_stand(one, windows, seed, count):
    """Against dense matrices with the kept entries in their places, in any order."""
    parts = one
    generator = np.random.default_rng(seed)
    n, heads = parts.d_vocab, parts.n_heads
    picked = [generator.choice(heads * n * n, count, replace=False) for _ in range(2)]
    qk, ov = (orders._at(c, torch.arange(n), p) for c, p in zip((parts.qk, parts.ov), picked, strict=True))
    masks = [np.zeros((heads, n, n), dtype=bool) for _ in range(2)]
    for mask, kept in zip(masks, (qk, ov), strict=True):
        mask[kept.head, kept.row, kept.column] = True
    tokens = windows[0, :-1]
    scores, logits = parts.scores(tokens), parts.logits(tokens)
    future = torch.ones(len(tokens), len(tokens), dtype=torch.bool).triu(1)
    for h in range(heads):
        dense = parts.qk[h].dense() * torch.from_numpy(masks[0][h])
        pattern = (scores[h] + dense[tokens][:, tokens]).masked_fill(future, -torch.inf).softmax(-1)
        logits = logits + pattern @ (parts.ov[h].dense() * torch.from_numpy(masks[1][h]))[tokens]
    running = Running(parts, qk, ov)
    torch.testing.assert_close(running.logits(tokens, running.pattern(tokens)), logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("chosen", ["all tokens", "some"])
def test_slopes_are_derivatives_of_the_loss(parts, windows, everything, chosen):
    tokens = torch.arange(23) if chosen == "all tokens" else torch.tensor([0, 2, 3, 5, 8, 11, 13, 21])
    kept = [e.first(400) for e in everything]
    found = orders.empty(parts.n_heads, len(tokens))
    orders.slopes(Running(parts, *kept), windows, tokens, found)
    step = 1e-2
    for circuit, slope in enumerate(found):
        for flat in slope.flatten().abs().topk(5).indices.tolist():
            head, row, column = np.unravel_index(flat, slope.shape)
            at = (head, tokens[row].item(), tokens[column].item())
            changed = []
            for sign in (1, -1):
                more = list(kept)
                e = kept[circuit]
                known = (e.head == at[0]) & (e.row == at[1]) & (e.column == at[2])
                value = e.value.astype(np.float64).copy()
                if known.any():
                    value[known] += sign * step
                    more[circuit] = e._replace(value=value)
                else:
                    more[circuit] = Entries(*(np.append(a, b) for a, b in zip(e, (*at, sign * step), strict=True)))
                changed.append(context_losses(Running(parts, *more), windows).mean())
            measured = (changed[0] - changed[1]) / (2 * step)
            assert measured == pytest.approx(slope[head, row, column].item(), rel=0.05, abs=2e-5)


def test_integrated_gradients_add_up_to_the_gain(parts, windows):
    """The attributions along a path sum to the difference of its ends (Sundararajan et al. 2017)."""
    tokens = torch.arange(23)
    found = orders.empty(parts.n_heads, 23)
    steps, windows = (40, windows) if parts.model.n_layers == 1 else (80, windows[:2])
    places = np.linspace(0, 1, 1 + steps)
    for at in places:
        share = (0.5 if at in (0, 1) else 1) / steps
        scaled = [orders.scaled(c, float(at)) for c in (parts.qk, parts.ov)]
        orders.slopes(Running(parts, *scaled), windows, tokens, found, share)
    both = (NO_ENTRIES, NO_ENTRIES), (parts.qk, parts.ov)
    ends = [context_losses(Running(parts, *each), windows).mean() for each in both]
    saved = [orders.saving(parts, tokens, found, 1.0, which, head) for which in (0, 1) for head in range(parts.n_heads)]
    assert sum(float(each.sum()) for each in saved) == pytest.approx(ends[0] - ends[1], rel=0.02, abs=1e-4)


def test_rounds_keep_each_entry_once_and_the_built_one_first(make_model, frequency):
    """A head that turns token 5 into token 7, in text where only 7 comes after 5."""
    model = make_model(1, d_model=24).float()
    for parameter in model.parameters():
        parameter.data.mul_(0.05)
    model.W_E.data = torch.eye(23, 24)
    model.W_U.data = torch.eye(24, 23)
    layer = model.blocks[0]
    layer.v.data.view(24, model.n_heads, -1)[:, 1] = 0
    layer.v.data.view(24, model.n_heads, -1)[5, 1, 2] = 1
    layer.o.data.view(model.n_heads, model.d_head, -1)[1, 2] = 10 * torch.eye(24)[7]
    text = torch.randint(10, 23, (40, 8), generator=seeded(5))
    text[:, 0], text[:, 1] = 0, 5
    text[:20, 2:] = 7
    text[20:, 1] = 8  # without 5, anything follows
    parts = split(model, frequency)
    tokens = torch.arange(23)
    assert parts.ov[1].dense()[5, 7] > 5
    _, first = orders.attribution(parts, lambda number: text, tokens, 40, 3)
    assert (first.ov.head[0], first.ov.row[0], first.ov.column[0]) == (1, 5, 7)
    found = orders.rounds(parts, lambda number: text, tokens, [3, 10, 40], first)
    for kept, worth in ((found.qk, found.qk_worth), (found.ov, found.ov_worth)):
        assert len(set(zip(kept.head, kept.row, kept.column, strict=True))) == len(kept.head) == len(worth) <= 40
        assert (worth > 0).all()  # what saves nothing is not kept


def test_rounds_keep_by_the_mean_slope_of_all_rounds_so_far(parts, windows):
    """Slow twin: each round's slopes by themselves, later averaged with their weights and sorted as a whole."""
    tokens, counts, draws = torch.arange(23), [4, 10, 30], [windows, windows[:2], windows[2:4]]
    _, first = orders.attribution(parts, lambda number: windows[:1], tokens, 30, 4)
    found = orders.rounds(parts, draws.__getitem__, tokens, counts, first)
    kept = [[*zip(*each[:3], strict=True)] for each in (first.qk.first(4), first.ov.first(4))]
    slopes = []
    for number in (1, 2):
        running = Running(parts, *(each.first(counts[number - 1]) for each in (found.qk, found.ov)))
        slopes.append(orders.empty(parts.n_heads, 23))
        orders.slopes(running, draws[number], tokens, slopes[-1])
        for which, circuits in enumerate((parts.qk, parts.ov)):
            share = orders.MEMORY ** np.arange(number)[::-1]
            mean = sum(w * each[which] for w, each in zip(share / share.sum(), slopes, strict=True))
            saved = -mean * torch.stack([circuit.dense() for circuit in circuits])
            order = np.argsort(-saved.numpy(), axis=None)
            best = [tuple(map(int, np.unravel_index(flat, saved.shape))) for flat in order]
            more = [at for at in best if at not in set(kept[which])][: counts[number] - counts[number - 1]]
            kept[which] += more
            worth = (found.qk_worth, found.ov_worth)[which][counts[number - 1] : counts[number]]
            np.testing.assert_allclose(worth, [saved[at].item() for at in more], rtol=1e-3, atol=1e-7)
    for each, wanted in zip((found.qk, found.ov), kept, strict=True):
        assert [*zip(*each[:3], strict=True)] == wanted


def test_losses_of_several_are_those_of_each(parts, windows, everything):
    several = [Running(parts, *(each.first(n) for each in everything)) for n in (0, 7, 300)]
    several.append(Running(parts, NO_ENTRIES, parts.ov))
    several.append(Running(parts, several[2].qk, parts.ov))  # attends as the third does, and moves more
    found = losses_of(several, windows)
    assert found.tolist() == [context_losses(each, windows).tolist() for each in several]
    assert len({round(mean, 6) for mean in found.mean(1)}) == 5


def test_no_number_of_threads_changes_a_bit(parts, windows, everything):
    """Ten contexts: more than are added up at once."""
    tokens, kept, many = torch.arange(23), [e.first(400) for e in everything], windows.repeat(2, 1)
    running = Running(parts, *kept)
    before, seen = torch.get_num_threads(), []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            found = orders.empty(parts.n_heads, 23)
            orders.slopes(running, many, tokens, found)
            seen.append([*(each.clone() for each in found), torch.from_numpy(losses_of([running], many))])
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, three) and one.abs().max() > 0 for one, three in zip(*seen, strict=True))


def test_long_contexts_are_fewer_in_a_round(parts, frequency, monkeypatch):
    stream = np.random.default_rng(0).integers(1, 23, 300).astype(np.uint16)
    text, drawn = Text(stream, stream, frequency, pd.Series(["t"] * 23)), []
    monkeypatch.setattr(orders, "slopes", lambda running, windows, *rest: drawn.append(len(windows)))
    for tokens in (3, 2 * parts.model.n_ctx, 10**6):
        study.rank(parts, text, PARAMS.model_copy(update={"selection_tokens": tokens}), PUBLISHED)
    assert list(dict.fromkeys(drawn)) == [1, 2, 3]


def test_random_entries_and_sizes(parts, frequency):
    tokens = torch.arange(23)
    drawn = orders.at_random(parts, tokens, 50, 0)
    assert len(set(zip(drawn.qk.head, drawn.qk.row, drawn.qk.column, strict=True))) == 50
    largest = orders.by_size(parts, tokens, torch.ones(23), 7)
    values = np.sort(np.abs(np.stack([c.dense().numpy() for c in parts.ov])).ravel())[::-1]
    np.testing.assert_allclose(np.abs(largest.ov.value), values[:7], rtol=1e-4)
    weighted = orders.by_size(parts, tokens, frequency, 1)
    root = frequency.sqrt()
    each = torch.stack([c.dense().abs() * root[:, None] * root for c in parts.qk])
    h, d, s = np.unravel_index(int(each.argmax()), each.shape)
    assert (weighted.qk.head[0], weighted.qk.row[0], weighted.qk.column[0]) == (h, d, s)


def test_the_published_order_is_that_of_the_best_skip_trigram_of_an_entry(parts, frequency):
    """Slow twin: every triple of every head, by QK · OV · (p(source) p(destination))^power."""
    found = orders.by_published_rule(parts, PUBLISHED, frequency, 60)
    model, some = parts.model, PUBLISHED.eligible
    weight = frequency[some] ** PUBLISHED.power
    of_qk, of_ov = [], []
    for layer in model.blocks:
        for head in range(model.n_heads):
            qk = model.W_E @ layer.W_Q[head] @ (model.W_E @ layer.W_K[head]).T / model.d_head**0.5
            ov = model.W_E @ layer.W_V[head] @ layer.W_O[head] @ model.W_U
            qk = (qk - qk @ frequency[:, None])[some][:, some] * weight[:, None] * weight
            ov = (ov - ov.mean(1, keepdim=True))[some][:, some]
            triples = qk.T[:, :, None] * ov[:, None]  # source, destination, output
            triples[(qk.T < 0)[:, :, None] | (ov < 0)[:, None]] = 0
            of_qk.append(triples.amax(2).T)
            of_ov.append(triples.amax(1))
    for entries, worth, every in ((found.qk, found.qk_worth, of_qk), (found.ov, found.ov_worth, of_ov)):
        best = torch.stack(every)
        assert entries.row.min() > 0 and entries.column.min() > 0  # token 0 is not eligible
        np.testing.assert_allclose(worth, best.flatten().topk(60).values, rtol=1e-4)
        np.testing.assert_allclose(best[entries.head, entries.row - 1, entries.column - 1], worth, rtol=1e-4)


def test_savings_equal_cutting_the_entry(parts, windows, everything):
    """Slow twin: the whole model's logits with one entry's contribution taken away at one destination."""
    ov = everything[1].first(30)
    found = rows.savings(parts, ov, windows)
    running = Running(parts, parts.qk, parts.ov)
    checked = 0
    for number, window in enumerate(windows):
        tokens, targets = window[:-1], window[1:]
        pattern = running.pattern(tokens)
        plain = Running(parts, NO_ENTRIES, parts.ov).pattern(tokens)
        logits = running.logits(tokens, pattern)
        for head, source, out, value in zip(*ov, strict=True):
            stands = tokens == int(source)
            for i in range(1, len(tokens)):
                if not stands[: i + 1].any():
                    continue
                before = -logits[i].log_softmax(-1)[targets[i]]
                less = [value * pattern[head, i][stands].sum(), value * (pattern - plain)[head, i][stands].sum()]
                after = []
                for delta in less:
                    cut = logits[i].clone()
                    cut[int(out)] -= delta
                    after.append(-cut.log_softmax(-1)[targets[i]])
                at = (head, source, int(tokens[i]), out, number)
                mine = found[(found[[*rows.KEYS, "context"]] == at).all(axis=1)]
                same = [j for j in range(1, len(tokens)) if tokens[j] == tokens[i] and stands[: j + 1].any()]
                assert mine["places"].item() == len(same)
                if len(same) == 1:
                    checked += 1
                    assert mine["saved"].item() == pytest.approx(float(after[0] - before), abs=2e-5)
                    assert mine["by_destination"].item() == pytest.approx(float(after[1] - before), abs=2e-5)
    assert checked > 20


def test_worth_is_a_mean_over_contexts():
    each = pd.DataFrame(
        {"head": 0, "source_id": 1, "destination_id": [2, 2, 3], "out_id": 4, "context": [0, 1, 1], "places": [2, 1, 1],
         "saved": [0.3, 0.1, 0.2], "by_destination": [0.0, 0.1, 0.1]}
    )  # fmt: skip
    found = rows.worth(each, ["head", "source_id", "out_id"], contexts=3, n_ctx=11).iloc[0]
    per_context = np.array([0.3, 0.3, 0.0]) * 1000 / 10
    assert found["n"] == 4
    assert found["nats"] == pytest.approx(per_context.mean())
    assert found["nats_se"] == pytest.approx(per_context.std(ddof=1) / 3**0.5)


@pytest.fixture(scope="module")
def found(model, frequency):
    stream = np.random.default_rng(0).integers(1, 23, 300).astype(np.uint16)
    text = Text(stream, stream[:100], frequency, pd.Series([f"t{i}" for i in range(23)]))
    return account(model, text, PARAMS, PUBLISHED)


def test_the_curve_has_a_point_for_every_count_and_every_order(found):
    curve = found.curve
    assert curve[(curve["order"] == "additive")]["recovered"].abs().max() == 0
    for order in ("rounds", "attribution", "published", "entry", "entry·frequency", "random"):
        both, *single = ((curve["circuit"] == circuit) & (curve["order"] == order) for circuit in ("both", "qk", "ov"))
        assert curve[both]["entries"].tolist() == ([2, 9, 40] if order in ("rounds", "attribution") else [2, 40])
        assert all(curve[one]["entries"].tolist() == ([2, 40] if order == "rounds" else [40]) for one in single)


def test_the_table_that_runs_has_the_loss_of_the_curve(found, parts, model, tmp_path):
    stream = np.random.default_rng(0).integers(1, 23, 300).astype(np.uint16)
    held_out = study.spread_windows(stream[:100], model.n_ctx, PARAMS.contexts)
    study.ENTRIES.write(tmp_path, found.entries)
    assert found.entries.groupby(["layer", "head"]).ngroups == len(parts.qk)
    with pytest.raises(InputError, match=r"additive\.safetensors is missing"):
        lookup.load(tmp_path)
    additive = parts if model.n_layers > 1 else None  # composition is no table
    if additive is None:
        lookup.save(tmp_path / "additive.safetensors", lookup.of_split(parts))
    for count in (2, 9, 40):
        wanted = found.curve.query("circuit == 'both' and order == 'rounds' and entries == @count")["loss"].item()
        running = lookup.load(tmp_path, count, additive)
        assert context_losses(running, held_out).mean() == pytest.approx(wanted, rel=1e-5)
    assert len(entries_of(found.entries, "qk", model.n_heads).head) == 40
    assert found.skip_trigrams.empty == found.skip_bigrams.empty == (model.n_layers > 1)


def test_composition_stays_when_no_entry_is_kept(make_model, windows, frequency):
    """Slow twin: two layers written out, the interactions of tokens taken from both, the rest as it is."""
    model = make_model(2).float()
    parts = split(model, frequency)
    p, tokens = frequency, windows[0, :-1]
    x, pos = model.W_E[tokens], model.W_pos[: len(tokens)]
    future = torch.ones(len(tokens), len(tokens), dtype=torch.bool).triu(1)
    stream, logits = x.clone(), x @ model.W_U
    for layer in model.blocks:
        wrote = torch.zeros_like(x)
        for head in range(model.n_heads):
            to_q, to_k, to_v, out = (w[head] for w in (layer.W_Q, layer.W_K, layer.W_V, layer.W_O))
            q, k, v = (model.W_E @ w - p @ (model.W_E @ w) for w in (to_q, to_k, to_v))
            scores = (stream + pos) @ to_q @ ((stream + pos) @ to_k).T - q[tokens] @ k[tokens].T
            pattern = (scores / model.d_head**0.5).masked_fill(future, -torch.inf).softmax(-1)
            wrote += pattern @ stream @ to_v @ out
            logits = logits + pattern @ (stream @ to_v - v[tokens]) @ out @ model.W_U
        stream = stream + wrote
    running = Running(parts, NO_ENTRIES, NO_ENTRIES)
    found = running.logits(tokens, running.pattern(tokens))
    torch.testing.assert_close(found.log_softmax(-1), logits.log_softmax(-1), atol=1e-4, rtol=1e-4)


def test_models_that_are_more_than_their_circuits_have_a_ladder_alone(make_model, frequency):
    stream = np.random.default_rng(0).integers(1, 23, 300).astype(np.uint16)
    text = Text(stream, stream[:100], frequency, pd.Series([f"t{i}" for i in range(23)]))
    deep = make_model(2).float()
    deep.standard_positions = True
    for n_layers, model in ((0, make_model(0).float()), (2, deep)):
        assert not splits(model)
        told = account(model, text, PARAMS, PUBLISHED)
        assert told.curve.empty and told.entries.empty and told.skip_trigrams.empty
        assert set(told.ladder["layers"]) == ({"all"} if n_layers == 0 else {"all", "0", "1"})
        assert told.ladder.query("rung == 'whole model'")["lost"].abs().max() == 0


def test_the_curve_reaches_the_model_with_all_of_its_entries(model, frequency):
    """Two tokens of text, so that every entry that saves anything is known; with all entries the share is one."""
    parts = split(model, frequency)
    held_out = torch.randint(1, 23, (4, 8), generator=seeded(6))
    everything = orders.by_size(parts, torch.arange(23), torch.ones(23), parts.n_heads * 23**2)
    counts = [1, parts.n_heads * 23**2]
    curve = study.curve(parts, held_out, {"rounds": everything}, PARAMS.model_copy(update={"entries": counts}))
    both = curve[(curve["circuit"] == "both") & (curve["order"] == "rounds")].set_index("entries")["recovered"]
    assert both[counts[1]] == pytest.approx(1, abs=1e-4)
    assert abs(both[1] - 1) > 0.01


def test_rows_that_a_reader_sees_keep_the_entries_that_they_use(model, frequency):
    """Slow twin: the model with dense circuits, all but these entries zero; rows that share entries count them once."""
    stream = np.random.default_rng(0).integers(1, 23, 300).astype(np.uint16)
    text = Text(stream, stream[:100], frequency, pd.Series(["t"] * 23))
    layer = [0, 0, 0, model.n_layers - 1]
    shown = pd.DataFrame(
        {"layer": layer, "head": [0, 1, 1, 2], "source_id": [3, 4, 4, 2], "destination_id": [5, 6, 7, 1], "out_id": 9}
    )
    curve = study.of_shown_rows(model, text, shown, PARAMS).set_index("entries")
    assert curve.index.tolist() == [3, 4] and set(curve["circuit"]) == {"both"}
    parts, held_out = split(model, frequency), study.spread_windows(text.valid, model.n_ctx, PARAMS.contexts)
    bases = []
    for kept in (shown.iloc[:0], shown.iloc[:3]):
        head = (kept["layer"] * model.n_heads + kept["head"]).to_numpy()
        used = []
        for circuits, row, column in ((parts.qk, "destination_id", "source_id"), (parts.ov, "source_id", "out_id")):
            at = np.unique(np.stack([head, kept[row], kept[column]]).astype(np.int64), axis=1)
            dense = torch.stack([c.dense() for c in circuits]).numpy()
            used.append(Entries(*at, dense[tuple(at)].astype(np.float32)))
        bases.append(context_losses(Running(parts, *used), held_out).mean())
    whole = context_losses(Running(parts, parts.qk, parts.ov), held_out).mean()
    assert curve.loc[3, "loss"] == pytest.approx(bases[1], rel=1e-6)
    assert curve.loc[3, "recovered"] == pytest.approx((bases[0] - bases[1]) / (bases[0] - whole), rel=1e-4)
    assert study.of_shown_rows(model, text, shown.iloc[:0], PARAMS).empty


@pytest.mark.parametrize("counts", [[], [100, 100], [300, 100]])
def test_counts_of_entries_have_to_ascend(counts):
    with pytest.raises(ValueError, match=r"at least 1 item|larger than the one before"):
        AccountParams(entries=counts)


def test_a_vocabulary_with_fewer_entries_than_any_count_keeps_all(parts, frequency):
    stream = np.random.default_rng(0).integers(1, 23, 300).astype(np.uint16)
    text = Text(stream, stream[:100], frequency, pd.Series(["t"] * 23))
    ranked, _ = study.rank(parts, text, PARAMS.model_copy(update={"entries": [10**9]}), PUBLISHED)
    assert len(ranked["entry"].ov.head) <= parts.n_heads * 23**2


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 300), st.booleans())
def test_the_largest_are_those_that_sorting_everything_finds(one, seed, count, clumped):
    parts = one
    generator = np.random.default_rng(seed)
    values = generator.permutation(parts.n_heads * 23 * 23) - 700.0  # distinct, above and below zero
    values = np.sort(values) if clumped else values
    worth = torch.from_numpy(values).float().view(parts.n_heads, 23, 23)
    found, by = orders._first(parts.qk, torch.arange(23), lambda head: worth[head], count)
    assert by.tolist() == np.sort(values[values > 0])[::-1][:count].tolist()
    np.testing.assert_array_equal(worth.numpy()[found.head, found.row, found.column], by)
    _, by = orders._first(parts.qk, torch.arange(23), lambda head: worth[head], count, torch.abs)
    assert np.abs(by).tolist() == np.sort(np.abs(values))[::-1][: min(count, (values != 0).sum())].tolist()
