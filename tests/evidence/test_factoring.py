import numpy as np
import pytest
import torch

from skiptrace.evidence import factoring
from skiptrace.evidence.verification import Streams


def stream(documents, seed):
    """Documents `0 … source … destination → output` in which source 1 crosses: 2 → 4 and 3 → 5, without it 6 or 7.

    With source 8 both destinations are followed by 4: one product is enough for it.
    """
    rng = np.random.default_rng(seed)
    parts = []
    for _ in range(documents):
        source, destination = rng.choice([1, 8, 9]), rng.choice([2, 3])
        out = {1: 4 if destination == 2 else 5, 8: 4, 9: rng.choice([6, 7])}[source]
        parts.append([0, source, 10, destination, out])
    return np.array(parts, dtype=np.uint16).ravel()


def test_a_crossing_costs_one_head_and_not_two(monkeypatch):
    monkeypatch.setattr(factoring, "DESTINATIONS", 5)
    monkeypatch.setattr(factoring, "PLACES", 200)
    train, valid = stream(800, 0), stream(400, 1)
    streams = Streams(train, valid, np.bincount(train, minlength=12))
    found = {heads: factoring.factoring(streams, 3, heads).set_index("what") for heads in (1, 2)}
    one, two = (found[heads].loc[factoring.TABLE] for heads in (1, 2))
    assert one["low"] > 0.002 and one["entries"] == 1
    assert abs(two["nats"]) < 0.002
    saved = [found[h].loc[factoring.PRODUCTS, "nats"] + found[h].loc[factoring.TABLE, "nats"] for h in (1, 2)]
    assert saved[0] == pytest.approx(saved[1]) and saved[0] > 0.1  # the table is the same


def test_the_nearest_products_by_the_best_of_many():
    generator = torch.Generator().manual_seed(0)
    pair = torch.randn(4, 3, 2, generator=generator)[..., None] * torch.randn(1, 3, 2, 5, generator=generator)
    table = pair.sum(2)  # two products for each of three sources
    assert torch.allclose(factoring.on_heads(table, 2), table, atol=1e-5)
    left = (table - factoring.on_heads(table, 1)).square().sum()
    for _ in range(200):
        first, second = torch.randn(4, 3, 1, generator=generator), torch.randn(1, 3, 5, generator=generator)
        product = first * second
        size = (table * product).sum((0, 2), keepdim=True) / product.square().sum((0, 2), keepdim=True)
        assert (table - size * product).square().sum() >= left


def test_which_sources_stand_before_by_the_double_loop():
    found = stream(30, 2)
    at = factoring.Positions(found, 12, 3)
    outs, sources = np.array([[4, 5], [6, 4]]), np.array([1, 10, 8])
    places = factoring._places(at, [at.of(2), at.of(3)], sources, outs, 6)
    for i, destination in enumerate((2, 3)):
        here = at.of(destination)
        for j, place in enumerate(here[np.linspace(0, len(here) - 1, 6).astype(int)]):
            before = found[max(0, place - 3) : place].tolist()
            before = before[len(before) - before[::-1].index(0) :] if 0 in before else before
            assert places.present[i, j].tolist() == [float(s in before) for s in sources]
            follows = found[place + 1]
            assert places.following[i, j] == (outs[i].tolist().index(follows) if follows in outs[i] else 2)


def test_a_text_without_places_has_nothing_to_say():
    short = np.array([0, 1, 2], dtype=np.uint16)
    assert factoring.factoring(Streams(short, short, np.array([1, 1, 1])), 3, 2).empty
