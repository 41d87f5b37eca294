import math

import pytest
import torch


@pytest.fixture
def pentagon():
    """Five unit vectors at even angles in the plane."""
    angle = 2 * math.pi * torch.arange(5) / 5
    return torch.stack([angle.cos(), angle.sin()])
