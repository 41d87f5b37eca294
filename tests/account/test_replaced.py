"""Rungs of the ladder against hand-built weights, slow twins and the running model."""

import pytest
import torch

from skiptrace.account.replaced import OV, QK, averages, losses
from skiptrace.models.evaluation import window_losses
from skiptrace.models.transformer import Transformer


@pytest.fixture
def windows():
    return torch.cat([torch.zeros(6, 1, dtype=torch.long), torch.randint(1, 23, (6, 7), generator=seeded(1))], 1)


@pytest.fixture
def frequency():
    count = torch.rand(23, generator=seeded(2))
    return count / count.sum()


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("n_layers", [1, 2])
def test_the_whole_model_is_the_running_one(make_model, windows, frequency, n_layers):
    model = make_model(n_layers).float()
    found = losses(model, windows, averages(model, windows, frequency), {})
    torch.testing.assert_close(found, window_losses(model, windows).double().mean(1))


def test_without_heads_the_direct_path_is_left(make_model, windows, frequency):
    model = make_model(2).float()
    rules = {0: (QK.WHOLE, OV.NONE), 1: (QK.WHOLE, OV.NONE)}
    found = losses(model, windows, averages(model, windows, frequency), rules)
    logits = (model.W_E[windows[:, 1:-1]] @ model.W_U).log_softmax(-1)
    wanted = -logits.gather(2, windows[:, 2:, None])[..., 0].double().mean(1)
    torch.testing.assert_close(found, wanted)


def dense(model: Transformer, frequency, qk: str, ov: str, window):
    """A slow twin: QK and OV of one layer written out over the vocabulary, and reduced as matrices."""
    layer, p, n = model.blocks[0], frequency, len(window) - 1
    tokens, pos = window[:-1], model.W_pos[: len(window) - 1]
    logits = model.W_E[tokens] @ model.W_U
    for h in range(model.n_heads):
        W_QK = layer.W_Q[h] @ layer.W_K[h].T / model.d_head**0.5
        each = model.W_E @ W_QK @ model.W_E.T
        mean = p @ each @ p
        additive = (each @ p)[:, None] + (p @ each)[None] - mean
        places = pos @ W_QK @ pos.T
        token_place, place_token = model.W_E @ W_QK @ pos.T, pos @ W_QK @ model.W_E.T
        scores = torch.full((n, n), -torch.inf, dtype=torch.float64)
        for i in range(n):
            for j in range(i + 1):
                d, s = tokens[i], tokens[j]
                scores[i, j] = {
                    "whole": each[d, s] + token_place[d, j] + place_token[i, s] + places[i, j],
                    "salience": additive[d, s] + token_place[d, j] + place_token[i, s] + places[i, j],
                    "distance": (p @ token_place)[j] + (place_token @ p)[i] + places[i, j],
                    "tokens": each[d, s] + token_place.mean(1)[d] + place_token.mean(0)[s],
                }[qk]
        table = model.W_E @ layer.W_V[h] @ layer.W_O[h] @ model.W_U
        middle = p @ table
        if ov == "mean":
            table = middle.expand_as(table)
        elif ov == "rank one":
            rest = (table - table.mean(1, keepdim=True)) - (middle - middle.mean())
            u, s, v = torch.linalg.svd(p.sqrt()[:, None] * rest)
            table = middle + (s[0] * u[:, :1] @ v[:1]) / p.sqrt()[:, None]
        logits = logits + scores.softmax(-1) @ table[tokens]
    logits = logits[1:].log_softmax(-1)
    return -logits.gather(1, window[2:, None])[:, 0].mean()


@pytest.mark.parametrize(
    ("qk", "ov"),
    [("distance", "whole"), ("tokens", "whole"), ("salience", "whole"), ("whole", "mean"), ("whole", "rank one")],
)
def test_a_rung_equals_the_circuits_written_out(make_model, windows, frequency, qk, ov):
    model, frequency = make_model(1), frequency.double()
    found = losses(model, windows, averages(model, windows, frequency), {0: (QK(qk), OV(ov))})
    wanted = torch.stack([dense(model, frequency, qk, ov, window) for window in windows])
    torch.testing.assert_close(found, wanted.double(), rtol=1e-6, atol=1e-8)
    whole = losses(model, windows, averages(model, windows, frequency), {})
    assert (found - whole).abs().max() > 1e-4  # the rung replaces something


def test_each_source_alone_equals_its_equation(make_model, windows, frequency):
    model, p = make_model(1), frequency.double()
    layer, scale = model.blocks[0], make_model(1).d_head ** 0.5
    found = losses(model, windows, averages(model, windows, p), {0: (QK.ALONE, OV.WHOLE)})
    for window, loss in zip(windows, found, strict=True):
        tokens = window[:-1]
        logits = model.W_E[tokens] @ model.W_U
        for h in range(model.n_heads):
            q = (model.W_E[tokens] + model.W_pos[: len(tokens)]) @ layer.W_Q[h] / scale
            average = p @ model.W_E @ layer.W_V[h]
            for i in range(len(tokens)):
                out = average.clone()
                for j in range(i + 1):
                    score = (q[i] @ ((model.W_E[tokens] + model.W_pos[: len(tokens)]) @ layer.W_K[h]).T).exp()
                    rest = sum(score[k] for k in {0, i} - {j})
                    for k in set(range(1, i)) - {j}:
                        rest = rest + p @ (q[i] @ ((model.W_E + model.W_pos[k]) @ layer.W_K[h]).T).exp()
                    out = out + score[j] / (score[j] + rest) * (model.W_E[tokens[j]] @ layer.W_V[h] - average)
                logits[i] = logits[i] + out @ layer.W_O[h] @ model.W_U
        wanted = -logits[1:].log_softmax(-1).gather(1, window[2:, None]).mean()
        torch.testing.assert_close(loss, wanted.double(), rtol=1e-6, atol=1e-8)


def test_scores_of_any_size_have_an_answer(make_model, windows, frequency):
    model = make_model(1)
    model.blocks[0].q.data.mul_(1e4)
    found = losses(model, windows, averages(model, windows, frequency.double()), {0: (QK.ALONE, OV.WHOLE)})
    assert found.isfinite().all()


def test_a_model_whose_sources_are_alike_loses_nothing_to_competition(make_model, windows, frequency):
    model = make_model(1)
    model.blocks[0].k.data.zero_()  # every source draws the same, so average ones are the real ones
    means = averages(model, windows, frequency.double())
    alone, whole = (losses(model, windows, means, {0: (qk, OV.WHOLE)}) for qk in (QK.ALONE, QK.WHOLE))
    torch.testing.assert_close(alone, whole)
