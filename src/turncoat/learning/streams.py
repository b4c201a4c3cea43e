"""Random streams: every draw of a run comes from a generator derived from a seed and the names of its use.

Nothing carries a generator from round to round, so a round is a function of the state alone and any round can be
replayed, continued or looked ahead to.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch


def derive(seed: int, *names: int | str) -> int:
    """A 63-bit seed for one use, e.g. `derive(seeds.server, "rule", 17)`; different uses are independent."""
    digest = hashlib.blake2b(repr((seed, *names)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def torch_stream(seed: int, *names: int | str) -> torch.Generator:
    """A torch generator (CPU) for one use."""
    return torch.Generator().manual_seed(derive(seed, *names))


def numpy_stream(seed: int, *names: int | str) -> np.random.Generator:
    """A NumPy generator for one use."""
    return np.random.default_rng(derive(seed, *names))
