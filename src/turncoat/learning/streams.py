"""Random streams: every draw of a run comes from a generator derived from a seed and the names of its use.

Nothing carries a generator from round to round, so a round is a function of the state alone and any round can be
replayed, continued or looked ahead to.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import numpy as np
import torch

from turncoat.learning.models import seeded


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


@contextmanager
def everywhere(seed: int, *names: int | str) -> Iterator[None]:
    """Let all inside draw from torch's, NumPy's and Python's global generators for one use, then put them back."""
    own = derive(seed, *names)
    numpys, pythons = np.random.get_state(), random.getstate()
    np.random.seed(np.frombuffer(own.to_bytes(8, "little"), np.uint32))
    random.seed(own)
    try:
        with seeded(own):
            yield
    finally:
        np.random.set_state(numpys)
        random.setstate(pythons)


def untouched(seed: int, *names: int | str) -> AbstractContextManager[None]:
    """Leave the global generators alone, as nothing inside draws from them."""
    return nullcontext()
