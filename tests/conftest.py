"""What every test starts from."""

import pytest
import torch

# Tests' tensors are small: threads gain nothing, and wait for one another where other programs have the cores.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Models that a test makes have the same initial parameters in every run."""
    torch.manual_seed(0)
