import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from skiptrace.mining.topk import order, row_top

# Few distinct values, so that ties are the rule.
VALUES = st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0, -np.inf])


@st.composite
def matrices(draw):
    rows, columns = draw(st.integers(1, 7)), draw(st.integers(1, 9))
    entries = draw(st.lists(VALUES, min_size=rows * columns, max_size=rows * columns))
    return torch.tensor(entries).view(rows, columns)


def slow_top(row: list[float], k: int) -> list[int]:
    return sorted(range(len(row)), key=lambda i: (-row[i], i))[:k]


@given(matrices(), st.integers(1, 10))
def test_row_top_is_exact_and_breaks_ties_by_the_smaller_index(matrix, k):
    top = row_top(matrix, k)
    expected = [slow_top(row.tolist(), k) for row in matrix]
    assert top.index.tolist() == expected
    assert torch.equal(top.values, matrix.gather(1, top.index))


def test_order_keeps_the_order_of_equals():
    assert order(torch.tensor([1.0, 3.0, 1.0, 3.0, 2.0])).tolist() == [1, 3, 4, 0, 2]
