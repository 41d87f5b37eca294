"""Places of held-out text at which a next token is predicted, and which of them exchange their predictions."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Integer

from skiptrace.models.windows import BOS_ID

Ids = Integer[np.ndarray, " n"]


class Places(NamedTuple):
    """Contexts of held-out text side by side, and every place in them from 1 on at which a token is predicted.

    `stream` has the contexts one after the other, each with its start token and with the token after its last place;
    `run` tells documents within a context apart. Of each place: where it stands in `stream` (`at`), its context, its
    distance from the start token (`position`), its token, and what the text says next (`truth`).
    """

    stream: Integer[np.ndarray, " width"]
    run: Integer[np.ndarray, " width"]
    at: Integer[np.ndarray, " n"]
    context: Integer[np.ndarray, " n"]
    position: Integer[np.ndarray, " n"]

    @property
    def token(self) -> Ids:
        """The current token of each place."""
        return self.stream[self.at]

    @property
    def truth(self) -> Ids:
        """The token that the text has next."""
        return self.stream[self.at + 1]


def places(windows: Integer[np.ndarray, "contexts width"]) -> Places:
    """The places of contexts as `models.windows` cuts them: the start token, what is read, and one more."""
    contexts, width = windows.shape
    stream = windows.astype(np.int64).ravel()
    context, position = (each.ravel() for each in np.mgrid[0:contexts, 1 : width - 1])
    return Places(stream, np.cumsum(stream == BOS_ID), context * width + position, context, position)


def exchanged(token: Ids, then: Ids) -> Ids:
    """For each place another one with the same current token: the next of them in the order of `then`, round and round.

    A place whose token stands nowhere else gets itself. Every place is the other of exactly one.
    """
    order = np.lexsort([then, token])
    first = np.flatnonzero(np.diff(token[order], prepend=-1))
    following = np.arange(1, len(order) + 1)
    following[np.append(first, len(order))[1:] - 1] = first
    other = np.empty_like(order)
    other[order] = order[following]
    return other
