"""Features of what heads read: hand-built directions, slow twins, derivatives, and tokens as a special case."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch

from skiptrace.account import orders as token_orders
from skiptrace.account.entries import Entries, context_losses, split
from skiptrace.account.entries import Running as RunningTokens
from skiptrace.account.study import Text
from skiptrace.config.account import AccountParams
from skiptrace.config.features import FeaturesParams
from skiptrace.config.mining import MiningParams
from skiptrace.dictionary import sites
from skiptrace.dictionary.autoencoder import Autoencoders
from skiptrace.evidence.causal import run_to_end, without_edges
from skiptrace.evidence.used import judged
from skiptrace.features import orders, rows
from skiptrace.features.dictionary import Features, learned, random
from skiptrace.features.parts import Running, losses, parts
from skiptrace.features.study import study, vocabulary
from skiptrace.features.tables import LEARNED, RANDOM, ROUNDS
from skiptrace.mining.vocabulary import Vocabulary
from skiptrace.models.evaluation import window_losses

K, DIRECTIONS = 2, 6
PARAMS = FeaturesParams(
    models={}, seed=0, entries=8, k=2, steps=40, batch_size=16, learning_rate=0.02, resample_every=10, windows=12,
    selection=3, rows=20, checked=6, places=5, tokens=3,
)  # fmt: skip


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def frequency():
    count = torch.rand(23, generator=seeded(4))
    return count / count.sum()


@pytest.fixture(scope="module")
def windows():
    return torch.cat([torch.zeros(5, 1, dtype=torch.long), torch.randint(1, 23, (5, 7), generator=seeded(3))], 1)


@pytest.fixture(scope="module", params=[1, 2], ids=["one layer", "two layers"])
def model(make_model, request):
    return make_model(request.param).float()


def features_of(encoder, bias, decoder, k, unit=None, mean=None, constant=None):
    """Features by hand: x̂ = constant + Σ f D, whatever the mean that f is taken less."""
    n, d = decoder.shape
    unit = torch.ones(n) if unit is None else unit
    mean = torch.zeros(n) if mean is None else mean
    columns = decoder * unit[:, None]
    first = (torch.zeros(d) if constant is None else constant) + mean @ columns
    made = Autoencoders(encoder[None], bias[None], decoder.T[None], torch.zeros(1, d), (k,))
    return Features(made, unit, torch.cat([torch.zeros(1), mean]), torch.cat([first[None], columns]))


@pytest.fixture(scope="module")
def rough():
    """Features that know nothing of the model, and reconstruct it badly."""
    drawn = torch.randn(DIRECTIONS, 10, generator=seeded(5))
    unit = torch.rand(DIRECTIONS, generator=seeded(6)) + 0.5
    mean, constant = torch.rand(DIRECTIONS, generator=seeded(11)), torch.randn(10, generator=seeded(8)) * 0.1
    bias = torch.randn(DIRECTIONS, generator=seeded(7))
    return features_of(drawn, bias, drawn * 0.3, K, unit, mean, constant)


@pytest.fixture(scope="module")
def known(make_model):
    """A model whose embeddings are sums of at most two of six orthogonal directions, and those as features."""
    model = make_model(1).float()
    basis = torch.linalg.qr(torch.randn(10, DIRECTIONS, generator=seeded(9))).Q.T.contiguous()
    codes = torch.zeros(23, DIRECTIONS)
    for token in range(23):
        codes[token, token % DIRECTIONS] = 1 + token / 23
        codes[token, (token // 5) % DIRECTIONS] = 0.5
    model.W_E.data = codes @ basis
    mean = torch.rand(DIRECTIONS, generator=seeded(12))
    return model, features_of(basis, torch.zeros(DIRECTIONS), basis, K, mean=mean), codes


@pytest.fixture(scope="module")
def made(model, rough, frequency):
    return parts(model, rough, frequency @ model.W_E, frequency)


def everything(split_):
    """All entries of both circuits, in an order of no meaning."""
    found = []
    for circuits in (split_.qk, split_.ov):
        dense = torch.stack([c.dense() for c in circuits]).numpy()
        order = np.random.default_rng(0).permutation(dense.size)
        at = np.unravel_index(order, dense.shape)
        found.append(Entries(*at, dense[at]))
    return found


def test_features_that_are_the_embeddings_give_the_model(known, windows, frequency):
    model, features, codes = known
    assert torch.allclose(features.activations(model.W_E)[:, 1:], codes, atol=1e-5)
    found = parts(model, features, frequency @ model.W_E, frequency)
    wanted = window_losses(model, windows).double().mean(1).numpy()
    for running in (Running(found, None, None), Running(found, *everything(found))):
        np.testing.assert_allclose(losses([running], windows)[0], wanted, rtol=1e-4)


def test_circuits_between_features_by_the_double_loop(known, frequency):
    model, features, _ = known
    found, layer = parts(model, features, torch.zeros(10), frequency), model.blocks[0]
    D, W_U = features.directions, model.W_U
    for h in range(3):
        qk = [[D[b] @ layer.W_Q[h] @ layer.W_K[h].T @ D[a] / 2 for a in range(7)] for b in range(7)]
        ov = torch.stack([D[a] @ layer.W_V[h] @ layer.W_O[h] @ W_U for a in range(7)])
        torch.testing.assert_close(found.qk[h].dense(), torch.tensor(qk), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found.ov[h].dense(), ov - (ov @ frequency)[:, None], rtol=1e-4, atol=1e-4)


def test_every_entry_kept_is_the_interaction_of_what_features_reconstruct(made, windows, frequency):
    """Against the last layer run by hand: additive parts of x, interactions of x̂."""
    model, layer = made.model, made.model.blocks[-1]
    wanted = []
    for window in windows:
        x = sites.run(model, window[None, :-1]).before[0]
        pos, centre = model.positions(len(x)), made.centre
        x_hat = made.features.centred(x) @ made.features.directions
        logits = x @ model.W_U
        for h in range(model.n_heads):
            W = layer.W_Q[h] @ layer.W_K[h].T / model.d_head**0.5
            scores = (x + pos) @ W @ (x + pos).T - (x - centre) @ W @ (x - centre).T
            scores = scores + (x_hat - centre) @ W @ (x_hat - centre).T
            pattern = scores.masked_fill(torch.ones_like(scores).triu(1) > 0, -torch.inf).softmax(-1)
            logits = logits + pattern @ x_hat @ layer.W_V[h] @ layer.W_O[h] @ model.W_U
        wanted.append(float(torch.nn.functional.cross_entropy(logits[1:], window[2:])))
    several = [Running(made, None, None), Running(made, *everything(made))]
    for found in losses(several, windows):
        np.testing.assert_allclose(found, wanted, rtol=1e-4)


def test_tokens_are_features_of_one_direction_each(make_model, windows, frequency):
    """With W_E the identity and every token its own feature, entries are those that the account keeps of tokens."""
    model = make_model(1, d_model=24).float()
    model.W_E.data = torch.eye(23, 24)
    features = features_of(torch.eye(23, 24), torch.zeros(23), torch.eye(23, 24), 1)
    centre = frequency @ model.W_E
    found, tokens = parts(model, features, centre, frequency), split(model, frequency)
    generator = np.random.default_rng(1)
    for count in (0, 30):
        head, row, column = (generator.integers(0, size, count) for size in (3, 23, 23))
        value = generator.normal(size=count).astype(np.float32)
        entries = Entries(head, row, column, value)
        of_features = Entries(head, row + 1, column, value)
        qk_of_features = Entries(head, row + 1, column + 1, value)
        both = Running(found, qk_of_features, of_features), RunningTokens(tokens, entries, entries)
        np.testing.assert_allclose(losses([both[0]], windows)[0], context_losses(both[1], windows), rtol=1e-5)


def test_slopes_are_derivatives_of_the_loss(made, windows):
    kept = [e.first(150) for e in everything(made)]
    found = orders.empty(made)
    orders.slopes(Running(made, *kept), windows, found)
    step = 1e-3
    for circuit, slope in enumerate(found):
        for flat in slope.flatten().abs().topk(4).indices.tolist():
            at = np.unravel_index(flat, slope.shape)
            changed = []
            for sign in (1, -1):
                more, e = list(kept), kept[circuit]
                here = (e.head == at[0]) & (e.row == at[1]) & (e.column == at[2])
                value = e.value.astype(np.float64).copy()
                if here.any():
                    value[here] += sign * step
                    more[circuit] = e._replace(value=value)
                else:
                    more[circuit] = Entries(*(np.append(a, b) for a, b in zip(e, (*at, sign * step), strict=True)))
                changed.append(losses([Running(made, *more)], windows).mean())
            measured = (changed[0] - changed[1]) / (2 * step)
            assert measured == pytest.approx(slope[at].item(), rel=0.05, abs=1e-3)


def classes(make_model):
    """Tokens 1–5 share a direction, 6–10 another, and head 1 moves the first to token 20 where the second looks."""
    model = make_model(1, d_model=12, n_heads=2).float()
    for weight in model.parameters():
        weight.data.mul_(0.02)
    model.W_pos.zero_()
    basis = torch.eye(3, 12)
    model.W_E.data[1:6], model.W_E.data[6:11], model.W_E.data[11:] = basis[0], basis[1], basis[2]
    layer, e = model.blocks[0], torch.eye(12)
    layer.W_Q[1, 1, 0], layer.W_K[1, 0, 0] = 12.0, 1.0
    layer.W_V[1, 0, 2] = 1.0
    model.W_U.data[5] = 0
    model.W_U.data[5, 20] = 6.0
    layer.W_O[1, 2] = e[5]
    return model, features_of(basis, torch.zeros(3), basis, 1)


def vocabularies(frequency):
    names, count = pd.Series([f"t{i}" for i in range(23)]), pd.Series(np.arange(100, 123))
    of_features = torch.tensor([0.0, 0.3, 0.3, 0.4])
    return (
        Vocabulary(pd.Series(list("_abc")), pd.Series([0, 60, 60, 80]), of_features),
        Vocabulary(names, count, frequency),
    )


def test_the_built_row_is_mined_first_and_used_and_a_random_one_is_not(make_model, frequency):
    model, features = classes(make_model)
    found = parts(model, features, frequency @ model.W_E, frequency)
    known, tokens = vocabularies(frequency)
    mined = rows.mine(found, known, tokens, MiningParams(sources=3, destinations=2, outs=2, min_count=50), 9)
    best = mined.sort_values("rank_published").iloc[0]
    assert (best["head"], best["source"], best["destination"], best["out"]) == (1, 1, 2, 20)
    assert mined.sort_values("rank_expected").iloc[0][rows.KEYS].tolist() == [1, 1, 2, 20]
    text = torch.randint(11, 20, (12, 8), generator=seeded(1))
    text[:, 0] = 0
    text[:, 2] = torch.arange(12) % 5 + 1
    text[:, 4] = torch.arange(12) % 4 + 6
    text[:, 5] = 20
    document = np.repeat(np.arange(12)[:, None], 6, 1)
    one = mined[(mined[rows.KEYS] == [1, 1, 2, 20]).all(1)].reset_index(drop=True)
    other = one.assign(head=0)
    least = torch.full((4,), 0.5)
    cut = rows.edges(found, one, text, document, least, 9)
    assert judged(cut.found, 0.05)["use"].item() == "used" and cut.found["used_places"].item() == 9
    assert cut.found["used_p"].item() > 0.3 and (cut.source == 2).all() and (cut.at.place == 4).all()
    beside = rows.edges(found, other, text, document, least, 9).found
    assert abs(beside["used_nats"].item()) < 0.1 * cut.found["used_nats"].item()
    saved = rows.worth(found, one, text)
    assert saved.nats.item() > 20 * abs(rows.worth(found, other, text).nats.item()) and saved.n.item() >= 12


def test_heads_that_move_nothing_leave_no_row(make_model, frequency):
    model, features = classes(make_model)
    model.blocks[0].v.data.zero_()
    found = parts(model, features, frequency @ model.W_E, frequency)
    assert rows.mine(found, *vocabularies(frequency), MiningParams(sources=3, destinations=2, outs=2), 9).empty


def test_what_follows_a_feature_is_counted_by_the_double_loop(rough, windows, frequency):
    x = torch.randn(30, 10, generator=seeded(6))
    tokens = Vocabulary(pd.Series([f"t{i} " for i in range(23)]), pd.Series(np.arange(23)), frequency)
    mining = MiningParams(min_count=3, min_pairs=2)
    found = vocabulary(rough, x, windows, tokens, tokens.token, mining)
    active = rough.activations(x) > 0
    assert found.count.tolist() == [0, *active[:, 1:].sum(0).tolist()]
    assert found.probability.sum() == pytest.approx(1) and found.probability[0] == 0
    wanted = {}
    for place in range(30):
        window, at = divmod(place, 6)
        for feature in range(1, 7):
            following = int(windows[window, at + 2])
            if active[place, feature] and following >= 3 and found.count[feature] >= 3:
                wanted[feature, following] = wanted.get((feature, following), 0) + 1
    within, outs = found.eligible_ids(3), tokens.eligible_ids(3)
    pairs = found.pairs(3, 2)
    at = zip(within[pairs.destination].tolist(), outs[pairs.out].tolist(), strict=True)
    counts = (30 * pairs.share).round().int().tolist()
    assert dict(zip(at, counts, strict=True)) == {pair: n for pair, n in wanted.items() if n >= 2}
    assert len(counts) > 3


def test_edges_are_cut_as_those_of_tokens(made, windows):
    """Against the model run to each place and its edges taken away there (evidence.causal)."""
    model, last = made.model, made.model.n_layers - 1
    document = np.repeat([[0, 0, 0, 1, 1, 1]], 5, 0)
    row = pd.DataFrame({"head": [0, 2, 1], "source": [1, 3, 2], "destination": [2, 2, 5], "out": [4, 9, 7]})
    least = torch.full((7,), 0.2)
    cut = rows.edges(made, row, windows, document, least, 99)
    wanted = {}
    for r in row.itertuples():
        for number, window in enumerate(windows):
            f = made.features.activations(sites.run(model, window[None, :-1]).before[0])
            for place in range(1, 7):
                same = [j for j in range(1, place) if document[number][j - 1] == document[number][place - 1]]
                sources = [j for j in same if f[j, r.source] >= 0.2]
                if f[place, r.destination] >= 0.2 and sources:
                    end = run_to_end(model, window[None, : place + 1])
                    edges = torch.zeros(1, place + 1, dtype=torch.bool)
                    edges[0, sources] = True
                    logits = torch.cat([end.logits, without_edges(model, end, last, r.head, edges)]).log_softmax(-1)
                    target = window[place + 1]
                    wanted[r.Index, number, place] = float(logits[0, target] - logits[1, target])
    found = dict(zip(zip(*(each.tolist() for each in cut.at), strict=True), cut.loss, strict=True))
    assert found.keys() == wanted.keys() and len(wanted) > 4
    for at, loss in wanted.items():
        assert found[at] == pytest.approx(loss, abs=1e-4)
    few = rows.where(made, row, windows, document, least, 2)
    assert np.bincount(few.row, minlength=3).tolist() == np.minimum(np.bincount(cut.at.row, minlength=3), 2).tolist()


def test_what_a_row_saves_by_the_double_loop(made, windows):
    row = pd.DataFrame({"head": [0, 2], "source": [1, 3], "destination": [2, 5], "out": [4, 9]})
    found = rows.worth(made, row, windows)
    model = made.model
    for r in row.itertuples():
        total, places = np.zeros(5), 0
        for number, window in enumerate(windows):
            ran = rows.run(made, window[:-1])
            logits = model(window[None, :-1])[0]
            for i in range(1, 7):
                delta = sum(float(ran.pattern[r.head, i, j] * ran.features[j, r.source]) for j in range(i + 1)) * float(
                    made.ov[r.head].dense()[r.source, r.out]
                )
                seen = (ran.features[: i + 1, r.source] > 0).any()
                if ran.features[i, r.destination] > 0 and seen:
                    without = logits[i].clone()
                    without[r.out] -= delta
                    each = logits[i].log_softmax(-1) - without.log_softmax(-1)
                    total[number] += float(each[window[i + 1]])
                    places += 1
        assert found.n[r.Index] == places
        assert found.nats[r.Index] == pytest.approx(1000 / 6 * total.mean(), rel=1e-3, abs=1e-3)
        assert found.se[r.Index] == pytest.approx(1000 / 6 * total.std(ddof=1) / 5**0.5, rel=1e-3, abs=1e-3)


def test_rounds_keep_each_entry_once_and_the_built_one_first(make_model, frequency):
    model, features = classes(make_model)
    text = torch.randint(11, 20, (40, 8), generator=seeded(1))
    text[:, 0] = 0
    text[::2, 2], text[:, 4], text[::2, 5] = 3, 8, 20
    found = parts(model, features, frequency @ model.W_E, frequency)
    ranked = orders.rounds(found, lambda number: text, [2, 5, 9])
    for kept, first in ((ranked.qk, (1, 2, 1)), (ranked.ov, (1, 1, 20))):
        at = list(zip(kept.head.tolist(), kept.row.tolist(), kept.column.tolist(), strict=True))
        assert len(set(at)) == len(at) == 9
        assert first in at[:2]
    circuits = torch.stack([c.dense() for c in found.ov])
    wanted = [circuits[at].item() for at in zip(*ranked.ov[:3], strict=True)]
    assert ranked.ov.value.tolist() == pytest.approx(wanted, abs=1e-5)


def test_random_features_are_as_long_and_as_often_active_and_have_the_best_directions(rough):
    x = torch.randn(300, 10, generator=seeded(2))
    drawn = random(x, rough, 3)
    assert torch.allclose(drawn.coder.encoder[0].norm(dim=1), rough.coder.encoder[0].norm(dim=1))
    f, centred = drawn.activations(x), drawn.centred(x)
    assert centred[:, 1:].mean(0).abs().max() < 1e-5
    often = (rough.activations(x)[:, 1:] > 0).sum(0)
    assert ((f[:, 1:] > 0).sum(0) - often).abs().max() <= 1 and torch.equal(f[:, 0], torch.ones(300))
    assert f[:, 1:].sum(0).numpy() == pytest.approx((f[:, 1:] > 0).sum(0).numpy(), rel=1e-4)

    def error(directions):
        return float((x - centred @ directions).square().sum())

    best = error(drawn.directions)
    for number in range(5):
        moved = drawn.directions + 0.02 * torch.randn(drawn.directions.shape, generator=seeded(number))
        assert error(moved) > best
    assert torch.equal(random(x, rough, 3).directions, drawn.directions)


def test_random_features_of_tokens_part_no_two_places_of_one_token(make_model):
    """Where x is of tokens alone, a feature is active at all places of a token or at none, though products round."""
    table, token = torch.randn(23, 10, generator=seeded(2)), torch.randint(0, 23, (400,), generator=seeded(5))
    x = table[token] + 1e-9 * torch.randn(400, 10, generator=seeded(6))
    like = learned(x, PARAMS, "x")
    active, wanted = random(x, like, 3).activations(x)[:, 1:] > 0, (like.activations(x)[:, 1:] > 0).sum(0)
    for each in range(23):
        here = active[token == each]
        assert (here.all(0) | ~here.any(0)).all()
    most = torch.bincount(token).max()
    assert ((active.sum(0) - wanted).abs() <= most).all()
    assert (active.any(0) == (wanted > 0)).all()


def test_the_first_entries_save_most_along_the_path_and_text_is_drawn_as_for_tokens(made, windows, frequency):
    """Against a path of five places by hand, and the draws that the account asks for of tokens."""
    draws = [windows[torch.randperm(5, generator=seeded(n))[:3]] for n in range(6)]
    asked = {"features": [], "tokens": []}

    def draw(which):
        return lambda number: asked[which].append(number) or draws[number]

    found = orders.rounds(made, draw("features"), [5, 11])
    slopes = orders.empty(made)
    for number, (at, weight) in enumerate([(0, 0.125), (0.25, 0.25), (0.5, 0.25), (0.75, 0.25), (1, 0.125)]):
        entries = [e._replace(value=at * e.value) for e in everything(made)]
        orders.slopes(Running(made, *entries), draws[number], slopes, weight)
    for kept, circuits, slope in ((found.qk, made.qk, slopes.qk), (found.ov, made.ov, slopes.ov)):
        saved = -slope * torch.stack([c.dense() for c in circuits])
        wanted = saved.flatten().topk(5).values
        got = saved[tuple(torch.from_numpy(each[:5]) for each in kept[:3])]
        torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-6)
    if made.model.n_layers == 1:
        tokens, among = split(made.model, frequency), torch.arange(23)
        _, first = token_orders.attribution(tokens, draw("tokens"), among, 5, 5)
        token_orders.rounds(tokens, draw("tokens"), among, [5, 11], first)
        assert asked["features"] == asked["tokens"]


def test_learned_features_have_a_mean_of_one_where_they_are_active():
    x = torch.randn(400, 10, generator=seeded(2))
    found = learned(x, PARAMS, "x")
    f = found.activations(x)[:, 1:]
    alive = (f > 0).any(0)
    assert (f.sum(0) / (f > 0).sum(0))[alive].tolist() == pytest.approx([1.0] * int(alive.sum()), rel=1e-4)
    x_hat = found.coder.decode(found.coder.features(x.T[None].contiguous()))[0].T
    torch.testing.assert_close(found.centred(x) @ found.directions, x_hat, rtol=1e-4, atol=1e-4)
    assert (x - x_hat).square().sum() < (x - x.mean(0)).square().sum()


@pytest.mark.parametrize("layers", [1, 2])
def test_a_study_ranks_measures_and_names(make_model, layers, frequency):
    model = make_model(layers).float()
    stream = np.random.default_rng(0).integers(1, 23, 900)
    names = pd.Series([f"t{i} " for i in range(23)])
    text = Text(stream[:600], stream[600:], frequency, names)
    counts = pd.Series(np.bincount(stream[:600], minlength=23))
    account = AccountParams(contexts=4, selection=3, entries=[3, 12, 700], rows=5, shown_rows=3)
    mining = MiningParams(sources=4, destinations=2, outs=2, min_count=2, min_pairs=1)
    tokens = Vocabulary(names, counts, frequency)

    def run():
        return study(copy.deepcopy(model), text, tokens, PARAMS, account, mining, 0.05)

    found = run()
    rungs = found.rungs.set_index(["basis", "rung"])
    assert rungs.loc[(LEARNED, "additive"), "recovered"] == 0
    assert rungs.loc[(LEARNED, "whole model"), "recovered"] == pytest.approx(1)
    assert rungs.loc[(LEARNED, "additive"), "loss"] == pytest.approx(rungs.loc[(RANDOM, "additive"), "loss"], rel=1e-5)
    curve = found.curve.set_index(["basis", "order", "entries"])
    assert {(b, ROUNDS, n) for b in (LEARNED, RANDOM) for n in (3, 12, 700)} <= set(curve.index)
    ahead = curve.loc[(LEARNED, ROUNDS, 12), "recovered"] - curve.loc[(RANDOM, ROUNDS, 12), "recovered"]
    assert curve.loc[(RANDOM, ROUNDS, 12), "ahead"] == pytest.approx(ahead)
    kinds = found.kinds.set_index("kind")
    assert set(found.rows["kind"]) == set(kinds.index) == {"mined", "mined of random features", "random"}
    for kind, mine in found.rows.groupby("kind"):
        assert len(mine) == kinds.loc[kind, "rows"] <= PARAMS.checked and (mine["layer"] == layers - 1).all()
        assert mine["rank"].tolist() == list(range(1, 1 + len(mine)))
        assert mine["nats"].mean() == pytest.approx(kinds.loc[kind, "nats"], abs=1e-9)
        assert mine["chosen_nats"].isna().all() if kind == "random" else mine["chosen_nats"].is_monotonic_decreasing
    assert kinds.loc["mined", "ahead"] == 0
    behind = kinds["nats"] - kinds.loc["mined", "nats"]
    np.testing.assert_allclose(-kinds["ahead"], behind, atol=1e-9)
    explained = found.features["token_explained"].dropna()
    assert len(explained) and np.allclose(explained, 1, atol=1e-4) == (layers == 1)
    again = run()
    for one, other in zip(found, again, strict=True):
        pd.testing.assert_frame_equal(one, other)
