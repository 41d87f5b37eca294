"""What the page looks up, against slow and obvious twins."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from skiptrace.circuits.attention import explain_attention
from skiptrace.circuits.paths import contributions, label
from skiptrace.exploration import circuits, patterns, reasons
from skiptrace.exploration.neighbours import entries
from skiptrace.mining.vocabulary import Vocabulary


def dense(model, layer, head):
    """QK and OV of a head, entry by entry as the circuits are written down."""
    block = model.blocks[layer]
    query, key = model.W_E @ block.W_Q[head], model.W_E @ block.W_K[head]
    value = model.W_E @ block.W_V[head] @ block.W_O[head] @ model.W_U
    return query @ key.T / math.sqrt(model.d_head), value


def test_neighbours_are_the_largest_entries_of_the_dense_circuits(make_model):
    model = make_model(2)
    shown, eligible = torch.tensor([2, 5, 22]), torch.ones(23, dtype=torch.bool)
    eligible[[0, 7]] = False
    probability = torch.arange(1, 24).double() / torch.arange(1, 24).sum()
    table = entries(model, shown, eligible, probability, 4)
    assert table["name"].unique().tolist() == ["direct", "L0H0", "L0H1", "L0H2", "L1H0", "L1H1", "L1H2"]
    allowed = eligible.nonzero()[:, 0].tolist()

    def check(name, role, value):
        for token in shown.tolist():
            best = sorted(allowed, key=lambda other: -value(token, other))[:4]
            rows = table.query("name == @name and role == @role and token_id == @token").sort_values("rank")
            assert rows["partner_id"].tolist() == best
            assert rows["value"].tolist() == pytest.approx([float(value(token, b)) for b in best], rel=1e-5)

    qk, ov = dense(model, 1, 2)
    attention, out = qk - (qk @ probability)[:, None], ov - ov.mean(1, keepdim=True)
    check("L1H2", "outs", lambda token, other: out[token, other])
    check("L1H2", "sources", lambda token, other: out[other, token])
    check("L1H2", "attended", lambda token, other: attention[token, other])
    check("L1H2", "destinations", lambda token, other: attention[other, token])
    path = model.W_E @ model.W_U
    check("direct", "outs", lambda token, other: (path - path.mean(1, keepdim=True))[token, other])
    assert set(table.loc[table["name"] == "direct", "role"]) == {"outs", "sources"}


def test_patterns_are_those_of_the_model(make_model):
    model = make_model(2).float()
    examples = pd.DataFrame({"example": [0, 0, 1], "position": [0, 1, 0], "token_id": [4, 6, 0]})
    texts = patterns.chosen(examples, np.array([0, 3, 5, 7, 9, 11, 13, 15]))
    assert texts == [[0, 4, 6], [0], [0, 3, 5, 7, 9, 11, 13, 15]]
    read, seen = patterns.patterns(model, texts)
    text = read[read["text"] == 2]
    ids = text["token_id"].tolist()
    assert ids == [0, 3, 5, 7, 9, 11, 13]  # no more than fit the context
    expected = model.patterns(torch.tensor([ids]))[1][0, 2]
    (pattern,) = seen.query("text == 2 and name == 'L1H2'")["attention"]
    rows = iter(pattern)
    for destination in range(7):
        given = [next(rows) for _ in range(destination + 1)]
        assert given == pytest.approx(expected[destination, : destination + 1].tolist(), abs=1e-6)
    best = model(torch.tensor([ids]))[0].argmax(-1)
    assert [guess[0] for guess in text["guess_ids"]] == best.tolist()


def test_the_loss_on_each_token_is_the_models_and_without_its_deepest_paths_that_of_the_others(make_model):
    model = make_model(2)
    tokens = torch.tensor([[0, 3, 5, 7, 9, 4]])
    loss, shallow = patterns.token_losses_of(model, tokens)
    logprob = model(tokens)[0].log_softmax(-1)
    assert math.isnan(loss[0]) and math.isnan(loss[1]) and math.isnan(shallow[1])
    assert loss[2:] == pytest.approx([-logprob[i - 1, tokens[0, i]].item() for i in range(2, 6)])
    for place in range(2, 6):
        by_hand = torch.zeros(23, dtype=torch.float64)
        for token in range(23):
            found = contributions(model, tokens[0, :place], place - 1, token)
            by_hand[token] = sum(path.logit for path in found if len(path.path) < 2)
        assert shallow[place] == pytest.approx(-by_hand.log_softmax(-1)[tokens[0, place]].item())
    assert patterns.token_losses_of(make_model(1), torch.tensor([[0]]))[0] != []


def test_of_a_long_text_the_last_tokens_are_kept_as_the_model_reads_them_after_the_others(make_model, monkeypatch):
    model = make_model(2).float()
    monkeypatch.setattr(patterns, "SHOWN", 3)
    ids = [0, 3, 5, 7, 9]
    read, seen = patterns.patterns(model, [ids])
    assert read["token_id"].tolist() == ids
    expected = model.patterns(torch.tensor([ids]))[1][0, 2]
    (pattern,) = seen.query("name == 'L1H2'")["attention"]
    assert pattern == pytest.approx(expected[2:, 2:][torch.ones(3, 3).tril().bool()].tolist(), abs=1e-6)


def test_corners_are_centred_entries_of_the_leading_tokens_of_each_head(make_model):
    model = make_model(2)
    mined = pd.DataFrame(
        {"rank": [2, 1, 3], "layer": 1, "head": 2, "source_id": [5, 9, 5], "destination_id": [4, 4, 8]}
    )
    count = pd.Series(range(100, 77, -1))
    probability = torch.tensor(count.to_numpy() / count.sum())
    words = Vocabulary(count.astype(str), count, probability)
    found = circuits.corners(model, mined, words, 3)
    qk, ov = dense(model, 1, 2)
    centred = {"qk": qk - (qk @ probability)[:, None], "ov": ov - ov.mean(1, keepdim=True)}
    assert set(zip(found["layer"], found["head"], strict=True)) == {(i, h) for i in range(2) for h in range(3)}
    found = found[(found["layer"] == 1) & (found["head"] == 2)]
    for circuit, rows, columns in (("ov", [9, 5, 1], [9, 5, 1]), ("qk", [4, 8, 1], [9, 5, 1])):
        part = found[found["circuit"] == circuit]
        assert (part["row_id"].unique().tolist(), part["column_id"].unique().tolist()) == (rows, columns)
        for row in part.itertuples():
            assert row.value == pytest.approx(centred[circuit][row.row_id, row.column_id].item(), rel=1e-4, abs=1e-5)


def test_a_layer_copies_by_the_sum_of_its_heads(make_model):
    model = make_model(2)
    found = circuits.layers(model)
    for layer in range(2):
        whole = sum(dense(model, layer, head)[1] for head in range(3))
        own = (whole.argmax(1) == torch.arange(23)).double().mean().item()
        assert found["own_top1"][layer] == pytest.approx(own)


def test_reasons_of_every_cell_and_guess_are_those_of_explain(make_model, monkeypatch):
    """The slow twin explains one cell, or one prediction, at a time."""
    monkeypatch.setattr(reasons, "SHOWN", 5)
    model, ids = make_model(2), [0, 3, 5, 7, 3, 11, 5]
    terms, paths = reasons.reasons(model, [ids])
    tokens = torch.tensor(ids)
    for name, head in (("L0H1", (0, 1)), ("L1H2", (1, 2))):
        (row,) = terms[terms["name"] == name].itertuples()
        cells = [(i, j) for i in range(2, 7) for j in range(2, i + 1)]
        assert len(row.which) == len(row.above) == reasons.KEPT * len(cells)
        for k, (i, j) in enumerate(cells):
            best = explain_attention(model, tokens, head, i, j).terms[: reasons.KEPT]
            here = slice(k * reasons.KEPT, (k + 1) * reasons.KEPT)
            assert [row.terms[t] for t in row.which[here]] == [f"{t.destination} × {t.source}" for t in best]
            assert row.above[here] == pytest.approx([t.above for t in best], abs=1e-5)
    assert paths["position"].tolist() == [2, 3, 4, 5, 6]
    for row in paths.itertuples():
        guess = int(model(tokens[None])[0, row.position].argmax())
        best = sorted(contributions(model, tokens, row.position, guess), key=lambda c: -abs(c.logit))[: reasons.KEPT]
        assert list(row.paths) == [label(c.path) for c in best]
        assert row.logits == pytest.approx([c.logit for c in best], abs=1e-5)
        assert row.sources == [c.source for c in best]
