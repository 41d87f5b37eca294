"""Edges that are cut on text as it is."""

import numpy as np
import pandas as pd
import pytest
import torch

from skiptrace.evidence.intervals import clustered
from skiptrace.evidence.tables import CHECKED, USED
from skiptrace.evidence.used import LEAST, use

NAMES = ["layer", "head", "source_id", "destination_id", "out_id"]


def stream() -> np.ndarray:
    """Forty documents of random tokens; in the even ones 5 … 9 is followed by 7."""
    generator = np.random.default_rng(0)
    documents = []
    for number in range(40):
        text = generator.integers(10, 23, 14)
        text[8] = 9
        if number % 2 == 0:
            text[5], text[9] = 5, 7
        documents.append(np.concatenate([[0], text]))
    return np.concatenate(documents)


def built(make_model, sign: float):
    """Head 1 moves 5 to a logit of 7 with the sign; all other heads do nothing, and attention is even."""
    model = make_model(1, d_model=24).float()
    for parameter in model.parameters():
        parameter.data.zero_()
    model.W_E.data, model.W_U.data = torch.eye(23, 24), torch.eye(24, 23)
    layer = model.blocks[0]
    layer.v.data.view(24, model.n_heads, -1)[5, 1, 2] = 1
    layer.o.data.view(model.n_heads, model.d_head, -1)[1, 2] = sign * 20 * torch.eye(24)[7]
    return model


def rows(*each: tuple[int, ...]) -> pd.DataFrame:
    return pd.DataFrame(each, columns=NAMES)


@pytest.mark.parametrize(("sign", "word"), [(1.0, "used"), (-1.0, "harmful")])
def test_what_is_used_harmful_without_effect_or_too_rare_is_called_so(make_model, sign, word):
    text = stream()
    asked = rows((0, 1, 5, 9, 7), (0, 0, 5, 9, 7), (0, 1, 6, 9, 7))  # another head; a source that the text lacks
    found = use(built(make_model, sign), asked, text, 7, 100, 0.05)
    assert found["use"].tolist() == [word, "no effect seen", "too rare to say"]
    assert found["used_places"].tolist() == [20, 20, 0]
    assert found["used_nats"][0] * sign > 0.1 and found["used_p"][0] * sign > 0
    assert found["used_nats"][1] == pytest.approx(0, abs=1e-6)
    assert np.isnan(found["used_nats"][2])


def test_the_effect_equals_a_slow_twin(make_model):
    model, text, ctx = make_model(2), stream(), 6
    for parameter in model.parameters():
        parameter.data.mul_(0.7)
    asked = rows((1, 2, 5, 9, 7), (0, 0, 5, 9, 3))
    found = use(model, asked, text, ctx, 3, 0.05)
    for index, row in asked.iterrows():
        ends = [e for e in np.flatnonzero(text == 9) if e + 1 < len(text) and 5 in text[e - ctx + 2 : e]]
        ends = np.array(ends)[np.linspace(0, len(ends) - 1, 3).astype(int)]
        rises = []
        for end in ends:
            tokens = torch.from_numpy(np.concatenate([[0], text[end - ctx + 2 : end + 1]]))[None]
            x, pos = model.embed(tokens)
            intact, cut = x, x
            for number, block in enumerate(model.blocks):
                pattern = block.pattern(cut, pos)
                if number == row["layer"]:
                    edges = (tokens[0] == 5).clone()
                    edges[0] = edges[-1] = False
                    last = pattern[0, row["head"], -1].masked_fill(edges, 0)
                    pattern = pattern.clone()
                    pattern[0, row["head"], -1] = last / last.sum()
                cut = cut + block.head_outputs(cut, pattern).sum(1)
                intact = intact + block.head_outputs(intact, block.pattern(intact, pos)).sum(1)
            both = [(s[0, -1] @ model.W_U).log_softmax(-1)[text[end + 1]].item() for s in (intact, cut)]
            rises.append(both[0] - both[1])
        assert found["used_nats"][index] == pytest.approx(np.mean(rises), rel=1e-6)
        assert abs(np.mean(rises)) > 1e-4
        document = np.searchsorted(np.flatnonzero(text == 0), ends, side="right")
        wanted = clustered(np.array(rises), document)
        assert wanted.clusters == 3 < LEAST and found["use"][index] == "too rare to say"
        assert found["used_se"][index] == pytest.approx((wanted.high - wanted.mean) / 4.302653, rel=1e-3)


def test_no_rows_have_no_use(make_model):
    found = use(make_model(1).float(), rows(), stream(), 6, 3, 0.05)
    assert found.empty and found.dtypes.astype(str).to_dict() == {c.name: CHECKED.dtypes[c.name] for c in USED}
