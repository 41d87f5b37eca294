"""What mining knows of a token: its text, its frequency, and whether it may appear in a table."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from skiptrace.errors import InputError
from skiptrace.models.windows import BOS_ID
from skiptrace.tokens.tables import BIGRAMS, VOCAB


class Pairs(NamedTuple):
    """Pairs of a destination and an out that follows it: their places among the eligible tokens, ascending.

    `share`: of all pairs of the training text.
    """

    destination: Int[Tensor, " n"]
    out: Int[Tensor, " n"]
    share: Float[Tensor, " n"]

    def shares(self, destination: Int[Tensor, " m"], out: Int[Tensor, " m"]) -> Float[Tensor, " m"]:
        """The shares of pairs given by their places, 0 for those that are not among these."""
        size = 1 + int(max(self.out.max(), out.max()))
        known, asked = self.destination * size + self.out, destination * size + out
        place = torch.searchsorted(known, asked).clamp(max=len(known) - 1)
        return torch.where(known[place] == asked, self.share[place], 0)


@dataclass(frozen=True)
class Vocabulary:
    """Token texts and their probabilities in the training text, by token id.

    `followers`: the pairs of adjacent tokens of the training text (`token_id`, `next_id`, `count`); None where they
    are not known. The last `padding` rows are no tokens.
    """

    token: pd.Series
    count: pd.Series
    probability: Float[Tensor, " d_vocab"]
    followers: pd.DataFrame | None = None
    padding: int = 0

    def eligible(self, min_count: int, key: str = "mining.min_count") -> Bool[Tensor, " d_vocab"]:
        """True for tokens seen often enough to have been learned; never for BOS, the attention sink.

        Raises:
            InputError: there is none; names the key that says how often.
        """
        kept = torch.from_numpy((self.count >= min_count).to_numpy().copy())
        kept[BOS_ID] = False
        kept[len(kept) - self.padding :] = False
        if not kept.any():
            raise InputError(f"{key}: no token occurs {min_count} times; lower it")
        return kept

    def eligible_ids(self, min_count: int) -> Int[Tensor, " eligible"]:
        """The ids of the eligible tokens, ascending."""
        return self.eligible(min_count).nonzero().squeeze(1)

    @cached_property
    def spelled(self) -> Bool[Tensor, " d_vocab"]:
        """True for tokens that have a letter or a digit, which white space and punctuation lack."""
        return torch.tensor([any(map(str.isalnum, text)) for text in self.token])

    def pairs(self, min_count: int, min_pairs: int) -> Pairs | None:
        """The pairs of eligible tokens that occur at least `min_pairs` times; None where pairs are not known.

        Raises:
            InputError: there is none.
        """
        if self.followers is None:
            return None
        place = torch.full((len(self.token),), -1)
        eligible = self.eligible_ids(min_count)
        place[eligible] = torch.arange(len(eligible))
        total = torch.tensor(self.followers["count"].sum())
        # A large corpus has millions of pairs, most of them rare.
        found = self.followers[self.followers["count"] >= min_pairs].sort_values(["token_id", "next_id"])
        first, following = (
            place[torch.from_numpy(found[c].to_numpy().astype("int64"))] for c in ("token_id", "next_id")
        )
        count = torch.from_numpy(found["count"].to_numpy().copy())
        kept = (first >= 0) & (following >= 0)
        if not kept.any():
            raise InputError(f"mining.min_pairs: no two tokens stand side by side {min_pairs} times; lower it")
        return Pairs(first[kept], following[kept], (count[kept] / total).float())

    def most_frequent(self, most: int) -> list[int]:
        """The ids of at most so many tokens that occur at all, the most frequent, ascending."""
        seen = self.count[self.count > 0].sort_values(ascending=False, kind="stable")
        return sorted(seen.index[:most].tolist())

    def weight(self, power: float, min_count: int) -> Float[Tensor, " d_vocab"]:
        """p(token)^power for eligible tokens, 0 for the others."""
        return self.probability**power * self.eligible(min_count)


def load(path: Path, d_vocab: int, followers: Path | None = None) -> Vocabulary:
    """Read vocab.parquet, and from `followers`, the file of adjacent pairs, what follows each token.

    Rows of the model beyond the vocabulary are padding, which occurs nowhere and is named as such.

    Raises:
        InputError: a file is unreadable, or the vocabulary has more tokens than the model's d_vocab.
    """
    table = VOCAB.read_file(path, ["token", "count", "probability"])
    if len(table) > d_vocab:
        raise InputError(f"{path}: {len(table)} tokens, but the model's d_vocab is {d_vocab}")
    padding = d_vocab - len(table)
    if padding:
        names = [f"<padding {i}>" for i in range(len(table), d_vocab)]
        table = pd.concat([table, pd.DataFrame({"token": names, "count": 0, "probability": 0.0})], ignore_index=True)
    probability = torch.tensor(table["probability"].to_numpy(), dtype=torch.float32)
    pairs = None if followers is None else BIGRAMS.read_file(followers)
    return Vocabulary(table["token"], table["count"], probability, pairs, padding)
