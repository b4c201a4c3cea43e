"""What every test starts from."""

import pytest
import torch


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Models that a test makes have the same initial parameters in every run."""
    torch.manual_seed(0)
