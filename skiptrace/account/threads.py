"""Contexts side by side: each is computed on one thread, so that no result depends on how many there are."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch

Map = Callable[[Callable[..., Any], Iterable[Any]], Iterator[Any]]


@contextmanager
def threads() -> Iterator[Map]:
    """`map` over as many threads of this process as torch may use, in which torch uses one each.

    Small products gain little from several threads, contexts nearly all. What is mapped has to switch gradients off
    by itself: whether they are on is known to each thread alone.
    """
    before = torch.get_num_threads()
    if before == 1:
        yield map
        return
    torch.set_num_threads(1)  # partly global, so that it is set here and not by each
    try:
        with ThreadPoolExecutor(before) as pool:
            yield pool.map
    finally:
        torch.set_num_threads(before)
