import pandas as pd
import pytest
import torch

from skiptrace.config.mining import MiningParams
from skiptrace.mining.vocabulary import Vocabulary


@pytest.fixture
def make_vocabulary():
    def make(counts: list[int]) -> Vocabulary:
        count = pd.Series(counts)
        probability = torch.tensor(counts, dtype=torch.float32) / sum(counts)
        return Vocabulary(pd.Series([f"t{i}" for i in range(len(counts))]), count, probability)

    return make


@pytest.fixture
def params():
    return MiningParams(
        ranking="published",
        context=8,
        bigrams=5,
        sources=3,
        destinations=2,
        outs=2,
        min_count=1,
        frequency_power=0.1,
        frequent_tokens=4,
        largest=6,
        bins=8,
    )
