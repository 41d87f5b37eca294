"""What mining knows of a token: its text, its frequency, and whether it may appear in a table."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from skiptrace.errors import InputError
from skiptrace.models.windows import BOS_ID
from skiptrace.tokens.tables import VOCAB


@dataclass(frozen=True)
class Vocabulary:
    """Token texts and their probabilities in the training text, by token id."""

    token: pd.Series
    count: pd.Series
    probability: Float[Tensor, " d_vocab"]

    def eligible(self, min_count: int) -> Bool[Tensor, " d_vocab"]:
        """True for tokens seen often enough to have been learned; never for BOS, the attention sink."""
        kept = torch.from_numpy((self.count >= min_count).to_numpy().copy())
        kept[BOS_ID] = False
        if not kept.any():
            raise InputError(f"mining.min_count: no token occurs {min_count} times; lower it")
        return kept

    def eligible_ids(self, min_count: int) -> Int[Tensor, " eligible"]:
        """The ids of the eligible tokens, ascending."""
        return self.eligible(min_count).nonzero().squeeze(1)

    def most_frequent(self, most: int) -> list[int]:
        """The ids of at most so many tokens that occur at all, the most frequent, ascending."""
        seen = self.count[self.count > 0].sort_values(ascending=False, kind="stable")
        return sorted(seen.index[:most].tolist())

    def weight(self, power: float, min_count: int) -> Float[Tensor, " d_vocab"]:
        """p(token)^power for eligible tokens, 0 for the others."""
        return self.probability**power * self.eligible(min_count)


def load(path: Path, d_vocab: int) -> Vocabulary:
    """Read vocab.parquet; rows of the model beyond it are padding, which occurs nowhere and is named as such.

    Raises:
        InputError: it is unreadable, or has more tokens than the model's d_vocab.
    """
    table = VOCAB.read_file(path, ["token", "count", "probability"])
    if len(table) > d_vocab:
        raise InputError(f"{path}: {len(table)} tokens, but the model's d_vocab is {d_vocab}")
    if len(table) < d_vocab:
        names = [f"<padding {i}>" for i in range(len(table), d_vocab)]
        table = pd.concat([table, pd.DataFrame({"token": names, "count": 0, "probability": 0.0})], ignore_index=True)
    probability = torch.tensor(table["probability"].to_numpy(), dtype=torch.float32)
    return Vocabulary(table["token"], table["count"], probability)
